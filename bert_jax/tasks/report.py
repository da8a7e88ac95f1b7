"""What came of a fine-tuning run: on the console, and as `report.md` with its plots."""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bert_jax.atomic import write_file
from bert_jax.console import Console
from bert_jax.tasks.task import Evaluation, Table

_SHOWN_WRONG = 5
_WRITTEN_WRONG = 20
_MOST_DRAWN = 40  # rows of a table in a picture
_MOST_COLUMNS = 12  # of a table in a terminal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What is to be told of a run.

    Attributes:
      title: what was learnt, from what.
      facts: of the run.
      evaluations: of the best parameters, by the examples' name.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    evaluations: dict[str, Evaluation]


def show(console: Console, evaluations: Mapping[str, Evaluation]) -> None:
    """Figures, tables and a few wrong predictions of examples, by their name."""
    for name, found in evaluations.items():
        console.table(name, [(key, f"{value:.4g}") for key, value in _figures(found)])
        for table in found.tables:
            if len(table.header) <= _MOST_COLUMNS:
                console.say(table.title)
                console.grid(table.header, table.rows)
                console.say()
        if found.wrong:
            console.say(f"some of {len(found.wrong):,} wrong predictions")
            for wrong in found.wrong[:_SHOWN_WRONG]:
                console.say(f"  {wrong.predicted!r}, right is {wrong.right!r}: {wrong.text}")


def write_report(folder: Path, report: Report) -> None:
    """Writes `report.md` with pictures of its tables, and `results.json`.

    The picture of the curves is drawn as the run goes.
    """
    pictures: dict[str, bytes] = {}
    lines = [f"# {report.title}\n", markdown_table(["", ""], report.facts)]
    for name, found in report.evaluations.items():
        lines += [
            f"## {name}\n",
            markdown_table(["", ""], [[k, f"{v:.6g}"] for k, v in _figures(found)]),
        ]
        for table in found.tables:
            lines += [f"{table.title}\n", markdown_table(table.header, table.rows)]
            if table.shares is not None and len(table.rows) <= _MOST_DRAWN:
                picture = f"table_{len(pictures) + 1}.png"
                pictures[picture] = _drawn(table)
                lines.append(f"![{table.title}]({picture})\n")
        if found.wrong:
            wrong = [
                [each.predicted, each.right, f"{each.probability:.3f}", each.text]
                for each in found.wrong[:_WRITTEN_WRONG]
            ]
            lines += [
                f"The surest of {len(found.wrong):,} wrong predictions\n",
                markdown_table(["predicted", "right", "probability", "text"], wrong),
            ]
    if (folder / "curves.png").exists():
        lines.append("![learning curves](curves.png)\n")
    for picture, content in pictures.items():
        write_file(folder / picture, content)
    write_file(folder / "report.md", "\n".join(lines))
    results = {
        name: found.figures | {"score": found.score, "baseline": found.baseline}
        for name, found in report.evaluations.items()
    }
    write_file(folder / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, and an empty line."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [
        " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) for line in lines
    ]
    return "".join(f"| {line} |\n" for line in cells)


def _drawn(table: Table) -> bytes:
    """A table as a picture, PNG: the darker, the larger the share."""
    assert table.shares is not None
    rows, columns = table.shares.shape
    figure = Figure(figsize=(2.5 + 0.8 * columns, 1.5 + 0.4 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table.shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(columns), table.header[1 : columns + 1], rotation=30, ha="right")
    axes.set_yticks(range(rows), [row[0] for row in table.rows])
    for row, column in np.ndindex(rows, columns):
        color = "white" if table.shares[row, column] > 0.6 else "black"
        text = table.rows[row][column + 1]
        axes.text(column, row, text, ha="center", va="center", color=color)
    axes.set_title(table.title)
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=110)
    return drawing.getvalue()


def _figures(found: Evaluation) -> list[tuple[str, float]]:
    return [*found.figures.items(), ("one answer for all", found.baseline)]
