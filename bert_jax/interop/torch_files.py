"""Tensors from PyTorch's `.bin` and `.pt` files, without torch.

A file of `torch.save` is a pickle, which says what there is, and the elements of its
storages. A tensor is a view of a storage, and several may share one. Two formats:

- zip, since torch 1.6: in one folder of any name `data.pkl` and `data/KEY` for each storage.
- legacy: one after the other the pickles of a magic number, of 1001, of facts about
  the machine, of the object and of a list of keys; then for each key the number of
  elements (int64) and these.

A pickle is a program that calls whatever it can name. Python's own reader follows it here,
but only instructions that tensors need, and no name leads out of this file: each stands for
something of ours that nothing can be set on.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from bert_jax.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# What training programs put their weights under, beside the optimizer's state.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_NOTHING_WAS_RUN = "nothing in it was run; get a file of plain tensors alone"
_LONGEST_PROGRAM = 1 << 22  # bytes, each of which may make a dict; torch writes 200 a tensor
_MOST_EXPANDED = 16  # tensors may share elements, but not fill the memory of who copies them

# Not among them: calls but REDUCE; EXT, which asks the registry of copyreg before `find_class`
# (empty, unless a library filled it); sets, which hash their items; numbers written in decimal.
_INSTRUCTIONS = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 "
    "BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT SETITEM "
    "SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD "
    "BINPERSID".split()
)
# Instead of Python's own dicts, which hash whatever key they get, ours; frames are but a hint how
# far to read ahead.
_REPLACED = {"EMPTY_DICT": b"ccollections\nOrderedDict\n)R", "FRAME": b""}


# Named tuples have neither `__dict__` nor `__setstate__`, so BUILD finds nothing to change.
class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    size: int  # in elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int  # in elements, as the strides; `_tensor` checks that all lie within the storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Kind(NamedTuple):
    dtype: np.dtype  # of a class of storages


class _Function(NamedTuple):
    """Stands for a function of torch; a bare one of ours would have attributes to set."""

    run: Callable[..., object]

    def __call__(self, *arguments: object) -> object:
        return self.run(*arguments)


class _Dict(dict[str, Any]):
    """Any dict of a file. Only what is under strings is kept, for names of tensors are.

    To hash a made-up key is dangerous: nested tuples overflow the stack of C or take for ever.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()  # items would not come by way of __setitem__

    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(key, str):
            super().__setitem__(key, value)

    def __setstate__(self, state: object) -> None:
        """Drops `_metadata`, the versions of modules."""


def _counts(values: object) -> tuple[int, ...]:
    """Checks a tuple of numbers of elements: Python's may have millions of digits."""
    if type(values) is not tuple or len(values) > 32:
        raise ValueError("no tuple of sizes or strides, or a long one")
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise ValueError("a size, stride or offset is negative or absurd")
    return values


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *others: object
) -> _Tensor:
    """The others: whether it has a gradient, hooks, and since torch 2.0 flags if it has any."""
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    if len(others) > 2 and others[2]:
        raise UserError("holds a tensor that waits to be negated; save it after resolve_neg()")
    (first,), sizes, steps = _counts((offset,)), _counts(shape), _counts(strides)
    if len(sizes) != len(steps):
        raise ValueError(f"{len(steps)} strides for {len(sizes)} dimensions")
    # Without elements it may lie anywhere, also behind the end.
    if 0 in sizes:
        return _Tensor(storage, 0, sizes, (0,) * len(sizes))
    # Nobody takes a step along a dimension of 1, so its stride may be anything.
    steps = tuple(step if size > 1 else 0 for size, step in zip(sizes, steps, strict=True))
    last = first + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if last >= storage.size:
        raise ValueError(f"a tensor reaches element {last} of {storage.size}")
    return _Tensor(storage, first, sizes, steps)


_GLOBALS: dict[tuple[str, str], _Function | _Kind] = {
    ("collections", "OrderedDict"): _Function(_Dict),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(lambda tensor, *_: tensor),
    ("torch", "Size"): _Function(lambda values=(): values),
    ("torch", "device"): _Function(lambda *_: None),
    ("torch", "FloatStorage"): _Kind(np.dtype(np.float32)),
    ("torch", "HalfStorage"): _Kind(np.dtype(np.float16)),
    ("torch", "BFloat16Storage"): _Kind(np.dtype(ml_dtypes.bfloat16)),
    ("torch", "DoubleStorage"): _Kind(np.dtype(np.float64)),
    ("torch", "LongStorage"): _Kind(np.dtype(np.int64)),
    ("torch", "IntStorage"): _Kind(np.dtype(np.int32)),
    ("torch", "ShortStorage"): _Kind(np.dtype(np.int16)),
    ("torch", "CharStorage"): _Kind(np.dtype(np.int8)),
    ("torch", "ByteStorage"): _Kind(np.dtype(np.uint8)),
    ("torch", "BoolStorage"): _Kind(np.dtype(np.bool_)),
    ("torch.storage", "UntypedStorage"): _Kind(np.dtype(np.uint8)),
}


class _Unpickler(pickle.Unpickler):
    """Knows our names and no others; `storages` are all that the pickle mentions."""

    def __init__(self, program: bytes):
        super().__init__(io.BytesIO(program))
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> _Function | _Kind:
        """The pair is compared and nothing followed: dots are characters."""
        if (module, name) not in _GLOBALS:
            named = repr(f"{module}.{name}"[:100])
            raise UserError(f"names {named}, which is no part of tensors; {_NOTHING_WAS_RUN}")
        return _GLOBALS[module, name]

    def persistent_load(self, saved: object) -> _Storage:
        """A storage: what else could be saved so is not in a state_dict."""
        match saved:
            # The last is a part of the storage, in files of torch before 0.4.
            case ("storage", _Kind(dtype), str(key), _, size, *part) if part in ([], [None]):
                storage = _Storage(key, dtype, *_counts((size,)))
            case _:
                raise ValueError("a reference to what is no storage")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("a storage of two types or sizes")
        return storage


