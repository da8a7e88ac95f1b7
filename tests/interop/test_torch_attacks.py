"""Nothing in a file of PyTorch's is ever run."""

import copyreg
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch_programs import literal, name, program, save_legacy, save_zip, storage, tensor

from bert_jax.errors import UserError
from bert_jax.interop.torch_files import read_torch_file

EXTENSION = 240


class Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def attacks(ran: str) -> dict[str, bytes]:
    """Pickles that would make the folder `ran`, or take hold of something for it."""
    shell = f"mkdir {ran}"
    python = f"__import__('os').mkdir({ran!r})"
    calls = {
        "system": Call(os.system, shell),
        "mkdir": Call(os.mkdir, ran),
        "eval": Call(eval, python),
        "exec": Call(exec, python),
        "getattr": Call(getattr, "a", "upper"),
        "nested": {"a": [Call(os.mkdir, ran)]},
        "loads": Call(pickle.loads, pickle.dumps(Call(os.mkdir, ran))),
    }
    found = {
        f"{key}-{protocol}": pickle.dumps(call, protocol)
        for key, call in calls.items()
        for protocol in range(6)
    }
    argument = literal(ran)
    ordered = name("collections", "OrderedDict")
    rebuild = name("torch._utils", "_rebuild_tensor_v2")

    def stacked(module: str, attribute: str) -> bytes:
        return literal(module) + literal(attribute) + b"\x93"

    pieces = {
        "inst": b"(" + argument + b"ios\nmkdir\n",
        "inst of ours": b"(icollections\nOrderedDict\n",
        "obj": b"(" + name("os", "mkdir") + argument + b"o",
        "obj of ours": b"(" + ordered + b"o",
        "newobj": name("pathlib", "PosixPath") + b"(" + argument + b"t\x81",
        "newobj of ours": ordered + b")\x81",
        "newobj_ex of ours": ordered + b")}\x92",
        "ext1": bytes([0x82, EXTENSION]) + b"(" + argument + b"tR",
        "ext2": bytes([0x83, EXTENSION, 0]) + b"(" + argument + b"tR",
        "ext4": bytes([0x84, EXTENSION, 0, 0, 0]) + b"(" + argument + b"tR",
        "stack_global": stacked("os", "mkdir") + b"(" + argument + b"tR",
        "dotted": stacked("collections", "OrderedDict.__init__.__globals__"),
        "dotted module": stacked("bert_jax.interop.torch_pickle.pickle", "loads"),
        "dotted in ours": stacked("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "moved dot": stacked("torch", "_utils._rebuild_tensor_v2"),
        "empty name": stacked("torch._utils._rebuild_tensor_v2", ""),
        "our own module": stacked("bert_jax.interop.torch_globals", "make_dict"),
        "name of Python 2": name("__builtin__", "eval") + b"(" + literal(python) + b"tR",
        "name of torch": name("torch", "load") + b"(" + argument + b"tR",
        "module of torch": name("torch.nn.modules.linear", "Linear") + b")\x81",
        "name with lines": stacked("os\n" * 200, "\x1b[2Jmkdir\u2028"),
        "call of a string": literal("os.mkdir") + b"(" + argument + b"tR",
        "call of a type": name("torch", "FloatStorage") + b"(" + argument + b"tR",
        "call of a dict": b"})R",
        "arguments of no tuple": ordered + literal("ab") + b"R",
        "too many arguments": rebuild + literal((1,) * 50) + b"R",
        "attributes of a function": rebuild + b"}" + literal({"__defaults__": (1,)}) + b"\x86b",
        "attributes of a type": name("torch", "FloatStorage") + literal({"dtype": 1}) + b"b",
        "attributes of a storage": storage("FloatStorage", "0", 1) + literal({"size": 99}) + b"b",
        "attributes of a tensor": tensor(storage("FloatStorage", "0", 1), 0, (1,), (1,))
        + literal({"shape": (99,)})
        + b"b",
        "items of a function": rebuild + literal("a") + literal(1) + b"s",
        "reference by text": b"P" + ran.encode() + b"\n",
        "reference to a module": literal(("module", 1, 2, 3, 4)) + b"Q",
        "reference to a number": literal(5) + b"Q",
        "buffer": b"\x97",
        "readonly buffer": literal("a") + b"\x98",
    }
    return found | {key: b"\x80\x04" + piece + b"." for key, piece in pieces.items()}


@pytest.fixture(autouse=True)
def extension() -> Iterator[None]:
    """Registered and used before, as by another library: then Python looks up no name."""
    copyreg.add_extension("os", "mkdir", EXTENSION)
    copyreg._extension_cache[EXTENSION] = os.mkdir  # type: ignore[attr-defined]
    yield
    copyreg.remove_extension("os", "mkdir", EXTENSION)


@pytest.mark.parametrize("key", attacks("x"))
def test_nothing_is_run(tmp_path: Path, key: str) -> None:
    ran = tmp_path / "ran"
    attack = attacks(str(ran))[key]
    part = tensor(storage("FloatStorage", "0", 1), 0, (1,), (1,))
    # Among tensors that are in order; the attack leaves one item, which is that of "b".
    body = attack[2:] if attack.startswith(b"\x80") else attack
    beside = b"\x80\x04}" + literal("a") + part + b"s" + literal("b") + body[:-1] + b"s."
    files = [
        save_zip(tmp_path / "zip", attack, {"0": bytes(4)}),
        save_zip(tmp_path / "zip_beside", beside, {"0": bytes(4)}),
        save_legacy(tmp_path / "legacy", attack, {"0": (1, bytes(4))}),
        save_legacy(tmp_path / "legacy_beside", beside, {"0": (1, bytes(4))}),
    ]
    for place in ("magic", "protocol", "machine", "keys"):
        others = {place: attack}
        files.append(save_legacy(tmp_path / place, program({"a": part}), {}, **others))
    for file in files:
        with pytest.raises(UserError) as raised:
            read_torch_file(file)
        assert str(raised.value).isprintable()
        assert "TypeCheckError" not in str(raised.value)  # refused for what they say
    assert not ran.exists()


@pytest.mark.parametrize(
    "key", ["system-2", "mkdir-4", "eval-2", "exec-0", "loads-2", "inst", "obj", "ext1", "ext4"]
)
def test_these_attacks_are_no_empty_threat(tmp_path: Path, key: str) -> None:
    ran = tmp_path / "ran"
    pickle.loads(attacks(str(ran))[key])
    assert ran.exists()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("posix", "system"),
        ("builtins", "eval"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch._utils", "_rebuild_tensor_v3"),
    ],
)
def test_the_name_is_said(tmp_path: Path, module: str, attribute: str) -> None:
    file = save_zip(tmp_path / "a.bin", b"\x80\x02" + name(module, attribute) + b".")
    with pytest.raises(UserError, match=f"names '{module}.{attribute}'.* nothing in it was run"):
        read_torch_file(file)


