"""Writing a corpus folder: growing shards, and where to go on after a kill.

The folder grows beside its final name, where it appears only once it is whole.
`progress.json` in it says how long each file was when all of them were last
flushed to the disk; whoever goes on cuts them to that length.
"""

import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bert_jax.atomic import new_folder, write_file
from bert_jax.data.blocks import (
    BLOCK_CHARACTERS,
    Block,
    BlockTokenizer,
    Summary,
    Tokenized,
    cut_into_blocks,
)
from bert_jax.data.corpus import FORMAT_VERSION, sha256, token_type
from bert_jax.data.documents import Document
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

SHARD_TOKENS = 1 << 27  # 256 MiB of uint16: large enough to stream, small enough to copy

_FLUSH_SECONDS = 2.0  # what a kill may cost
_HEADER_BYTES = 128  # of an .npy file with one dimension, however long
PROGRESS = "progress.json"
ARRAYS = ("tokens", "continues", "sentences", "documents")

_COUNTS = ("tokens", "sentences", "documents", "unknown")  # of a shard, in the manifest


def write_corpus(
    folder: Path,
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    *,
    source: str,
    shard_tokens: int = SHARD_TOKENS,
    block_characters: int = BLOCK_CHARACTERS,
) -> None:
    """Makes a corpus folder of documents that are at hand, in this process, atomically.

    `bert_jax.data.preparation.prepare` does it for any source, in parallel.

    Args:
      folder: replaced if it exists.
      documents: lists of paragraphs, which are split into sentences here.
      tokenizer: is saved in the folder.
      source: where the text came from, for the record.
      shard_tokens: see `begins_shard`.
      block_characters: see `cut_into_blocks`.
    """
    with new_folder(folder) as building:
        tokenizer.save(building / "tokenizer")
        tokenize = BlockTokenizer(building / "tokenizer", frozenset(), "")
        vocab_size = tokenizer.vocab_size
        writer = CorpusWriter(building, [source], vocab_size=vocab_size, shard_tokens=shard_tokens)
        with closing(writer):
            for block in cut_into_blocks(documents, block_characters=block_characters):
                writer.append(block, tokenize(block))
            recipe = {"deduplicate": False, "scripts_kept": "", "segmenter": ""}
            hash_and_size = {"tokenizer_hash": tokenizer.hash, "vocab_size": vocab_size}
            writer.finish(hash_and_size | recipe)
        (building / PROGRESS).unlink(missing_ok=True)


