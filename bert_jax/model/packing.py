"""Rows that hold several sequences one after the other: whose each token is, and where they begin.

`lengths` [B K] are those of the sequences of each row, 0 for none; padding follows the last.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def sequence_numbers(num_tokens: int, lengths: Int[Array, "B K"]) -> Int[Array, "B T"]:
    """Which sequence of its row a token belongs to, from 0; K for padding."""
    ends = jnp.cumsum(lengths, axis=1)
    return jnp.sum(jnp.arange(num_tokens)[None, :, None] >= ends[:, None, :], axis=2)


def first_tokens(lengths: Int[Array, "B K"]) -> Int[Array, "B K"]:
    """Where the sequences begin; those of length 0 where the row's real tokens end, T at most."""
    return jnp.cumsum(lengths, axis=1) - lengths


def positions(num_tokens: int, lengths: Int[Array, "B K"]) -> Int[Array, "B T"]:
    """The place of a token in its sequence, from 0; in padding, from the end of the last."""
    beginnings = jnp.pad(jnp.cumsum(lengths, axis=1), ((0, 0), (1, 0)))
    return jnp.arange(num_tokens)[None] - jnp.take_along_axis(
        beginnings, sequence_numbers(num_tokens, lengths), axis=1
    )


def tokens_at(x: Float[Array, "B T D"], places: Int[Array, "B P"]) -> Float[Array, "B P D"]:
    """The vectors at some places of each row; zeros for places out of it.

    As a product with ones and zeros, whose gradient is a product again: that of a gather is a
    scatter, 11 ms of an 86 ms step of a base model on an H100. Exact: of each sum one term is
    not zero.
    """
    chosen = jax.nn.one_hot(places, x.shape[1], dtype=x.dtype)
    return jnp.einsum("bpt,btd->bpd", chosen, x, precision=jax.lax.Precision.HIGHEST)
