"""The learning curves of a run, as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bert_jax.training.metrics import read_metrics


def draw_curves(folder: Path) -> None:
    """Draws `curves.png` in a run folder from its `metrics.jsonl`."""
    rows = read_metrics(folder / "metrics.jsonl")
    panels = [
        ("mlm_loss", "masked-token loss (nats)"),
        ("mlm_accuracy", "masked-token accuracy"),
        ("nsp_accuracy", "next-sentence accuracy"),
    ]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for split, style in (("train", "-"), ("held_out", "o-")):
            steps, values = _series(rows, split, name)
            if steps:
                axes.plot(steps, values, style, markersize=3, label=split.replace("_", "-"))
        steps, values = _series(rows, "held_out", name.replace("accuracy", "base_rate"))
        if steps and name.startswith("nsp"):
            axes.axhline(values[-1], color="gray", linestyle=":", label="base rate")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    drawing = folder / "curves.png.new"
    figure.savefig(drawing, format="png", dpi=110)
    drawing.replace(folder / "curves.png")


def _series(rows: list[dict[str, Any]], split: str, name: str) -> tuple[list[int], list[float]]:
    points = [(row["step"], row[name]) for row in rows if row["split"] == split and name in row]
    return [step for step, _ in points], [value for _, value in points]
