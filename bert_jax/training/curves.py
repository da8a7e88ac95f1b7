"""The learning curves of a run, as a picture."""

import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bert_jax.atomic import write_file
from bert_jax.training.metrics import read_metrics

_PANELS = {
    "mlm_loss": "masked-token loss (nats)",
    "mlm_accuracy": "masked-token accuracy",
    "nsp_accuracy": "next-sentence accuracy",
    "loss": "loss",
    "accuracy": "accuracy",
    "score": "held-out score",
}


def draw_curves(folder: Path) -> None:
    """Draws `curves.png` in a run folder from its `metrics.jsonl`."""
    rows = read_metrics(folder / "metrics.jsonl")
    shown = {name for row in rows for name in row}
    panels = [(name, title) for name, title in _PANELS.items() if name in shown]
    if not panels:
        return
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for split, style in (("train", "-"), ("held_out", "o-")):
            steps, values = _series(rows, split, name)
            if steps:
                axes.plot(steps, values, style, markersize=3, label=split.replace("_", "-"))
        if name == "nsp_accuracy":
            for base_rate in _series(rows, "held_out", "nsp_base_rate")[1][-1:]:
                axes.axhline(base_rate, color="gray", linestyle=":", label="base rate")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=110)
    write_file(folder / "curves.png", drawing.getvalue())


def _series(rows: list[dict[str, Any]], split: str, name: str) -> tuple[list[int], list[float]]:
    points = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
    return [step for step, _ in points], [value for _, value in points]
