"""The pickles inside PyTorch's files, read without pickle and without torch.

A pickle is a program for a small stack machine, and Python's own machine calls
whatever the program names. This one knows the instructions that dicts, lists,
strings, numbers and tensors are written with, and no others:

- On its stack is data, or one of the names of `torch_globals`. Nothing of that can
  be called from Python, so a file has nothing to call.
- `REDUCE` runs the function of such a name, and of nothing else.
- `BUILD`, which sets attributes, drops what it is given.
- `INST`, `OBJ`, `NEWOBJ` and `EXT`, which call too, are refused; so is the rest.

Strings and numbers of text (protocols 0 and 1) are not known: torch writes protocol 2.
"""

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from bert_jax.errors import UserError
from bert_jax.interop.torch_globals import (
    IGNORED,
    NOTHING_WAS_RUN,
    DamagedError,
    Global,
    Part,
    Storage,
    counts,
    look_up,
    make_dict,
)

_MAX_NAME = 200  # bytes of a module's or a function's name; torch's longest has 25


class Content(NamedTuple):
    """What a pickle says.

    Attributes:
      value: str, int, float, bool, bytes, None, list, tuple, `Tensor`, `Part` or
        `IGNORED`, or a dict of these by strings; other keys are dropped with their
        values. A list or dict may hold itself, or be nested deep: never compare,
        hash or print a value.
      storages: all that it mentions, by their keys.
    """

    value: object
    storages: dict[str, Storage]


def read_pickle(file: io.BufferedIOBase, limit: int) -> Content:
    """Reads one pickle; the file then stands behind it.

    Args:
      file: stands at the first byte.
      limit: bytes of the file; no string is longer.

    Raises:
      UserError: it names what is no part of tensors; nothing of it was run.
      DamagedError: it is none that torch writes. Python's own errors, such as
        IndexError and ValueError, mean the same.
    """
    machine = _Machine(file, limit)
    return Content(machine.run(), machine.storages)


class _Machine:
    """The stack machine.

    MARK puts the stack aside and begins a new one, as in CPython. So a mark is never
    an item, and nothing can be done to it.
    """

    def __init__(self, file: io.BufferedIOBase, limit: int):
        self._file = file
        self._limit = limit
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._aside: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        """Follows the instructions up to the last, and returns what is on top of the stack."""
        while (code := self._read(1)) != pickle.STOP:
            if code in _CONSTANTS:
                self.push(_CONSTANTS[code])
            elif code in _NUMBERS:
                self.push(self._number(_NUMBERS[code]))
            elif code in _STRINGS:
                length, decode = _STRINGS[code]
                self.push(decode(self._read(self._number(length))))
            elif code in _STEPS:
                _STEPS[code](self)
            elif code in _CALLS:
                raise _refusal(_CALLS[code])
            else:
                raise DamagedError(f"no instruction of tensors is {code!r}")
        return self._stack.pop()

    def _read(self, length: int) -> bytes:
        # It may be any number, and Python takes the memory before it looks into the file.
        if not 0 <= length <= self._limit:
            raise DamagedError("a string is longer than the file")
        content = self._file.read(length)
        if len(content) < length:
            raise DamagedError("it ends too early")
        return content

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        line = self._file.readline(_MAX_NAME)
        if not line.endswith(b"\n"):
            raise DamagedError("a name does not end")
        return line[:-1].decode()

    def _items(self) -> list[Any]:
        """What stands above the mark."""
        items, self._stack = self._stack, self._aside.pop()
        return items

    def push(self, item: object) -> None:
        self._stack.append(item)

    def skip_protocol(self) -> None:
        if self._number("<B") > pickle.HIGHEST_PROTOCOL:
            raise DamagedError("an unknown protocol")

    def skip_frame(self) -> None:
        self._number("<Q")  # only says how much to read ahead

    def mark(self) -> None:
        self._aside.append(self._stack)
        self._stack = []

    def pop(self) -> None:
        self._stack.pop()

    def pop_mark(self) -> None:
        self._items()

    def repeat(self) -> None:
        self.push(self._stack[-1])

    def make_tuple(self) -> None:
        items = tuple(self._items())
        self.push(items)

    def make_short_tuple(self, length: int) -> None:
        if len(self._stack) < length:
            raise DamagedError("a tuple of too few items")
        self._stack[-length:] = [tuple(self._stack[-length:])]

    def make_list(self) -> None:
        items = self._items()
        self.push(items)

    def make_dict(self) -> None:
        items = self._items()
        self.push(make_dict(items))

    def make_ignored(self) -> None:
        self._items()
        self.push(IGNORED)

    def append(self) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def extend(self) -> None:
        items = self._items()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._top(dict).update(make_dict([key, value]))

    def set_items(self) -> None:
        items = self._items()
        self._top(dict).update(make_dict(items))

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise DamagedError(f"items for what is no {kind.__name__}")
        return self._stack[-1]

    def put(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, form: str) -> None:
        self.push(self._memo[self._number(form)])

    def read_global(self) -> None:
        module, name = self._line(), self._line()
        self.push(look_up(module, name))

    def take_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise DamagedError("a name that is no string")
        self.push(look_up(module, name))

    def read_instance(self) -> None:
        look_up(self._line(), self._line())  # which refuses most, by their names
        raise _refusal("INST")

    def reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global) or function.run is None:
            raise DamagedError("a call of what is no function")
        if not isinstance(arguments, tuple):
            raise DamagedError("arguments that are no tuple")
        self.push(function.run(*arguments))

    def drop_state(self) -> None:
        # `_metadata`, the versions of modules, is all that the dicts of torch have.
        self._stack.pop()
        self._top(dict)

    def find_storage(self) -> None:
        saved = self._stack.pop()
        if not isinstance(saved, tuple) or len(saved) not in (5, 6) or saved[0] != "storage":
            raise DamagedError("a reference to what is no storage")
        _, kind, key, _, size, *view = saved
        if not isinstance(kind, Global) or kind.dtype is None or not isinstance(key, str):
            raise DamagedError("a storage without a type or a key")
        (size,) = counts((size,))
        start, length = 0, size
        if view and view[0] is not None:
            _, start, length = view[0]
            start, length = counts((start, length))
        if start + length > size or size * kind.dtype.itemsize >= 2**63:
            raise DamagedError("a storage of absurd size, or a part outside of it")
        storage = self.storages.setdefault(key, Storage(key, kind.dtype, size))
        if (storage.dtype, storage.size) != (kind.dtype, size):
            raise DamagedError("a storage of two types or sizes")
        self.push(Part(storage, start, length))


