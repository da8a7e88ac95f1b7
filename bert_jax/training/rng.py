"""Random keys: one root, and a name for every use.

No key is stored: what a step draws follows from the seed and the step's number,
so a resumed run draws what the undisturbed one would have.
"""

from enum import IntEnum

import jax
from jaxtyping import Array, Int, Key


class Stream(IntEnum):
    """What a key is for."""

    INIT = 0
    DROPOUT = 1


def stream_key(seed: int, stream: Stream) -> Key[Array, ""]:
    """The root key of one stream."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def step_key(
    key: Key[Array, ""], step: Int[Array, ""] | int, block: Int[Array, ""] | int
) -> Key[Array, ""]:
    """The key of one step on one block of the batch's rows: blocks must not share dropout masks."""
    return jax.random.fold_in(jax.random.fold_in(key, step), block)
