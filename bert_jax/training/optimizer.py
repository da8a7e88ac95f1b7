"""BERT's optimizer: Adam with decoupled weight decay (google-research/bert, optimization.py)."""

import jax
import jax.numpy as jnp
import optax

from bert_jax.errors import UserError


def make_optimizer(
    schedule: optax.Schedule,
    *,
    weight_decay: float = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    clip_norm: float = 1.0,
    bias_correction: bool = True,
) -> optax.GradientTransformation:
    """AdamW as BERT was trained with.

    Args:
      schedule: learning rate by number of updates made.
      weight_decay: added to the update before the learning rate, on matrices and
        embeddings only.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added outside the square root.
      clip_norm: largest global norm of the gradient, clipped after the sum over
        devices (the original clips each replica's own gradient before).
      bias_correction: divide the moments by 1 − βᵗ. The original does not, which
        makes its updates 3 to 6 times as long in the first hundred steps.
    """
    if weight_decay < 0 or eps <= 0 or clip_norm <= 0 or not (0 <= b1 < 1 and 0 <= b2 < 1):
        raise UserError(
            "optimizer: weight_decay must not be negative, eps and clip_norm must be positive, "
            f"b1 and b2 in [0, 1); got {weight_decay=}, {eps=}, {clip_norm=}, {b1=}, {b2=}"
        )
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        scale_by_bert_adam(b1=b1, b2=b2, eps=eps, bias_correction=bias_correction),
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
        optax.scale_by_learning_rate(schedule),
    )


def decay_mask(params: optax.Params) -> optax.Params:
    """True for what is decayed: everything but biases and LayerNorm scales.

    By name, as the original excludes "LayerNorm|layer_norm|bias".
    """

    def is_decayed(path: tuple[jax.tree_util.DictKey, ...], _: object) -> bool:
        names = [entry.key for entry in path]
        return "LayerNorm" not in names and names[-1] != "bias"

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def scale_by_bert_adam(
    *, b1: float, b2: float, eps: float, bias_correction: bool
) -> optax.GradientTransformation:
    """Adam's direction m / (√v + ε), with the bias correction as a switch.

    `optax.scale_by_adam` has no such switch; with the correction this is the same.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), zeros, zeros)

    def update(
        updates: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        del params
        count = optax.safe_increment(state.count)
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, updates)
        correct_first = 1 - b1**count if bias_correction else 1.0
        correct_second = 1 - b2**count if bias_correction else 1.0
        direction = jax.tree.map(
            lambda m, v: (m / correct_first) / (jnp.sqrt(v / correct_second) + eps), first, second
        )
        return direction, optax.ScaleByAdamState(count, first, second)

    return optax.GradientTransformation(init, update)
