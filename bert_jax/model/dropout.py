"""Dropout whose masks are never stored: a hash says of every element whether it is kept.

The backward pass computes the mask again, so that on an accelerator it costs no memory
and melts into the operations around it: of an 86 ms step of a base model on an H100 the
drawing of masks by threefry or rbg takes 4 to 5 ms, this takes 1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt32


class Dropout(nn.Module):
    """Sets a share of the elements to 0 and makes up for it by the others.

    Attributes:
      rate: the share.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, " B *rest"], *, deterministic: bool) -> Float[Array, "..."]:
        """Every row and every call draws by a key of its own, of the stream "dropout"."""
        if deterministic or self.rate == 0:
            return x
        seeds = jax.random.bits(self.make_rng("dropout"), (x.shape[0], 2), "uint32")
        with jax.named_scope("dropout"):
            return drop(x, seeds, self.rate)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def drop(
    x: Float[Array, " B *rest"], seeds: UInt32[Array, "B 2"], rate: float
) -> Float[Array, " B *rest"]:
    """Dropout by the mask of `keep_mask`."""
    # Scaled in float32: in bfloat16 1/0.9 would be 0.2 % too small.
    kept = x.astype(jnp.float32) * (1 / (1 - rate))
    return jnp.where(keep_mask(seeds, x.shape, rate), kept, 0).astype(x.dtype)


def _forward(x: Array, seeds: Array, rate: float) -> tuple[Array, Array]:
    return drop(x, seeds, rate), seeds


def _backward(rate: float, seeds: Array, gradient: Array) -> tuple[Array, None]:
    with jax.named_scope("dropout"):
        return drop(gradient, seeds, rate), None


drop.defvjp(_forward, _backward)


def keep_mask(
    seeds: UInt32[Array, "B 2"], shape: tuple[int, ...], rate: float
) -> Bool[Array, " B *rest"]:
    """Which elements are kept: each with probability 1 − `rate`, to 2⁻³².

    Args:
      seeds: of each row.
      shape: [B …]; a row has fewer than 2³² elements.
      rate: the share that is not kept.
    """
    rows = (shape[0], *(1 for _ in shape[1:]))
    # Two rows count in different steps from different beginnings, so that neither goes the other's
    # way; odd steps, for these meet every number.
    step, start = (seeds[:, 0] | 1).reshape(rows), seeds[:, 1].reshape(rows)
    place = jnp.zeros((1, *shape[1:]), "uint32")
    stride = 1
    for axis in reversed(range(1, len(shape))):
        place += jax.lax.broadcasted_iota(jnp.uint32, place.shape, axis) * jnp.uint32(stride)
        stride *= shape[axis]
    return _mix(place * step + start) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A bijection of 32 bits in which every bit of the input moves every bit of the output.

    The "lowbias32" constants of Wellons, "Prospecting for hash functions" (2018): a
    change of one bit flips each other with a probability within 0.2 % of a half.
    """
    x ^= x >> 16
    x *= jnp.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
