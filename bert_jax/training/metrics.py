"""What a run reports: averages over windows of steps, and what happened to it."""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import tensorboard.compat
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bert_jax.atomic import write_file
from bert_jax.training.steps import Sums
from bert_jax.training.wandb_run import WandbRun

# Where TensorBoard finds this module it does without TensorFlow, which takes seconds to import, to
# make a folder and write a file.
sys.modules["tensorboard.compat.notf"] = tensorboard.compat

EventName = Literal["loss_spike", "skipped_update", "older_checkpoint", "stopped", "recompiled"]
# A resumed run meets these again; the others are its history.
_REPEATED = ("loss_spike", "skipped_update")


class Window:
    """Sums since the last report; kept in checkpoints, so that a resumed run reports the same."""

    def __init__(self, saved: dict[str, list[float]] | None = None):
        self._totals = {name: tuple(pair) for name, pair in (saved or {}).items()}
        self._pending: list[Sums] = []

    def add(self, sums: Sums) -> None:
        """Adds a step, without waiting for the device."""
        self._pending.append(sums)

    def totals(self) -> dict[str, list[float]]:
        """Sum and weight of each figure, in float64; waits for the device."""
        for sums in self._pending:
            for name, pair in sums.items():
                total, weight = self._totals.get(name, (0.0, 0.0))
                self._totals[name] = (total + float(pair[0]), weight + float(pair[1]))
        self._pending.clear()
        return {name: list(pair) for name, pair in self._totals.items()}

    def means(self) -> dict[str, float]:
        """The mean of each figure; those that never counted are left out."""
        return {name: total / weight for name, (total, weight) in self.totals().items() if weight}


def held_out_metrics(totals: dict[str, list[float]]) -> dict[str, float]:
    """The figures of an evaluation, from its sums.

    NSP accuracy comes with what it must be compared with: the base rate (always
    guessing the more frequent class, which is above ½) and its standard error.
    """
    means = {name: total / weight for name, (total, weight) in totals.items() if weight}
    metrics = {
        "mlm_loss": means["mlm_loss"],
        "mlm_perplexity": math.exp(means["mlm_loss"]) if means["mlm_loss"] < 700 else math.inf,
        "mlm_accuracy": means["mlm_accuracy"],
    }
    if "nsp_accuracy" in means:
        share, rows = means["nsp_accuracy"], totals["nsp_accuracy"][1]
        metrics |= {
            "nsp_loss": means["nsp_loss"],
            "nsp_accuracy": share,
            "nsp_base_rate": max(means["nsp_is_random"], 1 - means["nsp_is_random"]),
            "nsp_standard_error": math.sqrt(share * (1 - share) / rows),
        }
    return metrics


class MetricsLog:
    """Rows of figures by step, to `metrics.jsonl` and TensorBoard event files.

    Also to Weights & Biases if asked for. What happens in between goes to `events.jsonl`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        start_step: int,
        wandb_project: str | None = None,
        config: dict[str, Any] | None = None,
    ):
        """Opens all, and forgets what an earlier run wrote after `start_step`.

        A killed run has reported steps that the resumed one takes again.

        Args:
          folder: the run's.
          start_step: where the run goes on.
          wandb_project: of Weights & Biases, None to leave that out.
          config: the resolved one, for Weights & Biases.

        Raises:
          UserError: see `WandbRun`.
        """
        self._wandb = wandb_project and WandbRun(
            folder, project=wandb_project, start_step=start_step, config=config or {}
        )
        self._rows = _Lines(folder / "metrics.jsonl", lambda row: row["step"] <= start_step)
        self._events = _Lines(
            folder / "events.jsonl",
            lambda event: event["step"] <= start_step or event["event"] not in _REPEATED,
        )
        self._tensorboard = EventFileWriter(str(folder))
        # Tells TensorBoard to drop later points of earlier files.
        start = SessionLog(status=SessionLog.START)
        self._tensorboard.add_event(
            Event(wall_time=time.time(), step=start_step + 1, session_log=start)
        )

    def write(self, step: int, split: str, figures: dict[str, float]) -> None:
        """Writes one row: `split` is "train" or "held_out"."""
        self._rows.write({"step": step, "split": split, **figures})
        values = [
            Summary.Value(tag=f"{split}/{name}", simple_value=value)
            for name, value in figures.items()
        ]
        self._tensorboard.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        )
        if self._wandb:
            self._wandb.write(step, split, figures)

    def event(self, step: int, name: EventName, **facts: Any) -> None:
        """Writes down what happened at a step, with facts that JSON can say."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._events.write({"step": step, "event": name, "time": now, **facts})

    def flush(self) -> None:
        """Everything written so far is on disk when this returns."""
        self._rows.flush()
        self._events.flush()
        self._tensorboard.flush()

    def close(self) -> None:
        """Closes all."""
        self._rows.close()
        self._events.close()
        self._tensorboard.close()
        if self._wandb:
            self._wandb.close()


class _Lines:
    """A file of JSON lines that grows."""

    def __init__(self, path: Path, keep: Callable[[dict[str, Any]], bool]):
        """Opens it, without the lines that an earlier run wrote and that are not to be kept."""
        kept = [row for row in read_metrics(path) if keep(row)]
        write_file(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of such a file, without a last line that a killed run left unfinished."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]
