"""Random numbers that are a pure function of integers.

Data order, sentence pairs and masks must not depend on which host, thread or
process draws them, nor on what was drawn before: a resumed run would see other
batches. So there is no generator and no state here, only a hash of the keys
that name a draw: (seed, stream, epoch, example, …).

The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, figure 15), folded over the keys.
It is written out here so that the order of the data can change neither with
NumPy's nor with TensorFlow's version.
"""

from enum import IntEnum
from typing import no_type_check

import numpy as np
from jaxtyping import Float, UInt64
from numba import njit, vectorize

Keys = int | np.integer | np.ndarray

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


class Stream(IntEnum):
    """What a draw is for; streams with the same seed are independent."""

    PAIRS = 1
    ORDER = 2
    MASKS = 3
    MIXTURE = 4
    ROWS = 5
    SAMPLE = 6


@njit(cache=True)
@no_type_check
def _mix(bits):
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@vectorize(["uint64(uint64, uint64)"], cache=True)
@no_type_check
def fold(bits, key):
    """The bits of some keys and one key more; for arrays, and inside compiled loops."""
    return _mix((bits + _GOLDEN_GAMMA) ^ _mix(key + _GOLDEN_GAMMA))


def random_bits(*keys: Keys) -> UInt64[np.ndarray, "..."]:
    """64 random bits for every combination of keys, which broadcast together."""
    bits: np.ndarray | np.uint64 = np.uint64(0)
    for key in keys:
        bits = fold(bits, np.asarray(key).astype(np.uint64))
    return np.asarray(bits)


def uniform(*keys: Keys) -> Float[np.ndarray, "..."]:
    """A float64 in [0, 1) for every combination of keys."""
    return np.asarray((random_bits(*keys) >> np.uint64(11)) * 2.0**-53)


@njit(cache=True)
@no_type_check
def draw(key, kind):
    """`uniform` of two keys, inside compiled loops."""
    return (fold(fold(np.uint64(0), key), np.uint64(kind)) >> np.uint64(11)) * 2.0**-53


def permutation(size: int, *keys: Keys) -> np.ndarray:
    """A random order of `range(size)`, int64 [size]."""
    return np.argsort(random_bits(*keys, np.arange(size)), kind="stable")
