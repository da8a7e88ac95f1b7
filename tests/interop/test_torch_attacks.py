"""Nothing in a file of PyTorch's is ever run, and a short one cannot fill the memory."""

import copyreg
import itertools
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch_programs import literal, name, program, refusal, save_legacy, save_zip, storage, tensor

from bert_jax.interop import torch_files
from bert_jax.interop.torch_files import read_torch_file

EXTENSION = 240
ORDERED = name("collections", "OrderedDict")
REBUILD = name("torch._utils", "_rebuild_tensor_v2")
PART = storage("FloatStorage", "0", 1)
WHOLE = tensor(PART, 0, (1,), (1,))


def stacked(module: str, attribute: str) -> bytes:
    return literal(module) + literal(attribute) + b"\x93"


def runnable(ran: str) -> dict[str, bytes]:
    """Programs by which Python's own reader makes the folder `ran`."""
    arguments = b"(" + literal(ran) + b"tR"
    evaluate = b"(" + literal(f"__import__('os').mkdir({ran!r})") + b"tR"
    inner = b"\x80\x04" + name("os", "mkdir") + arguments + b"."
    return {
        "reduce": name("os", "mkdir") + arguments,
        "system": name("os", "system") + b"(" + literal(f"mkdir {ran}") + b"tR",
        "eval": name("builtins", "eval") + evaluate,
        "name of Python 2": stacked("builtins", "exec") + evaluate,
        "loads": name("pickle", "loads") + literal(inner) + b"\x85R",
        "getattr": name("builtins", "getattr")
        + (stacked("os", "path.os") + literal("mkdir") + b"\x86R" + arguments),
        "stack_global": stacked("os", "mkdir") + arguments,
        "dotted": stacked("os", "path.os.mkdir") + arguments,
        "inst": b"(" + literal(ran) + b"ios\nmkdir\n",
        "obj": b"(" + name("os", "mkdir") + literal(ran) + b"o",
        "newobj": name("zipfile", "ZipFile") + b")\x81" + b"0" + name("os", "mkdir") + arguments,
        "ext1": bytes([0x82, EXTENSION]) + arguments,
        "ext2": bytes([0x83, EXTENSION, 0]) + arguments,
        "ext4": bytes([0x84, EXTENSION, 0, 0, 0]) + arguments,
    }


def holds() -> dict[str, bytes]:
    """Programs that would take hold of something of ours."""
    state = b"}" + literal("run") + name("torch", "Size") + b"s"
    objects = {
        "function": REBUILD,
        "kind": name("torch", "FloatStorage"),
        "storage": PART,
        "tensor": WHOLE,
        "list": b"]",
        "string": literal("a"),
    }
    built = {f"build of a {key}": piece + state + b"b" for key, piece in objects.items()}
    slots = {f"slots of a {key}": piece + b"N" + state + b"\x86b" for key, piece in objects.items()}
    items = {f"items of a {key}": piece + literal("run") + b"Ns" for key, piece in objects.items()}
    return {
        **built,
        **slots,
        **items,
        "slots of a dict": b"}N" + state + b"\x86bR",
        "inst of ours": b"(icollections\nOrderedDict\n",
        "obj of ours": b"(" + ORDERED + b"o",
        "newobj of ours": ORDERED + b")\x81",
        "newobj_ex of ours": ORDERED + b")}\x92",
        "items of a dict": ORDERED + b"]" + literal(("a", 1)) + b"a\x85R",
        "attribute of ours": stacked("torch._utils", "_rebuild_tensor_v2.run"),
        "globals of ours": stacked("collections", "OrderedDict.__init__.__globals__"),
        "module of ours": stacked("bert_jax.interop.torch_files", "pickle.loads"),
        "moved dot": stacked("torch", "_utils._rebuild_tensor_v2"),
        "name of torch": name("torch", "load"),
        "name with lines": stacked("os\n" * 200, "\x1b[2Jmkdir\u2028"),
        "call of a string": literal("os.mkdir") + b")R",
        "call of a kind": name("torch", "FloatStorage") + b")R",
        "call of a dict": b"})R",
        "call of a tensor": WHOLE + b")R",
        "arguments of no tuple": ORDERED + literal("ab") + b"R",
        "too many arguments": REBUILD + literal((1,) * 50) + b"R",
        "set": b"\x8f(" + literal(1) + b"\x90",
        "reference by text": b"Pos.mkdir\n",
        "reference in a reference": b"(" + literal("storage") + PART + PART + PART + PART + b"tQ",
        "reference to a reference": PART + b"Q",
        "reference to a module": literal(("module", 1, 2, 3, 4)) + b"Q",
        "buffer": b"\x97",
    }


@pytest.fixture(autouse=True)
def extension() -> Iterator[None]:
    """Registered and used before, as by another library: then Python looks up no name."""
    copyreg.add_extension("os", "mkdir", EXTENSION)
    copyreg._extension_cache[EXTENSION] = os.mkdir  # type: ignore[attr-defined]
    yield
    copyreg.remove_extension("os", "mkdir", EXTENSION)


@pytest.mark.parametrize("key", [*runnable(""), *holds()])
def test_nothing_is_run(tmp_path: Path, key: str) -> None:
    ran = tmp_path / "ran"
    attack = (runnable(str(ran)) | holds())[key]
    before = {pair: tuple(meaning) for pair, meaning in torch_files._GLOBALS.items()}
    beside = program({"a": WHOLE, "b": attack})
    alone = b"\x80\x04" + attack + b"."
    files = [
        save_zip(tmp_path / "zip", beside, {"0": bytes(4)}),
        save_legacy(tmp_path / "legacy", beside, {"0": (1, bytes(4))}),
    ]
    for place in ("magic", "protocol", "machine", "keys"):
        files.append(save_legacy(tmp_path / place, program({"a": WHOLE}), **{place: alone}))
    for file in files:
        refusal(file)
    assert not ran.exists()
    assert before == {pair: tuple(meaning) for pair, meaning in torch_files._GLOBALS.items()}
    if key in runnable(""):  # no empty threat
        pickle.loads(alone)
        assert ran.exists()