class CorpusWriter:
    """Writes the blocks of a corpus, in order.

    Attributes:
      building: the folder that grows.
      position: part and number of the next block wanted.
      summaries: of each source, what was written so far.
    """

    def __init__(
        self,
        building: Path,
        sources: Sequence[str],
        *,
        vocab_size: int,
        shard_tokens: int = SHARD_TOKENS,
    ):
        """Goes on where the folder stands.

        Args:
          building: where to write.
          sources: their names.
          vocab_size: V, decides the type of the token ids.
          shard_tokens: see `begins_shard`.
        """
        self.building = building
        self._sources = sources
        self._shard_tokens = shard_tokens
        self._dtype = token_type(vocab_size)
        progress = self._read_progress()
        self.position: tuple[int, int] = tuple(progress["position"])
        self.summaries = [Summary.of(record) for record in progress["summaries"]]
        self._shards: list[dict[str, Any]] = progress["shards"]
        self._shard = Shard(building, len(self._shards), self._dtype, progress["lengths"])
        self._flushed = time.monotonic()

    def append(self, block: Block, tokenized: Tokenized) -> None:
        """Adds the block at `position`."""
        if begins_shard(len(tokenized.ids), self._shard.num_tokens, self._shard_tokens):
            self._shards.append(self._shard.finish())
            self._shard = Shard(self.building, len(self._shards), self._dtype)
            self.flush()
        self._shard.append(tokenized)
        self.summaries[block.source].add(tokenized.summary)
        self.position = (block.part, block.number + 1)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Makes what was added outlast a kill."""
        progress = {
            "position": self.position,
            "shards": self._shards,
            "lengths": self._shard.flush(),
            "summaries": [summary.record() for summary in self.summaries],
        }
        write_file(self.building / PROGRESS, json.dumps(progress) + "\n")
        self._flushed = time.monotonic()

    def finish(self, recipe: dict[str, Any]) -> None:
        """Writes the manifest; the folder is then whole.

        Args:
          recipe: for the record.
        """
        self._shards.append(self._shard.finish())
        sources = zip(self._sources, self.summaries, strict=True)
        write_manifest(self.building, recipe, dict(sources), self._shards)

    def close(self) -> None:
        """Closes the files, as they are."""
        self._shard.close()

    def _read_progress(self) -> dict[str, Any]:
        path = self.building / PROGRESS
        if path.exists():
            return json.loads(path.read_text())
        empty = [Summary().record() for _ in self._sources]
        return {"position": (0, 0), "shards": [], "lengths": {}, "summaries": empty}


def begins_shard(num_tokens: int, in_shard: int, shard_tokens: int) -> bool:
    """Whether a block is the first of the next shard.

    A shard ends with the block that reaches `shard_tokens`, and none but that of
    an empty corpus is without tokens.

    Args:
      num_tokens: of the block.
      in_shard: tokens of the blocks before it that are in its shard if it begins none.
      shard_tokens: tokens that are enough for a shard.
    """
    return num_tokens > 0 and in_shard >= shard_tokens


def write_manifest(
    folder: Path,
    recipe: dict[str, Any],
    sources: dict[str, Summary],
    shards: list[dict[str, Any]],
) -> None:
    """Writes `corpus.json`.

    Args:
      folder: of the corpus.
      recipe: how it was made, for the record.
      sources: in order, what was met in each.
      shards: what `Shard.finish` gave.
    """
    total = Summary()
    for summary in sources.values():
        total.add(summary)
    record = total.record()
    manifest = {
        "format_version": FORMAT_VERSION,
        **recipe,
        "sources": [
            {"source": name} | {count: summary.counts[count] for count in ("documents", "tokens")}
            for name, summary in sources.items()
        ],
        **record["counts"],
        "lengths": record["lengths"],
        "scripts": {
            script: {"words": words, "unknown": total.unknown_words[script]}
            for script, words in record["words"].items()
        },
        "shards": shards,
    }
    write_file(folder / "corpus.json", json.dumps(manifest, indent=2) + "\n")


class Shard:
    """Four files of one shard, while they grow."""

    def __init__(
        self,
        folder: Path,
        number: int,
        dtype: type[np.unsignedinteger],
        lengths: dict[str, Any] | None = None,
    ):
        """Opens the files.

        Args:
          folder: where.
          number: of the shard.
          dtype: of the tokens.
          lengths: what `flush` returned, to go on from there; None to begin.
        """
        lengths = lengths or {}
        dtypes = map(np.dtype, (dtype, np.uint8, np.uint8, np.uint8))
        columns = {
            name: _Column(folder / f"{name}-{number:05}.npy", column_dtype, lengths.get(name, 0))
            for name, column_dtype in zip(ARRAYS, dtypes, strict=True)
        }
        for column in columns.values():
            column.open()
        self._columns = columns
        self._bits = np.array(lengths.get("bits", []), np.uint8)  # that fill no byte yet
        self._counts = Counter(lengths.get("counts", dict.fromkeys(_COUNTS, 0)))

    @property
    def num_tokens(self) -> int:
        """How many there are yet."""
        return self._columns["tokens"].length

    def append(self, tokenized: Tokenized) -> None:
        """Adds a block."""
        self._columns["tokens"].append(tokenized.ids)
        self._columns["sentences"].append(tokenized.sentences)
        self._columns["documents"].append(tokenized.documents)
        new = np.unpackbits(tokenized.continues, count=len(tokenized.ids))
        bits = np.concatenate([self._bits, new])
        whole = len(bits) // 8 * 8
        self._columns["continues"].append(np.packbits(bits[:whole]))
        self._bits = bits[whole:]
        self._counts.update({name: tokenized.summary.counts[name] for name in _COUNTS})

    def flush(self) -> dict[str, Any]:
        """Writes everything to the disk, and says how much that is."""
        lengths = {name: column.flush() for name, column in self._columns.items()}
        return lengths | {"bits": self._bits.tolist(), "counts": dict(self._counts)}

    def finish(self) -> dict[str, Any]:
        """Closes the files; returns the shard's entry in the manifest."""
        self._columns["continues"].append(np.packbits(self._bits))
        return {
            **self._counts,
            "files": {column.path.name: column.finish() for column in self._columns.values()},
        }

    def close(self) -> None:
        """Closes the files, as they are."""
        for column in self._columns.values():
            column.file.close()


class _Column:
    """An .npy file that grows; its header is written last."""

    def __init__(self, path: Path, dtype: np.dtype, length: int):
        self.path = path
        self.dtype = dtype
        self.length = length
        self.file: BinaryIO
        if length and path.stat().st_size < self._size:
            raise UserError(f"{path} is shorter than it was; remove {path.parent} to begin anew")

    @property
    def _size(self) -> int:
        return _HEADER_BYTES + self.length * self.dtype.itemsize

    def open(self) -> None:
        self.file = self.path.open("r+b" if self.length else "wb")
        self.file.truncate(self._size)
        self.file.seek(0, os.SEEK_END)

    def append(self, values: np.ndarray) -> None:
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def flush(self) -> int:
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.length

    def finish(self) -> str:
        """Returns the file's checksum."""
        header = io.BytesIO()
        description = {
            "descr": self.dtype.str,
            "fortran_order": False,
            "shape": (self.length,),
        }
        np.lib.format.write_array_header_1_0(header, description)
        assert len(header.getvalue()) == _HEADER_BYTES
        self.file.seek(0)
        self.file.write(header.getvalue())
        self.flush()
        self.file.close()
        return sha256(self.path)
