"""The learning rate over time."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from bert_jax.errors import UserError

# (updates made, share of the run that is over) -> rate; numbers or traced scalars.
Schedule = Callable[[Any, Any], Any]


def make_schedule(
    *, peak_learning_rate: float, warmup_steps: int, power: float = 1.0, total_steps: int
) -> Schedule:
    """Linear warm-up from 0, decay to 0 (google-research/bert, optimization.py L32-54).

    The decay is counted from step 0, so the rate drops from the warm-up's end,
    `peak`, to `peak · (1 − warmup/total)` in one step; the first update has rate 0.

    Args:
      peak_learning_rate: the end of the warm-up.
      warmup_steps: length of the warm-up; 0 for none.
      power: of the share that is left: 1 decays in a line, 0.5 stays high for longer
        (NVIDIA's with LAMB).
      total_steps: the longest that the run can be.

    Returns:
      A function of the step, for the warm-up, and of the progress (see
      `progress_of`), for the decay.
    """
    if peak_learning_rate <= 0:
        raise UserError(f"schedule.peak_learning_rate is {peak_learning_rate}; it must be positive")
    if power <= 0:
        raise UserError(f"schedule.power is {power}; it must be positive")
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(
            f"schedule.warmup_steps is {warmup_steps}; it must lie between 0 and "
            f"total_steps, {total_steps}"
        )

    def schedule(step: Any, progress: Any) -> Any:
        warmup = step / max(warmup_steps, 1)
        decay = jnp.maximum(0.0, 1.0 - progress) ** power
        return peak_learning_rate * jnp.where(step < warmup_steps, warmup, decay)

    return schedule


def make_task_schedule(
    *,
    peak_learning_rate: float,
    warmup_share: float = 0.1,
    power: float = 1.0,
    total_steps: int,
) -> Schedule:
    """Linear warm-up over a share of the run, then decay to 0; see `make_schedule`.

    Args:
      peak_learning_rate: the end of the warm-up; 2e-5 to 5e-5 in the paper, up to 3e-4 for its
        small models.
      warmup_share: of the updates; google-research/bert, run_classifier.py has 0.1.
      power: of the decay.
      total_steps: of the run.
    """
    if not 0 <= warmup_share <= 1:
        raise UserError(f"schedule.warmup_share is {warmup_share}; it must lie between 0 and 1")
    return make_schedule(
        peak_learning_rate=peak_learning_rate,
        warmup_steps=round(warmup_share * total_steps),
        power=power,
        total_steps=total_steps,
    )


def progress_of(step: Any, *, total_steps: int, elapsed: Any = 0.0) -> Any:
    """The share of a run that is over: of its steps or of its time, whichever is more.

    Args:
      step: updates made, a number or a traced scalar.
      total_steps: after which the run ends.
      elapsed: share of its time budget that is spent, likewise; 0 if it has none.
    """
    return jnp.maximum(step / total_steps, elapsed)
