"""The lines of text files, packed and remote ones too; what is wrong is said in one line."""

import errno
import glob
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import zstandard
from fsspec.implementations.local import LocalFileSystem

from bert_jax.data.documents import OnBytes
from bert_jax.errors import UserError

# By name, not by first bytes: a download cut to nothing, or a web page saved as
# book.txt.gz, is then refused and not read as text.
_PACKINGS = {".gz": "gzip", ".zst": "zstd"}

_BUFFER_BYTES = 2**18
_CHUNK_BYTES = 2**14  # packed; a zstd block of one repeated byte unpacks to 32,768 times as much
# What `zstd --long=31` makes, as large corpora are packed; 2^27 is the library's limit.
_MAX_WINDOW_BYTES = 2**31


@dataclass(frozen=True)
class File:
    """A file, plain or packed, here or on a server; can be pickled.

    Attributes:
      system: where it lies, with what is needed to reach it.
      path: its name there.
      num_bytes: its size, packed; 0 if the server does not tell.
      version: what the system says of when or what was written.
    """

    system: fsspec.AbstractFileSystem
    path: str
    num_bytes: int
    version: str

    def __str__(self) -> str:
        is_local = isinstance(self.system, LocalFileSystem)
        return self.path if is_local else self.system.unstrip_protocol(self.path)


def find_files(pattern: str) -> list[File]:
    """The files of a pattern, in the order of their names.

    Args:
      pattern: of paths, or of addresses such as `gs://bucket/*.txt.gz`, whatever
        fsspec has a driver for.

    Raises:
      UserError: there is none, or the server cannot be reached.
    """
    files = _remote_files(pattern) if "://" in pattern else _local_files(pattern)
    if not files:
        remark = (
            ", or its server does not answer"
            if "://" in pattern
            else f" (relative to {Path.cwd()})"
        )
        raise UserError(f"no file matches {pattern!r}{remark}; check --config.data.source")
    return files


def _local_files(pattern: str) -> list[File]:
    """By Python's `glob`: that of fsspec takes hidden files too and follows no links."""
    matches = glob.glob(str(local(pattern)), recursive=True)
    return [file_at(path) for path in sorted(map(Path, matches)) if path.is_file()]


def _remote_files(pattern: str) -> list[File]:
    with explained(pattern):
        system, path = system_of(pattern)
        found = system.glob(path, detail=True)
    return [
        File(system, name, found[name]["size"] or system.size(name) or 0, _version(found[name]))
        for name in sorted(found, key=PurePosixPath)
        if found[name]["type"] == "file"
    ]


def local(path: str | Path) -> Path:
    """A path of this machine; a leading ~ is the home folder, if there is one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises if there is none


def system_of(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """What can read a path or an address, and the path of it there.

    Raises:
      UserError: nothing can.
    """
    if "://" not in address:
        return LocalFileSystem(), str(local(address).absolute())
    try:
        return fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:  # no driver installed, or none known
        raise UserError(f"{address!r} cannot be read: {error}") from None


def file_at(path: Path) -> File:
    """A file here.

    Raises:
      UserError: it is none.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file")
    status = path.stat()
    return File(LocalFileSystem(), str(path), status.st_size, str(status.st_mtime_ns))


def _version(info: dict[str, Any]) -> str:
    """Drivers name it in different ways."""
    return str([info.get(key) for key in ("etag", "ETag", "generation", "mtime", "LastModified")])


def lines_of(file: File, on_bytes: OnBytes) -> Iterator[str]:
    """The stripped lines of a UTF-8 file; see `unstripped_lines_of`."""
    for line in unstripped_lines_of(file, on_bytes):
        yield line.lstrip("\ufeff").strip()


def unstripped_lines_of(file: File, on_bytes: OnBytes) -> Iterator[str]:
    """The lines of a UTF-8 file with their line feeds, split at these only.

    `str.splitlines` would also split at U+2028, U+0085 and others, which occur
    inside sentences.

    Args:
      file: plain text, or packed if its name ends in `.gz` or `.zst`.
      on_bytes: is told how many more bytes of the file were read, packed ones.

    Raises:
      UserError: it cannot be read, is not UTF-8, or is a packed file that is
        damaged or not whole.
    """
    decoded = 0
    packing = _PACKINGS.get(PurePosixPath(file.path).suffix)
    with explained(str(file)):
        opened = file.system.open(file.path, "rb")
    raw: io.BufferedReader = io.BufferedReader(_Raw(opened, str(file), on_bytes), _BUFFER_BYTES)
    with raw:
        try:
            for line in _unpacked(raw, packing):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{file} is not UTF-8: byte {line[error.start]:#04x} at offset "
                        f"{decoded + error.start}"
                        + (" of the unpacked text" if packing else "")
                        + "; convert it, e.g. with iconv"
                    ) from None
                yield text
                decoded += len(line)
        except (gzip.BadGzipFile, zstandard.ZstdError, EOFError, zlib.error) as error:
            raise UserError(
                f"{file} is not a whole {packing} file ({error}); fetch it again"
            ) from None


class _Raw(io.RawIOBase):
    """An opened file's bytes, whose reading is told and whose failures are explained."""

    def __init__(self, opened: Any, name: str, on_bytes: OnBytes):
        self._opened = opened
        self._name = name
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._name):
            count = self._opened.readinto(buffer)
        self._on_bytes(count)
        return count

    def close(self) -> None:
        self._opened.close()
        super().close()


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Says of which file an error is: drivers raise all kinds, few of them with a name."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the disk here is full
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        hint = "; check the network and your access" if "://" in name else ""
        raise UserError(f"{name} cannot be read: {' '.join(reason.split())[:200]}{hint}") from None


def _unpacked(raw: io.BufferedReader, packing: str | None) -> Iterable[bytes]:
    """The lines of a file, each with its line feed."""
    if packing is None:
        return raw
    if not raw.peek(1):
        raise EOFError("it is empty")  # which GzipFile takes for no text
    return gzip.GzipFile(fileobj=raw) if packing == "gzip" else _zstd_lines(raw)


def _zstd_lines(raw: io.BufferedReader) -> Iterator[bytes]:
    """The lines of all frames, one behind the other.

    zstandard's `stream_reader` would not do: it takes the start of a frame for all of it.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame: zstandard.ZstdDecompressionObj | None = None
    line: list[bytes] = []
    while packed := raw.read(_CHUNK_BYTES):
        while packed:
            if frame is None:
                frame = decompressor.decompressobj()
            for piece in io.BytesIO(frame.decompress(packed)):
                line.append(piece)
                if piece.endswith(b"\n"):
                    yield b"".join(line)
                    line.clear()
            packed = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("it ends inside a frame")
    if line:
        yield b"".join(line)