def _refusal(instruction: str) -> UserError:
    return UserError(f"asks for code to be run (pickle's {instruction}); {NOTHING_WAS_RUN}")


_CONSTANTS = {
    pickle.NONE: None,
    pickle.NEWTRUE: True,
    pickle.NEWFALSE: False,
    pickle.EMPTY_TUPLE: (),
    pickle.EMPTY_SET: IGNORED,
}

_NUMBERS = {
    pickle.BININT: "<i",
    pickle.BININT1: "<B",
    pickle.BININT2: "<H",
    pickle.BINFLOAT: ">d",
}


def _integer(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


# How the length is written, and what the bytes are. Strings of Python 2 are text to torch too.
_STRINGS: dict[bytes, tuple[str, Callable[[bytes], object]]] = {
    pickle.LONG1: ("<B", _integer),
    pickle.LONG4: ("<i", _integer),
    pickle.SHORT_BINSTRING: ("<B", bytes.decode),
    pickle.BINSTRING: ("<i", bytes.decode),
    pickle.SHORT_BINUNICODE: ("<B", bytes.decode),
    pickle.BINUNICODE: ("<I", bytes.decode),
    pickle.BINUNICODE8: ("<Q", bytes.decode),
    pickle.SHORT_BINBYTES: ("<B", bytes),
    pickle.BINBYTES: ("<I", bytes),
    pickle.BINBYTES8: ("<Q", bytes),
    pickle.BYTEARRAY8: ("<Q", bytes),
}

_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.skip_protocol,
    pickle.FRAME: _Machine.skip_frame,
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.pop,
    pickle.POP_MARK: _Machine.pop_mark,
    pickle.DUP: _Machine.repeat,
    pickle.TUPLE: _Machine.make_tuple,
    pickle.TUPLE1: lambda machine: machine.make_short_tuple(1),
    pickle.TUPLE2: lambda machine: machine.make_short_tuple(2),
    pickle.TUPLE3: lambda machine: machine.make_short_tuple(3),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.LIST: _Machine.make_list,
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.extend,
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.DICT: _Machine.make_dict,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_items,
    pickle.FROZENSET: _Machine.make_ignored,
    pickle.ADDITEMS: _Machine.pop_mark,
    pickle.BINPUT: lambda machine: machine.put("<B"),
    pickle.LONG_BINPUT: lambda machine: machine.put("<I"),
    pickle.MEMOIZE: _Machine.memoize,
    pickle.BINGET: lambda machine: machine.get("<B"),
    pickle.LONG_BINGET: lambda machine: machine.get("<I"),
    pickle.GLOBAL: _Machine.read_global,
    pickle.STACK_GLOBAL: _Machine.take_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.drop_state,
    pickle.BINPERSID: _Machine.find_storage,
    pickle.INST: _Machine.read_instance,
}

_CALLS = {
    pickle.OBJ: "OBJ",
    pickle.NEWOBJ: "NEWOBJ",
    pickle.NEWOBJ_EX: "NEWOBJ_EX",
    pickle.EXT1: "EXT1",
    pickle.EXT2: "EXT2",
    pickle.EXT4: "EXT4",
}
