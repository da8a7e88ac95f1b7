"""The corpus on disk: text as token ids, written once, read through memory maps.

A folder of shards, each four arrays, and `corpus.json`, which is written last:

  tokens-00000.npy     token ids, uint16 (uint32 if the vocabulary needs it)
  continues-00000.npy  one bit a token, packed: it continues the word before it
  sentences-00000.npy  tokens in each sentence, uint16
  documents-00000.npy  sentences in each document, uint32

About 2.2 bytes a token, whatever the number of epochs or masks: pairs and
masks are made when a batch is (`bert_jax.data.batches`).
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from bert_jax.atomic import new_folder, write_file
from bert_jax.data.pairs import Sentences
from bert_jax.data.sentences import split_sentences
from bert_jax.data.sources import Document
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder, EncodedSentences

FORMAT_VERSION = 1
MAX_SENTENCE_TOKENS = np.iinfo(np.uint16).max
SHARD_TOKENS = 1 << 27  # 256 MiB of uint16: large enough to stream, small enough to copy
HELD_OUT_EVERY = 20  # every 20th document is never trained on

_REMEDY = "remove the folder to prepare it again"
_ARRAYS = ("tokens", "continues", "sentences", "documents")
_CHARACTERS_PER_BATCH = 1 << 20  # tokenized in one call


def write_corpus(
    folder: Path,
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    *,
    source: str,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Tokenizes documents into a corpus folder, atomically.

    The shards are written beside `folder`, which appears only once it is
    complete: a killed run leaves nothing that looks finished.

    Args:
      folder: the corpus folder to make.
      documents: paragraphs of text, a list a document. Texts are split into
        sentences here; a document without any token is dropped.
      tokenizer: its hash is recorded, and a reader with another is refused.
      source: where the text came from, for the record.
      shard_tokens: a shard ends with the document that reaches this.
    """
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    with new_folder(folder) as building:
        shard = _Shard(dtype, tokenizer.unk_id)
        shards: list[dict[str, Any]] = []
        for document in _tokenize(documents, tokenizer):
            shard.add(document)
            if len(shard.tokens) >= shard_tokens:
                shards.append(shard.write(building, len(shards)))
                shard = _Shard(dtype, tokenizer.unk_id)
        if shard.tokens or not shards:
            shards.append(shard.write(building, len(shards)))
        manifest = {
            "format_version": FORMAT_VERSION,
            "source": source,
            "tokenizer_hash": tokenizer.hash,
            "vocab_size": tokenizer.vocab_size,
            **{
                count: sum(shard[count] for shard in shards)
                for count in ("documents", "sentences", "tokens", "unknown")
            },
            "shards": shards,
        }
        write_file(building / "corpus.json", json.dumps(manifest, indent=2) + "\n")


