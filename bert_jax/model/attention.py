"""Scaled dot-product attention over the real tokens of each row."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def attention_probabilities(
    query: Float[Array, "B T N H"], key: Float[Array, "B S N H"], lengths: Int[Array, " B"]
) -> Float[Array, "B N T S"]:
    """Softmax over the real keys, float32; each row sums to 1.

    Queries at padding are computed like any other, their results go nowhere.
    A row without any real key, which only a padded batch has, attends evenly:
    no NaN may arise where the loss has weight 0.
    """
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=jnp.float32)
    scores = scores / jnp.sqrt(jnp.float32(query.shape[-1]))
    is_real = jnp.arange(key.shape[1])[None, :] < lengths[:, None]  # [B S]
    scores = jnp.where(is_real[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def dot_product_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S N H"],
    value: Float[Array, "B S N H"],
    lengths: Int[Array, " B"],
    *,
    dropout: Callable[[Array], Array],
) -> Float[Array, "B T N H"]:
    """Each query's mixture of values.

    Args:
      query: what each position looks for.
      key: what each position offers.
      value: what it passes on.
      lengths: real keys in each row; the rest are padding.
      dropout: applied to the probabilities, another mask for every row and head.
    """
    probabilities = dropout(attention_probabilities(query, key, lengths))
    return jnp.einsum("bnts,bsnh->btnh", probabilities.astype(value.dtype), value)
