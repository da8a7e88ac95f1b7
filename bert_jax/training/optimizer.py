"""BERT's optimizers: Adam with decoupled weight decay, and LAMB for large batches.

They give the direction of a step; the caller takes its learning rate times the
direction off the parameters, so that nothing here knows of time.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from bert_jax.errors import UserError

# Adds scalars, or a tree of them, up over the devices.
SumParts = Callable[[Any], Any]


def make_optimizer(
    *,
    algorithm: Literal["adamw", "lamb"] = "adamw",
    weight_decay: float = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    clip_norm: float = 1.0,
    bias_correction: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """AdamW as BERT was trained with (google-research/bert, optimization.py), or LAMB.

    `update(gradients, state, params, sum_parts=...)` returns the direction d of the
    step θ − rate·d. `sum_parts` adds scalars up over the devices where each holds
    only a part of every tensor: a slice of it, flattened and filled up with zeros, at
    the same path. Without it, the tensors are whole.

    Args:
      algorithm: "adamw", or "lamb" (You et al. 2019): the same with the direction of
        each tensor, its decay included, made as long as the tensor itself.
      weight_decay: share of the parameter added to the direction, on matrices and
        embeddings only.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added outside the square root.
      clip_norm: largest global norm of the gradient, clipped after the sum over
        devices (the original clips each replica's own gradient before). With LAMB
        and 1.0 this is what NVIDIA's LAMB does before anything else.
      bias_correction: divide the moments by 1 − βᵗ. The original does not, which
        makes its updates 3 to 6 times as long in the first hundred steps.
    """
    if weight_decay < 0 or eps <= 0 or clip_norm <= 0 or not (0 <= b1 < 1 and 0 <= b2 < 1):
        raise UserError(
            "optimizer: weight_decay must not be negative, eps and clip_norm must be positive, "
            f"b1 and b2 in [0, 1); got {weight_decay=}, {eps=}, {clip_norm=}, {b1=}, {b2=}"
        )
    transformations = [
        clip_by_global_norm(clip_norm),
        scale_by_bert_adam(b1=b1, b2=b2, eps=eps, bias_correction=bias_correction),
        optax.add_decayed_weights(weight_decay, mask=decay_mask),
    ]
    if algorithm == "lamb":
        transformations.append(scale_by_trust_ratio())
    return optax.chain(*transformations)


def decay_mask(params: optax.Params) -> optax.Params:
    """True for what is decayed: everything but biases and LayerNorm scales.

    By name, as the original excludes "LayerNorm|layer_norm|bias"; so it holds for
    slices too, whose shapes say nothing.
    """

    def is_decayed(path: tuple[jax.tree_util.DictKey, ...], _: object) -> bool:
        names = [entry.key for entry in path]
        return "LayerNorm" not in names and names[-1] != "bias"

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def clip_by_global_norm(clip_norm: float) -> optax.GradientTransformationExtraArgs:
    """Shortens a gradient that is longer than `clip_norm`, all tensors taken as one vector.

    `optax.clip_by_global_norm`, which cannot add up over devices.
    """

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        sum_parts: SumParts = lambda tree: tree,
        **others: object,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, others
        norm = jnp.sqrt(sum_parts(optax.tree.norm(updates, squared=True)))
        return jax.tree.map(
            lambda g: jnp.where(norm < clip_norm, g, g / norm * clip_norm), updates
        ), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


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


def scale_by_trust_ratio() -> optax.GradientTransformationExtraArgs:
    """LAMB's ‖w‖ / ‖u‖ for each tensor that is decayed; 1 where either norm is 0.

    The others, biases and LayerNorms, go as far as Adam would, as with Google's LAMB
    (ALBERT, optimization.py) and NVIDIA's; `optax.lamb` scales them too, and biases,
    which start at 0, then hardly move.
    """

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        *,
        sum_parts: SumParts = lambda tree: tree,
        **others: object,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del others
        squares = [jax.tree.map(lambda x: jnp.sum(x * x), tree) for tree in (params, updates)]
        norms = jax.tree.map(jnp.sqrt, sum_parts(squares))

        def scale(is_scaled: bool, u: jax.Array, w_norm: jax.Array, u_norm: jax.Array) -> jax.Array:
            if not is_scaled:
                return u
            return jnp.where((w_norm > 0) & (u_norm > 0), w_norm / u_norm, 1.0) * u

        return jax.tree.map(scale, decay_mask(updates), updates, *norms), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
