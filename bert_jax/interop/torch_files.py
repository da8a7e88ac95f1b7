"""Tensors from PyTorch's `.bin` and `.pt` files, without torch.

A file of `torch.save` is a pickle, which says what there is, and the elements of its
storages. A tensor is a view of a storage, and several may share one. Two formats:

- zip, since torch 1.6: in one folder of any name `data.pkl`, `data/KEY` for each
  storage, and `byteorder`, "little" where there is none.
- legacy: one after the other the pickles of a magic number, of 1001, of facts about
  the machine, of the object and of a list of keys; then for each key the number of
  elements (int64) and these, little-endian always.

Loading such a file with Python's pickle runs whatever is in it. Here nothing can be
run (`torch_pickle`), no element outside of a storage can be reached, and the memory
taken is in proportion to the size of the file.
"""

import errno
import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bert_jax.errors import UserError
from bert_jax.interop.torch_globals import DamagedError, Storage, Tensor
from bert_jax.interop.torch_pickle import read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# What training programs put their weights under, beside the optimizer's state.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PIECE = 1 << 24  # zipfile makes a copy of what is read at once

# What zipfile, numpy and the reader of pickles raise on bytes that are not what they should be;
# RuntimeError is that of an encrypted zip file.
_DAMAGE = (
    DamagedError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    OverflowError,
    RuntimeError,
    MemoryError,
)

_Bytes = UInt8[np.ndarray, " N"]


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file, by their names.

    Only those of the dict that is the file's object, or of the dict in it under
    "state_dict", "model_state_dict" or "model"; whatever else is there is ignored.

    Returns:
      Read-only arrays. Those of tensors that share a storage share memory, and an
      expanded tensor takes none: copy with care where the file is not trusted.

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
        # A damaged zip file has its parts at places that no file has.
        if error.errno == errno.EINVAL:
            raise _damaged(path, error) from None
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    reason = str(error) if isinstance(error, DamagedError) else repr(error)
    return UserError(f"{path} is damaged ({reason[:200]}); get it again")


def _read(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    """Told by its content, for names say little."""
    start = file.read(512)
    file.seek(0)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(file, size)
    if start.startswith(b"\x80"):
        return _read_legacy(file, size)
    if start[257:262] == b"ustar":
        raise UserError("is a tar file, as torch 0.1 wrote; load it with torch and save it again")
    if not start:
        raise UserError("is empty; get it again")
    raise UserError(f"is no file of torch.save (it begins with {start[:16]!r})")


def _read_zip(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        # Members that lie upon each other could make a short file any long.
        if sum(info.file_size for info in archive.infolist()) > size:
            raise DamagedError("its members are longer than the file")
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise UserError("is a zip file, but not of torch.save (there is no data.pkl in it)")
        folder = pickles[0].removesuffix("data.pkl")
        # Whole, for the checksum of a member is compared at its end.
        program = _read_member(archive, pickles[0])
        content = read_pickle(io.BytesIO(program.tobytes()), len(program))
        weights = _find_weights(content.value)
        order = "little"
        if folder + "byteorder" in names:
            order = _read_member(archive, folder + "byteorder").tobytes().decode()
        if order not in ("little", "big"):
            raise DamagedError("its byte order is neither little nor big")
        storages = {
            storage: _native(_read_member(archive, f"{folder}data/{storage.key}"), storage, order)
            for storage in _storages(weights)
        }
    return _arrays(weights, storages)


def _read_member(archive: zipfile.ZipFile, name: str) -> _Bytes:
    """All bytes of a member, whose checksum is right."""
    info = archive.getinfo(name)
    # torch never compresses, and a compressed file could be any long.
    if info.compress_type != zipfile.ZIP_STORED:
        raise DamagedError(f"{name!r} is compressed")
    content = np.empty(info.file_size, np.uint8)
    place = 0
    with archive.open(info) as member:
        while piece := member.read(_PIECE):
            content[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
            place += len(piece)
    if place < len(content):
        raise DamagedError(f"{name!r} ends too early")
    return content


def _read_legacy(file: io.BufferedIOBase, size: int) -> dict[str, np.ndarray]:
    if read_pickle(file, size).value != _LEGACY_MAGIC:
        raise UserError("is a pickle, but not of torch.save; save a state_dict with torch.save")
    if read_pickle(file, size).value != _LEGACY_PROTOCOL:
        raise DamagedError(f"its protocol is not {_LEGACY_PROTOCOL}")
    read_pickle(file, size)  # about the machine that wrote it; elements are the same from all
    content = read_pickle(file, size)
    weights = _find_weights(content.value)
    keys = read_pickle(file, size).value
    if not isinstance(keys, list):
        raise DamagedError("there is no list of storages")
    needed = set(_storages(weights))
    storages = {}
    for key in keys:
        if not isinstance(key, str):
            raise DamagedError("the key of a storage is no string")
        storage = content.storages[key]
        (num_elements,) = struct.unpack("<q", file.read(8))
        num_bytes = storage.size * storage.dtype.itemsize
        if num_elements != storage.size or num_bytes > size - file.tell():
            raise DamagedError(f"storage {key!r} is not of {storage.size} elements")
        if storage in needed and storage not in storages:
            raw = np.fromfile(file, np.uint8, num_bytes)
            storages[storage] = _native(raw, storage, "little")
        else:
            file.seek(num_bytes, io.SEEK_CUR)
    return _arrays(weights, storages)


def _find_weights(value: object) -> dict[str, Tensor]:
    """The tensors of a dict, or of that which a training program wrapped with other things."""
    if not isinstance(value, dict):
        raise UserError("holds no dict of tensors; get a file of a state_dict")
    # The inner first, for random states beside it may be tensors too.
    for candidate in (*(value.get(name) for name in _WRAPPERS), value):
        if isinstance(candidate, dict):
            weights = {name: item for name, item in candidate.items() if isinstance(item, Tensor)}
            if weights:
                return weights
    raise UserError(
        f"holds no tensors, neither at its top nor under {', '.join(_WRAPPERS)}; "
        "get a file of a state_dict"
    )


def _storages(weights: dict[str, Tensor]) -> list[Storage]:
    """Each once, in the order of the tensors; what else there is in a file is never read."""
    return list(dict.fromkeys(tensor.storage for tensor in weights.values()))


def _native(content: _Bytes, storage: Storage, order: str) -> _Bytes:
    """The bytes of a storage, in the order of this machine."""
    if len(content) != storage.size * storage.dtype.itemsize:
        raise DamagedError(f"storage {storage.key!r} has {len(content)} bytes")
    if order != sys.byteorder and storage.dtype.itemsize > 1:
        content.view(f"u{storage.dtype.itemsize}").byteswap(inplace=True)
    content.flags.writeable = False  # tensors that share it must not change each other
    return content


def _arrays(
    weights: dict[str, Tensor], storages: dict[Storage, np.ndarray]
) -> dict[str, np.ndarray]:
    """Views, whose bounds numpy checks once more."""
    arrays = {}
    for name, tensor in weights.items():
        dtype = tensor.storage.dtype
        arrays[name] = np.ndarray(
            tensor.shape,
            dtype,
            buffer=storages[tensor.storage],
            offset=tensor.offset * dtype.itemsize,
            strides=[step * dtype.itemsize for step in tensor.strides],
        )
    return arrays