def _read_pickle(file: io.BufferedReader | io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """Follows one pickle, up to whose end the file is read.

    Returns what it says, and the storages that it mentions. A list or dict may hold itself or
    be nested deep: never compare, hash or print it.
    """
    start = file.tell()
    # Strings may be said to be of any length: files take that memory first, BytesIO does not.
    raw = file.read(2 * _LONGEST_PROGRAM)
    window, program, copied = io.BytesIO(raw), bytearray(), 0
    for code, argument, position in pickletools.genops(window):
        place = position or 0
        if code.name not in _INSTRUCTIONS:
            raise UserError(f"asks for what no tensor does ({code.name}); {_NOTHING_WAS_RUN}")
        if place > _LONGEST_PROGRAM:
            raise UserError("is made of much that is no tensor; save the state_dict alone")
        # Python takes memory up to the place that is given.
        if code.name == "LONG_BINPUT" and int(argument or 0) > place:
            raise ValueError("a far place in the memo")
        if code.name in _REPLACED:
            program += raw[copied:place] + _REPLACED[code.name]
            copied = window.tell()
    program += raw[copied : window.tell()]
    file.seek(start + window.tell())
    unpickler = _Unpickler(bytes(program))
    return unpickler.load(), unpickler.storages


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file, by their names.

    Only those of the dict that is the file's object, or of the dict in it under
    "state_dict", "model_state_dict" or "model"; whatever else is there is ignored.

    Returns:
      Read-only arrays, of which those that share a storage share memory.

    Raises:
      UserError: no such file, not of torch.save, damaged, without tensors, or with
        something in it that is no part of tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # pickle, zipfile and numpy may raise almost any
        reason = (str(error) or repr(error))[:200]
        raise UserError(f"{path} is damaged ({reason}); get it again") from None


def _read(file: io.BufferedReader, size: int) -> dict[str, np.ndarray]:
    """Told by its content, for names say little."""
    start = file.read(16)
    file.seek(0)
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise UserError(f"is no file of torch.save (it begins with {start!r})")
    weights, elements = (_read_zip if start.startswith(b"P") else _read_legacy)(file, size)
    lengths = (math.prod(view.shape) * view.storage.dtype.itemsize for view in weights.values())
    if sum(lengths) > _MOST_EXPANDED * size:
        raise ValueError("its tensors are of absurd size")
    arrays = {}
    for name, (storage, offset, shape, strides) in weights.items():
        raw, width = elements[storage.key], storage.dtype.itemsize
        if len(raw) != storage.size * width:
            raise ValueError(f"storage {storage.key!r} has {len(raw)} bytes")
        steps = [stride * width for stride in strides]
        # No copy, and read-only as bytes are; numpy checks the bounds once more.
        arrays[name] = np.ndarray(shape, storage.dtype, raw, offset * width, steps)
    return arrays


def _read_zip(file: io.BufferedReader, size: int) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        # torch never compresses. A short file could have long members, or one upon the other.
        lengths = [max(info.file_size, info.compress_size) for info in members.values()]
        if sum(lengths) > size or any(info.compress_type for info in members.values()):
            raise ValueError("its members are compressed or longer than the file")
        pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError("is a zip file, but not of torch.save (there is no data.pkl in it)")
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "byteorder" in members and archive.read(folder + "byteorder") != b"little":
            raise UserError("is of a big-endian machine; load it with torch and save it elsewhere")
        weights = _find_weights(_read_pickle(io.BytesIO(archive.read(pickles[0])))[0])
        keys = {view.storage.key for view in weights.values()}
        return weights, {key: archive.read(f"{folder}data/{key}") for key in keys}


def _read_legacy(file: io.BufferedReader, size: int) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    if _read_pickle(file)[0] != _LEGACY_MAGIC:
        raise UserError("is a pickle, but not of torch.save; save a state_dict with torch.save")
    _read_pickle(file)  # 1001, ever since
    _read_pickle(file)  # about the machine that wrote it; elements are the same from all
    content, storages = _read_pickle(file)
    elements = {}
    for key in _read_pickle(file)[0]:
        if not isinstance(key, str):
            raise ValueError("the key of a storage is no string")
        storage = storages.pop(key)  # each once
        (num_elements,) = struct.unpack("<q", file.read(8))
        num_bytes = num_elements * storage.dtype.itemsize
        if num_elements != storage.size or num_bytes > size - file.tell():
            raise ValueError(f"storage {key!r} is not of {storage.size} elements")
        elements[key] = file.read(num_bytes)
    return _find_weights(content), elements


def _find_weights(value: object) -> dict[str, _Tensor]:
    """The tensors of a dict, or of that which a training program wrapped with other things."""
    outer = value if isinstance(value, _Dict) else _Dict()
    # The inner first, for random states beside it may be tensors too.
    for candidate in (*(outer.get(name) for name in _WRAPPERS), outer):
        if isinstance(candidate, _Dict):
            weights = {name: item for name, item in candidate.items() if isinstance(item, _Tensor)}
            if weights:
                return weights
    places = ", ".join(_WRAPPERS)
    raise UserError(f"holds no tensors, at its top or under {places}; get a file of a state_dict")
