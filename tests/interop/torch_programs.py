"""Pickles and files of torch.save written by hand, right ones and wrong ones."""

import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from bert_jax.errors import UserError
from bert_jax.interop.torch_files import read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C


def literal(value: object) -> bytes:
    """The instructions that leave a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(kind: str, key: str, size: object) -> bytes:
    module = "torch.storage" if kind == "UntypedStorage" else "torch"
    fields = literal("storage") + name(module, kind) + literal(key) + literal("cpu") + literal(size)
    return b"(" + fields + b"tQ"


def tensor(part: bytes, offset: object, shape: object, strides: object) -> bytes:
    function = name("torch._utils", "_rebuild_tensor_v2")
    view = literal(offset) + literal(shape) + literal(strides)
    return function + b"(" + part + view + literal(False) + literal(None) + b"tR"


def program(tensors: dict[str, bytes]) -> bytes:
    items = b"".join(literal(key) + value for key, value in tensors.items())
    return b"\x80\x02}(" + items + b"u."


def save_zip(path: Path, content: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """A file as of torch 1.6 and later."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("any/data.pkl", content)
        for key, elements in (storages or {}).items():
            archive.writestr(f"any/data/{key}", elements)
    return path


def save_legacy(
    path: Path,
    content: bytes,
    storages: dict[str, tuple[int, bytes]] | None = None,
    **others: bytes,
) -> Path:
    """A file as of torch before 1.6; `others` may replace each of the other pickles."""
    storages = storages or {}
    pickles = {
        "magic": pickle.dumps(MAGIC, 2),
        "protocol": pickle.dumps(1001, 2),
        "machine": pickle.dumps({"little_endian": True}, 2),
        "content": content,
        "keys": pickle.dumps(list(storages), 2),
    } | others
    elements = [struct.pack("<q", size) + raw for size, raw in storages.values()]
    path.write_bytes(b"".join([*pickles.values(), *elements]))
    return path


def refusal(path: Path) -> str:
    """The one line that the reader has for a file, without the path."""
    with pytest.raises(UserError) as raised:
        read_torch_file(path)
    message = str(raised.value)
    assert message.startswith(f"{path} ")
    assert message.isprintable()
    assert "Type-check" not in message  # a fault of ours is not the file's
    assert len(message) < len(str(path)) + 400
    return message.removeprefix(f"{path} ")