@pytest.mark.parametrize("pair", ["posix.system", "builtins.eval", "torch._utils._rebuild_qtensor"])
def test_the_name_is_said(tmp_path: Path, pair: str) -> None:
    content = b"\x80\x02" + name(*pair.rsplit(".", 1)) + b"."
    message = refusal(save_zip(tmp_path / "a.bin", content))
    assert message.startswith(f"names '{pair}', ")
    assert "nothing in it was run" in message


def test_the_state_of_a_dict_is_dropped(tmp_path: Path) -> None:
    content = program({"a": WHOLE})[:-1] + literal({"a": 1, "clear": 2, "__class__": 3}) + b"b."
    assert list(read_torch_file(save_zip(tmp_path / "a.bin", content, {"0": bytes(4)}))) == ["a"]


HUGE = 1 << 20_000  # more digits than Python prints
VIEWS = {
    "reaches element": [(0, (2,), (1,)), (1, (), ()), (2**62, (2,), (2**62,)), (0, (2,), (2**62,))],
    "negative or absurd": [
        *[(-1, (1,), (1,)), (0, (-1,), (1,)), (0, (1,), (-1,)), (0, (HUGE,), (1,))],
        *[(HUGE, (1,), (1,)), (0.0, (1,), (1,)), (True, (1,), (1,)), (0, ("1",), (1,))],
    ],
    "absurd size": [(0, (2**40,), (0,)), (0, (2**40, 2**40), (0, 0)), (0, (9_999,), (0,))],
    "too big": [(0, (0, 2**40, 2**40), (0, 0, 0))],
    "strides for": [(0, (2, 3), (1,)), (0, (), (1,))],
    "no tuple of": [(0, [1], (1,)), (0, (1,), 1), (0, (1,) * 33, (1,) * 33)],
}


@pytest.mark.parametrize(
    ("reason", "view"),
    [(reason, view) for reason, views in VIEWS.items() for view in views],
    ids=itertools.count(),
)
def test_no_element_outside_of_a_storage(tmp_path: Path, reason: str, view: tuple) -> None:
    content = program({"a": tensor(PART, *view)})
    assert reason in refusal(save_zip(tmp_path / "zip", content, {"0": bytes(4)}))
    assert reason in refusal(save_legacy(tmp_path / "legacy", content, {"0": (1, bytes(4))}))


@pytest.mark.parametrize("size", [0, 2, 2**60, HUGE, -1, "1", None], ids=itertools.count())
def test_storages_are_as_long_as_they_are_said_to_be(tmp_path: Path, size: object) -> None:
    path = tmp_path / "a.bin"
    content = program({"a": tensor(storage("FloatStorage", "0", size), 0, (0,), (1,))})
    assert "damaged" in refusal(save_zip(path, content, {"0": bytes(4)}))
    assert "damaged" in refusal(save_legacy(path, content, {"0": (1, bytes(4))}))
    if isinstance(size, int) and 1 < size < 2**63:  # the count before the elements says the same
        assert "damaged" in refusal(save_legacy(path, content, {"0": (size, bytes(4))}))


GREEDY = {
    "far memo": b"}r\xff\xff\xff\xff",
    "long string": b"\x8d" + (2**40).to_bytes(8, "little"),
    "longer string": b"\x8d" + (2**63).to_bytes(8, "little"),
    "long bytes": b"\x8e" + (2**40).to_bytes(8, "little"),
    "long number": b"\x8b" + (2**31 - 1).to_bytes(4, "little"),
    "long frame": b"\x95" + (2**40).to_bytes(8, "little"),
    "marks": b"(" * 50_000,
    "no end of a name": b"c" + b"a" * 100_000,
    "deep call": ORDERED + b")" + b"\x85" * 50_000 + b"R",
    "deep reference": b")" + b"\x85" * 50_000 + b"Q",
    "deep dicts": (b"}" + literal("a")) * 1_000 + b"}" + b"s" * 1_000,
    "deep lists": b"]" * 50_000 + b"a" * 49_999,
    "key of many": b"})" + b"\x94h\x00\x86".join([b""] * 2) + b"2\x86" * 99 + b"Ns",
    "list in itself": b"]" + b"\x94h\x00a",
}


@pytest.mark.parametrize("key", GREEDY)
def test_files_made_to_fill_the_memory_or_the_stack(tmp_path: Path, key: str) -> None:
    """Each by some bytes; several crash Python's own reader, or a hash of what it makes."""
    content = b"\x80\x04" + GREEDY[key] + b"."
    files = [save_zip(tmp_path / "zip", content), save_legacy(tmp_path / "legacy", content)]
    tracemalloc.start()
    try:
        for file in files:
            refusal(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_members_longer_than_the_file(tmp_path: Path) -> None:
    content = program({"a": tensor(storage("ByteStorage", "0", 10**4), 0, (1,), (1,))})
    for elements in (bytes(10**4), np.random.default_rng(0).bytes(10**4)):
        with zipfile.ZipFile(tmp_path / "a.bin", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("any/data.pkl", content, zipfile.ZIP_STORED)
            archive.writestr("any/data/0", elements)
        assert "compressed or longer" in refusal(tmp_path / "a.bin")
