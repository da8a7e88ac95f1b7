"""The names that a file of PyTorch's tensors may use, and what they mean here.

A name stands for one of the short functions below, which check what they are given,
or for the type of a storage. No other name means anything, and torch has no part in it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from bert_jax.errors import UserError

NOTHING_WAS_RUN = "nothing in it was run; get a file of plain tensors alone"
_SHOWN = 100  # characters of a name in a message
_MAX_RANK = 32  # of numpy 1; numpy 2 has 64


class DamagedError(Exception):
    """What the file says cannot be; the message says what."""


class Ignored:
    """Stands for what is no weight, such as a set or a device."""


IGNORED = Ignored()


@dataclass(frozen=True)
class Storage:
    """A run of elements in the file.

    Attributes:
      key: what it is called in the file.
      dtype: of the elements.
      size: their number.
    """

    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True)
class Part:
    """Some elements of a storage: all of them, but in files of torch before 0.4."""

    storage: Storage
    start: int
    length: int


@dataclass(frozen=True)
class Tensor:
    """Where the elements of a tensor are, known to lie within their storage.

    Attributes:
      storage: what it looks into.
      offset: its first element, counted from the first of the storage.
      shape: () for a scalar.
      strides: in elements, never negative.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Global:
    """A name that a file may use: a function that is run for it, or the type of a storage."""

    run: Callable[..., object] | None = None
    dtype: np.dtype | None = None


def make_dict(items: list[Any]) -> dict[str, Any]:
    """A dict of keys and values in turn, of which those by strings are kept.

    Names of tensors are strings. And hashing what a file made up is dangerous: a
    tuple nested deep enough overflows the stack of C.
    """
    if len(items) % 2:
        raise DamagedError("a key without a value")
    pairs = zip(items[::2], items[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, str)}


def look_up(module: str, name: str) -> Global:
    """What a name means.

    The pair is compared, not the two joined, and no attributes are followed: the
    dots of "Size.__new__" are characters.

    Raises:
      UserError: any name but ours.
    """
    if (module, name) not in _GLOBALS:
        named = repr(f"{module}.{name}"[:_SHOWN])
        raise UserError(f"names {named}, which is no part of tensors; {NOTHING_WAS_RUN}")
    return _GLOBALS[module, name]


def counts(values: object) -> tuple[int, ...]:
    """Checks a tuple of numbers of elements: Python's may have millions of digits."""
    if not isinstance(values, tuple) or len(values) > _MAX_RANK:
        raise DamagedError("no tuple of sizes or strides, or a long one")
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise DamagedError("a size, stride or offset is negative or absurd")
    return values


def _ordered_dict(pairs: object = None) -> dict[str, Any]:
    """Empty, or of a list of pairs, which Python 2 wrote."""
    if pairs is None:
        return {}
    if not isinstance(pairs, list):
        raise DamagedError("a dict of what are no pairs")
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise DamagedError("a dict of what are no pairs")
    made = make_dict([item for pair in pairs for item in pair])
    # A short file could make a long list into any number of dicts, and so fill the memory.
    pairs.clear()
    return made


def _tensor(part: object, offset: object, shape: object, strides: object) -> Tensor:
    """Checked here, so that whoever fetches the elements stays within the storage."""
    if not isinstance(part, Part):
        raise DamagedError("a tensor without a storage")
    (first,), sizes, steps = counts((offset,)), counts(shape), counts(strides)
    if len(sizes) != len(steps):
        raise DamagedError(f"{len(steps)} strides for {len(sizes)} dimensions")
    # As numpy counts, which must be able to number the elements: zeros aside.
    if math.prod(max(size, 1) for size in sizes) * part.storage.dtype.itemsize >= 2**63:
        raise DamagedError("a tensor of absurd size")
    # Without elements it may lie anywhere, also behind the end.
    if 0 in sizes:
        return Tensor(part.storage, 0, sizes, (0,) * len(sizes))
    # Nobody takes a step along a dimension of 1, so its stride may be anything.
    steps = tuple(step if size > 1 else 0 for size, step in zip(sizes, steps, strict=True))
    last = first + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if last >= part.length:
        raise DamagedError(f"a tensor reaches element {last} of {part.length}")
    return Tensor(part.storage, part.start + first, sizes, steps)


def _tensor_v2(
    part: object, offset: object, shape: object, strides: object, *others: object
) -> Tensor:
    """The others: whether it has a gradient, hooks, and since torch 2.0 flags if it has any."""
    if len(others) > 2 and others[2]:
        raise UserError("holds a tensor that waits to be negated; save it after resolve_neg()")
    return _tensor(part, offset, shape, strides)


def _parameter(data: object, requires_grad: object, hooks: object) -> Tensor:
    del requires_grad, hooks
    if not isinstance(data, Tensor):
        raise DamagedError("a parameter without a tensor")
    return data


def _size(values: object = ()) -> object:
    return values


def _ignored(*arguments: object) -> Ignored:
    del arguments
    return IGNORED


_GLOBALS = {
    ("collections", "OrderedDict"): Global(_ordered_dict),
    ("torch._utils", "_rebuild_tensor"): Global(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Global(_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): Global(_parameter),
    ("torch", "Size"): Global(_size),
    ("torch", "device"): Global(_ignored),
    ("torch", "FloatStorage"): Global(dtype=np.dtype(np.float32)),
    ("torch", "HalfStorage"): Global(dtype=np.dtype(np.float16)),
    ("torch", "BFloat16Storage"): Global(dtype=np.dtype(ml_dtypes.bfloat16)),
    ("torch", "DoubleStorage"): Global(dtype=np.dtype(np.float64)),
    ("torch", "LongStorage"): Global(dtype=np.dtype(np.int64)),
    ("torch", "IntStorage"): Global(dtype=np.dtype(np.int32)),
    ("torch", "ShortStorage"): Global(dtype=np.dtype(np.int16)),
    ("torch", "CharStorage"): Global(dtype=np.dtype(np.int8)),
    ("torch", "ByteStorage"): Global(dtype=np.dtype(np.uint8)),
    ("torch", "BoolStorage"): Global(dtype=np.dtype(np.bool_)),
    ("torch.storage", "UntypedStorage"): Global(dtype=np.dtype(np.uint8)),
}
