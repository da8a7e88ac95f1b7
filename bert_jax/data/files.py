"""The lines of text files, packed ones too; what is wrong with a file is said in one line."""

import glob
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from bert_jax.data.documents import OnBytes
from bert_jax.errors import UserError

# By name, not by first bytes: a download cut to nothing, or a web page saved as
# book.txt.gz, is then refused and not read as text.
_PACKINGS = {".gz": "gzip", ".zst": "zstd"}

_CHUNK_BYTES = 2**14  # packed; a zstd block of one repeated byte unpacks to 32,768 times as much
# What `zstd --long=31` makes, as large corpora are packed; 2^27 is the library's limit.
_MAX_WINDOW_BYTES = 2**31


@dataclass(frozen=True)
class File:
    """A file, plain or packed, and its size on disk."""

    path: Path
    num_bytes: int

    def __str__(self) -> str:
        return str(self.path)


def find_files(pattern: str) -> list[File]:
    """The files of a pattern, in the order of their names.

    Raises:
      UserError: there is none.
    """
    matches = glob.glob(str(Path(pattern).expanduser()), recursive=True)
    files = [file_at(path) for path in sorted(map(Path, matches)) if path.is_file()]
    if not files:
        raise UserError(
            f"no file matches {pattern!r} (relative to {Path.cwd()}); check --config.data.source"
        )
    return files


def file_at(path: Path) -> File:
    """One file.

    Raises:
      UserError: it is none.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file")
    return File(path, path.stat().st_size)


def lines_of(file: File, on_bytes: OnBytes) -> Iterator[str]:
    """The stripped lines of a UTF-8 file, split at line feeds only.

    `str.splitlines` would also split at U+2028, U+0085 and others, which occur
    inside sentences.

    Args:
      file: plain text, or packed if its name ends in `.gz` or `.zst`.
      on_bytes: is told how many more bytes of the file were read, packed ones.

    Raises:
      UserError: not UTF-8, or a packed file that is damaged or not whole.
    """
    read = decoded = 0
    packing = _PACKINGS.get(file.path.suffix)
    with file.path.open("rb") as raw:
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
                yield text.lstrip("\ufeff").strip()
                decoded += len(line)
                position = raw.tell()
                on_bytes(position - read)
                read = position
        except (gzip.BadGzipFile, zstandard.ZstdError, EOFError, zlib.error) as error:
            raise UserError(
                f"{file} is not a whole {packing} file ({error}); fetch it again"
            ) from None
        on_bytes(raw.tell() - read)  # checksums, and frames without text, behind the last line


def _unpacked(raw: BinaryIO, packing: str | None) -> Iterable[bytes]:
    """The lines of a file, each with its line feed."""
    if packing is None:
        return raw
    if not raw.read(1):
        raise EOFError("it is empty")  # which GzipFile takes for no text
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if packing == "gzip" else _zstd_lines(raw)


def _zstd_lines(raw: BinaryIO) -> Iterator[bytes]:
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