def _tokenize(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[EncodedSentences]:
    """The sentences of each document, long ones in several parts."""
    encoder = CorpusEncoder(tokenizer)
    for batch in _batched(documents):
        split = [
            [s for paragraph in document for s in split_sentences(paragraph)] for document in batch
        ]
        encoded = encoder.encode([s for document in split for s in document])
        sentences = np.cumsum([0, *map(len, split)])
        tokens = np.concatenate([[0], np.cumsum(encoded.lengths)])[sentences]
        for number in range(len(batch)):
            document = slice(*tokens[number : number + 2])
            lengths = _bounded(encoded.lengths[slice(*sentences[number : number + 2])])
            if len(lengths):
                yield EncodedSentences(encoded.ids[document], encoded.continues[document], lengths)


def _bounded(lengths: Int[np.ndarray, " S"]) -> Int[np.ndarray, " R"]:
    """Lengths without those of empty sentences, long ones in several parts."""
    lengths = lengths[lengths > 0]
    if not (lengths > MAX_SENTENCE_TOKENS).any():
        return lengths
    parts = [
        min(MAX_SENTENCE_TOKENS, length - part)
        for length in lengths.tolist()
        for part in range(0, length, MAX_SENTENCE_TOKENS)
    ]
    return np.array(parts)


def _batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(map(len, document))
        if size >= _CHARACTERS_PER_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Shard:
    """One shard while it is being filled."""

    def __init__(self, dtype: type[np.unsignedinteger], unknown_id: int):
        self.dtype = dtype
        self.unknown_id = unknown_id
        self.tokens = array("I")
        self.continues = bytearray()
        self.sentences = array("I")
        self.documents = array("I")

    def add(self, document: EncodedSentences) -> None:
        self.tokens.frombytes(document.ids.astype(np.uint32).tobytes())
        self.continues.extend(document.continues.tobytes())
        self.sentences.frombytes(document.lengths.astype(np.uint32).tobytes())
        self.documents.append(len(document.lengths))

    def write(self, folder: Path, number: int) -> dict[str, Any]:
        """Writes the four arrays; returns the shard's entry in the manifest."""
        tokens = np.frombuffer(self.tokens, np.uint32) if self.tokens else np.zeros(0, np.uint32)
        arrays = {
            "tokens": tokens.astype(self.dtype),
            "continues": np.packbits(np.frombuffer(self.continues, np.uint8)),
            "sentences": np.array(self.sentences, np.uint16),
            "documents": np.array(self.documents, np.uint32),
        }
        files = {}
        for name in _ARRAYS:
            path = folder / f"{name}-{number:05}.npy"
            with path.open("wb") as file:
                np.save(file, arrays[name])
                file.flush()
                os.fsync(file.fileno())
            files[path.name] = _sha256(path)
        return {
            "tokens": len(tokens),
            "sentences": len(self.sentences),
            "documents": len(self.documents),
            "unknown": int((tokens == self.unknown_id).sum()),
            "files": files,
        }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Corpus:
    """A corpus folder, open for reading.

    Attributes:
      manifest: the contents of `corpus.json`.
      hash: sha256 of `corpus.json`, which holds the hash of every shard.
      sentences: the boundaries, over all shards.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer):
        """Opens a folder that `write_corpus` made, and checks all of it.

        Raises:
          UserError: a folder that is incomplete, damaged, of another format
            version or made with another tokenizer.
        """
        manifest = folder / "corpus.json"
        if not manifest.is_file():
            raise UserError(f"{folder} holds no corpus (corpus.json is missing)")
        self.hash = _sha256(manifest)
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
        self._shard_starts = np.cumsum([0, *map(len, self._tokens)])
        self.sentences = Sentences(
            offsets=_bounds(load("sentences")), documents=_bounds(load("documents"))
        )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            highest = max(pool.map(partial(np.max, initial=0), self._tokens))
        if highest >= tokenizer.vocab_size:
            raise UserError(f"{folder} holds ids outside the vocabulary; {_REMEDY}")

    @property
    def num_documents(self) -> int:
        """All documents, trained on or not."""
        return len(self.sentences.documents) - 1

    @property
    def num_tokens(self) -> int:
        """All tokens, trained on or not."""
        return int(self._shard_starts[-1])

    @cached_property
    def held_out_documents(self) -> Int[np.ndarray, " H"]:
        """Every 20th document; the last two where that gives fewer, if two remain to train on.

        Two, because a random second sentence comes from another document.
        """
        count = self.num_documents
        if count >= 2 * HELD_OUT_EVERY:
            return np.arange(HELD_OUT_EVERY - 1, count, HELD_OUT_EVERY)
        return np.arange(count - 2, count) if count >= 4 else np.arange(0)

    @cached_property
    def train_documents(self) -> Int[np.ndarray, " D"]:
        """All documents that are not held out."""
        return np.setdiff1d(np.arange(self.num_documents), self.held_out_documents)

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


def _bounds(lengths: list[np.ndarray]) -> Int[np.ndarray, " bounds"]:
    """Where things begin that have these lengths, and where the last one ends."""
    bounds = np.zeros(1 + sum(map(len, lengths)), np.int64)
    first = 0
    for part in lengths:
        here = bounds[first : first + len(part) + 1]
        np.cumsum(part, dtype=np.int64, out=here[1:])
        here[1:] += here[0]
        first += len(part)
    return bounds


def _check(folder: Path, manifest: dict[str, Any], tokenizer: Tokenizer) -> None:
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{folder} has corpus format {manifest['format_version']}, this program reads "
            f"{FORMAT_VERSION}; {_REMEDY}"
        )
    if manifest["tokenizer_hash"] != tokenizer.hash:
        raise UserError(
            f"{folder} was made with tokenizer {manifest['tokenizer_hash'][:12]}, the run has "
            f"{tokenizer.hash[:12]}; {_REMEDY}"
        )
    files = {name: sum_ for shard in manifest["shards"] for name, sum_ in shard["files"].items()}
    for name in files:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; {_REMEDY}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = pool.map(_sha256, (folder / name for name in files))
        for (name, expected), found in zip(files.items(), sums, strict=True):
            if found != expected:
                raise UserError(f"{folder / name} is damaged (its checksum differs); {_REMEDY}")
