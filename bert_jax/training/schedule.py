"""The learning rate over time."""

import jax.numpy as jnp
import optax

from bert_jax.errors import UserError


def make_schedule(
    *, peak_learning_rate: float, warmup_steps: int, total_steps: int
) -> optax.Schedule:
    """Linear warm-up from 0, linear decay to 0 (google-research/bert, optimization.py L32-54).

    The decay is counted from step 0, so the rate drops from the warm-up's end,
    `peak`, to `peak · (1 − warmup/total)` in one step; the first update has rate 0.

    Args:
      peak_learning_rate: the end of the warm-up.
      warmup_steps: length of the warm-up; 0 for none.
      total_steps: where the rate reaches 0.
    """
    if peak_learning_rate <= 0:
        raise UserError(f"schedule.peak_learning_rate is {peak_learning_rate}; it must be positive")
    if not 0 <= warmup_steps <= total_steps:
        raise UserError(
            f"schedule.warmup_steps is {warmup_steps}; it must lie between 0 and "
            f"total_steps, {total_steps}"
        )

    def schedule(step):  # type: ignore[no-untyped-def] # optax calls it with traced scalars
        warmup = step / max(warmup_steps, 1)
        decay = jnp.maximum(0.0, 1.0 - step / total_steps)
        return peak_learning_rate * jnp.where(step < warmup_steps, warmup, decay)

    return schedule
