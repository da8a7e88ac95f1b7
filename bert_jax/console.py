"""What a person sees: progress bars, tables, lines. Quiet for logs."""

import sys
import unicodedata
from collections.abc import Iterable, Sequence

from tqdm import tqdm


class Console:
    """Standard output for results, standard error for progress."""

    def __init__(self, *, quiet: bool = False, silent: bool = False):
        """Without progress bars if `quiet`, for output that goes to a file.

        `silent` shows nothing at all: of several processes one speaks.
        """
        self.quiet = quiet or silent
        self.silent = silent

    def say(self, line: str = "") -> None:
        """One line, above a running bar if there is one."""
        if self.silent:
            return
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def bar(self, what: str, *, total: int | None, unit: str, initial: int = 0) -> tqdm:
        """A progress bar."""
        return tqdm(
            total=total,
            initial=initial,
            desc=what,
            unit=unit,
            unit_scale=unit == "B",
            disable=self.quiet,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def table(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        """A title and two aligned columns."""
        rows = list(rows)
        width = max(len(name) for name, _ in rows)
        self.say(f"\n{title}")
        for name, value in rows:
            self.say(f"  {name:<{width}}  {value}")
        self.say()

    def warn(self, line: str) -> None:
        """One line that is no result, on standard error."""
        if self.silent:
            return
        tqdm.write(f"warning: {line}", file=sys.stderr)

    def grid(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table with a header; the first column is names, the others are figures."""
        rows = [header, *rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self.say("  ".join(cells).rstrip())

    def flow(self, indent: str, words: Iterable[str]) -> None:
        """Words in lines of 100 columns; the first begins with `indent`, the others below it."""
        lines = [""]
        for word in words:
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and _columns(indent + longer) > 100:
                lines.append(word)
            else:
                lines[-1] = longer
        for line in lines:
            self.say(indent + line)
            indent = " " * _columns(indent)


def _columns(text: str) -> int:
    """How wide a terminal shows it: Hangul, kana and ideographs take two columns each."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def size(num_bytes: int) -> str:
    """Such as "12.0 kB", "2.3 MB" or "1.2 GB"."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB")):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes / 1000:.1f} kB"


def figure(value: float) -> str:
    """Two digits of a small number, all of a large one: "0.012", "1,333"."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Such as "42 s", "6 min" or "3.1 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
