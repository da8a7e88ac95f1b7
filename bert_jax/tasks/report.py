"""What came of a fine-tuning run: on the console, and as `report.md` with its plots."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_jax.atomic import write_file
from bert_jax.console import Console
from bert_jax.tasks.task import Evaluation

_SHOWN_WRONG = 5
_WRITTEN_WRONG = 20
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
    """Writes `report.md` and `results.json`; `curves.png` is drawn as the run goes."""
    lines = [f"# {report.title}\n", markdown_table(["", ""], report.facts)]
    for name, found in report.evaluations.items():
        lines += [
            f"## {name}\n",
            markdown_table(["", ""], [[k, f"{v:.6g}"] for k, v in _figures(found)]),
        ]
        for table in found.tables:
            lines += [f"{table.title}\n", markdown_table(table.header, table.rows)]
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


def _figures(found: Evaluation) -> list[tuple[str, float]]:
    return [*found.figures.items(), ("one answer for all", found.baseline)]
