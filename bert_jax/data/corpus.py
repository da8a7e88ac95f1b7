"""The corpus on disk: text as token ids, written once, read through memory maps.

A folder with its `tokenizer/`, shards of four arrays each, and `corpus.json`:

  tokens-00000.npy     token ids, uint16 (uint32 if the vocabulary needs it)
  continues-00000.npy  one bit a token, packed: it continues the word before it
  sentences-00000.npy  tokens in each sentence, uint8, see `pack_lengths`
  documents-00000.npy  sentences in each document, in the same way

Less than 2.2 bytes a token, whatever the number of epochs or masks: pairs and
masks are made when a batch is (`bert_jax.data.batches`). `bert_jax.data.corpus_writer`
writes it; the folder appears only once it is whole.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from bert_jax.data.boundaries import Sentences
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

FORMAT_VERSION = 2
HELD_OUT_EVERY = 20  # every 20th document is never trained on

_REMEDY = "remove the folder to prepare it again"


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Corpus:
    """A corpus folder, open for reading.

    Attributes:
      manifest: the contents of `corpus.json`.
      hash: sha256 of `corpus.json`, which holds the hash of every shard.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer):
        """Opens a folder that `CorpusWriter` made, and checks all of it.

        Raises:
          UserError: a folder that is incomplete, damaged, of another format
            version or made with another tokenizer.
        """
        manifest = folder / "corpus.json"
        if not manifest.is_file():
            raise UserError(f"{folder} holds no corpus (corpus.json is missing)")
        self._folder = folder
        self.hash = sha256(manifest)
        try:
            self.manifest = json.loads(manifest.read_text())
            _check(folder, self.manifest, tokenizer)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{manifest} is damaged ({error!r}); {_REMEDY}") from None
        shards = range(len(self.manifest["shards"]))

        def load(name: str) -> list[np.ndarray]:
            return [np.load(folder / f"{name}-{n:05}.npy", mmap_mode="r") for n in shards]

        self._tokens = load("tokens")
        self._continues = load("continues")
        self._lengths = load("sentences"), load("documents")
        self._shard_starts = np.cumsum([0, *map(len, self._tokens)])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            highest = max(pool.map(partial(np.max, initial=0), self._tokens))
        if highest >= tokenizer.vocab_size:
            raise UserError(f"{folder} holds ids outside the vocabulary; {_REMEDY}")

    @cached_property
    def sentences(self) -> Sentences:
        """The boundaries, over all shards; 8 bytes of memory each."""
        sentences, documents = self._lengths
        return Sentences(
            offsets=_bounds(sentences, self.manifest["sentences"]),
            documents=_bounds(documents, self.num_documents),
        )

    @property
    def num_documents(self) -> int:
        """All documents, trained on or not."""
        return self.manifest["documents"]

    @property
    def num_tokens(self) -> int:
        """All tokens, trained on or not."""
        return int(self._shard_starts[-1])

    @cached_property
    def held_out_documents(self) -> Int[np.ndarray, " H"]:
        """Of each source, every 20th document; the last two where that gives fewer.

        Two, because a random second sentence comes from another document; none if
        two would not remain to train on.
        """
        counts = [entry["documents"] for entry in self.manifest["sources"]]
        firsts = np.cumsum([0, *counts])
        return np.concatenate(
            [first + _held_out(count) for first, count in zip(firsts, counts, strict=False)]
        )

    @cached_property
    def train_documents(self) -> Int[np.ndarray, " D"]:
        """All documents that are not held out."""
        return np.setdiff1d(np.arange(self.num_documents), self.held_out_documents)

    def train_documents_of(self, sources: Sequence[str]) -> list[Int[np.ndarray, " D"]]:
        """Those of each of some sources; all, if the only one is an empty name.

        Raises:
          UserError: it was prepared from others.
        """
        if list(sources) == [""]:
            return [self.train_documents]
        entries = self.manifest["sources"]
        names = [entry["source"] for entry in entries]
        ends = np.cumsum([0, *(entry["documents"] for entry in entries)])
        if missing := sorted(set(sources).difference(names)):
            raise UserError(
                f"{self._folder} was not prepared from {missing[0]!r} but from {', '.join(names)}; "
                "name these in data.source, or nothing for all of it, or another data.corpus"
            )
        places = np.searchsorted(self.train_documents, ends)
        return [
            self.train_documents[places[number] : places[number + 1]]
            for number in map(names.index, sources)
        ]

    def count_tokens(self, documents: Int[np.ndarray, " D"]) -> int:
        """The tokens of some documents."""
        bounds = self.sentences.offsets[self.sentences.documents]
        return int((bounds[documents + 1] - bounds[documents]).sum())

    def read(
        self, positions: Int[np.ndarray, "B T"]
    ) -> tuple[Int[np.ndarray, "B T"], Bool[np.ndarray, "B T"]]:
        """The tokens at some positions of the stream: ids and "continues its word"."""
        ids = np.empty(positions.shape, np.int64)
        continues = np.empty(positions.shape, bool)
        shard_of = np.searchsorted(self._shard_starts, positions, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            local = positions[here] - self._shard_starts[shard]
            ids[here] = self._tokens[shard][local]
            byte, bit = np.divmod(local, 8)
            continues[here] = (self._continues[shard][byte] >> (7 - bit).astype(np.uint8)) & 1
        return ids, continues


def token_type(vocab_size: int) -> type[np.unsignedinteger]:
    """The smallest type that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _held_out(count: int) -> Int[np.ndarray, " H"]:
    if count >= 2 * HELD_OUT_EVERY:
        return np.arange(HELD_OUT_EVERY - 1, count, HELD_OUT_EVERY)
    return np.arange(count - 2, count) if count >= 4 else np.arange(0)


def pack_lengths(lengths: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, " M"]:
    """Positive lengths in bytes: a length ends with the first byte that is not 255.

    >>> pack_lengths(np.array([7, 255, 600])).tolist()
    [7, 255, 0, 255, 255, 90]
    """
    ends = np.cumsum(lengths // 255 + 1)
    packed = np.full(ends[-1] if len(ends) else 0, 255, np.uint8)
    packed[ends - 1] = lengths % 255
    return packed


def _bounds(packed: list[np.ndarray], count: int) -> Int[np.ndarray, " bounds"]:
    """Where so many things begin that have these lengths, and where the last one ends."""
    bounds = np.zeros(count + 1, np.int64)
    first = 0
    for part in packed:
        ends = np.cumsum(part, dtype=np.int64)[part < 255]
        bounds[first + 1 : first + 1 + len(ends)] = bounds[first] + ends
        first += len(ends)
    return bounds


def check_manifest(corpus: Path | str, manifest: dict[str, Any], tokenizer: Tokenizer) -> None:
    """Refuses what is of another format version or made with another tokenizer.

    Args:
      corpus: its folder or address, for the message.
      manifest: the contents of `corpus.json`.
      tokenizer: that it must have been made with.

    Raises:
      UserError: it is.
    """
    if manifest["format_version"] != FORMAT_VERSION:
        newer = manifest["format_version"] > FORMAT_VERSION
        raise UserError(
            f"{corpus} has corpus format {manifest['format_version']}, this program reads "
            f"{FORMAT_VERSION}; {'update the program' if newer else _REMEDY}"
        )
    if manifest["tokenizer_hash"] != tokenizer.hash:
        raise UserError(
            f"{corpus} was made with tokenizer {manifest['tokenizer_hash'][:12]}, the run has "
            f"{tokenizer.hash[:12]}; name its own by tokenizer.path, or another corpus"
        )


def _check(folder: Path, manifest: dict[str, Any], tokenizer: Tokenizer) -> None:
    check_manifest(folder, manifest, tokenizer)
    files = {name: sum_ for shard in manifest["shards"] for name, sum_ in shard["files"].items()}
    for name in files:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; {_REMEDY}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = pool.map(sha256, (folder / name for name in files))
        for (name, expected), found in zip(files.items(), sums, strict=True):
            if found != expected:
                raise UserError(f"{folder / name} is damaged (its checksum differs); {_REMEDY}")