def test_files_made_to_fill_the_memory_or_the_stack(tmp_path: Path) -> None:
    """Each would crash Python's own reader, or the hash and comparison of what it makes."""
    deep = b")" + b"\x85" * 150_000
    lists = b"]" + b"]a" * 3 + b"2a"  # the last in itself
    programs = {
        "deep key": b"}" + deep + literal(1) + b"s",
        "deep value": b"}" + literal("a") + deep + b"s",
        "deep call": name("collections", "OrderedDict") + deep + b"R",
        "deep reference": deep + b"Q",
        "list in itself": b"}" + literal("a") + lists + b"s",
        "long string": b"\x8d" + (2**62).to_bytes(8, "little"),
        "long bytes": b"\x96" + (2**40).to_bytes(8, "little"),
        "long number": b"\x8b" + (2**31 - 1).to_bytes(4, "little"),
        "negative length": b"\x8b\xff\xff\xff\xff",
        "far memo": b"}r\xff\xff\xff\xff0j\xff\xff\xff\xff",
        "marks": b"(" * 100_000,
        "no end of a name": b"c" + b"a" * 100_000,
        "items for nothing": b"(" + literal(1) * 3 + b"e",
        "odd items": b"}(" + literal("a") + b"u",
    }
    for key, piece in programs.items():
        content = b"\x80\x02" + piece + b"."
        with pytest.raises(UserError) as raised:
            read_torch_file(save_zip(tmp_path / key, content))
        assert "TypeCheckError" not in str(raised.value)


def test_one_list_cannot_become_many_dicts(tmp_path: Path) -> None:
    part = tensor(storage("FloatStorage", "0", 1), 0, (1,), (1,))
    pairs = b"](" + literal("a") + part + b"\x86e" + b"r\x00\x01\x00\x00"
    make = name("collections", "OrderedDict") + b"%s\x85R"
    again = make % b"j\x00\x01\x00\x00"
    content = b"\x80\x02" + make % pairs + b"0" + again + b"."
    with pytest.raises(UserError, match="holds no tensors"):
        read_torch_file(save_zip(tmp_path / "a.bin", content, {"0": bytes(4)}))
