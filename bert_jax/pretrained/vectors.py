"""Vectors of sentences and of words, of any layer."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bert_jax.errors import UserError
from bert_jax.pretrained.network import Network, Pass
from bert_jax.pretrained.rows import compute_rows, windows_of
from bert_jax.tokenizers import Encoding, Tokenizer

Layers = int | Sequence[int] | str

POOLINGS = ("mean", "cls", "max", "pooled")
MIXES = ("sum", "mean", "concat")
WORD_POOLINGS = ("mean", "first")
TOO_LONG = ("truncate", "window", "error")


class WordVector(NamedTuple):
    """A word of a text, its span of characters, and its vector ([D], or [K D] of K layers)."""

    word: str
    start: int
    end: int
    vector: np.ndarray


@dataclasses.dataclass(frozen=True)
class LayerMix:
    """Vectors of tokens from one or several layers.

    Attributes:
      layers: their numbers, 0 for the embeddings to L for the last layer.
      mix: "sum" or "mean" of the layers' vectors, "concat" side by side, "stack" with
        an axis of layers, None for the vectors of a single layer.
    """

    layers: tuple[int, ...]
    mix: str | None

    def __call__(self, seen: Pass) -> Float[Array, "B T ..."]:
        """[B T D], for "concat" [B T K·D], for "stack" [B T K D]."""
        states = [seen.hidden_states[number] for number in self.layers]
        if self.mix is None:
            return states[0]
        if self.mix == "concat":
            return jnp.concatenate(states, axis=-1)
        if self.mix == "stack":
            return jnp.stack(states, axis=2)
        return jnp.sum(jnp.stack(states), axis=0) / (len(states) if self.mix == "mean" else 1)


def layer_mix(layers: Layers, mix: str | None, num_layers: int) -> LayerMix:
    """Reads what a user asks for: negative numbers count from the last layer.

    Raises:
      UserError: a layer that the model does not have, or an unknown mix.
    """
    if mix is not None and mix not in MIXES:
        raise UserError(f"mix is {mix!r}; choose from {', '.join(MIXES)}")
    if isinstance(layers, str):
        if layers != "all":
            raise UserError(f"layers is {layers!r}; give numbers or 'all'")
        return LayerMix(tuple(range(num_layers + 1)), mix or "stack")
    numbers = [layers] if isinstance(layers, int) else [int(number) for number in layers]
    if not numbers:
        raise UserError("layers is empty; name at least one")
    for number in numbers:
        if not -num_layers - 1 <= number <= num_layers:
            raise UserError(
                f"there is no layer {number}; the model has 0 (the embeddings) to {num_layers}"
            )
    found = tuple(number % (num_layers + 1) for number in numbers)
    return LayerMix(found, None if isinstance(layers, int) else mix or "stack")


@dataclasses.dataclass(frozen=True)
class _SentenceVectors:
    """Pools the vectors of real tokens, [CLS] and [SEP] among them."""

    tokens: LayerMix
    pooling: str

    def __call__(self, seen: Pass) -> Float[Array, "B ..."]:
        if self.pooling == "pooled":
            return seen.pooled
        vectors = self.tokens(seen)
        if self.pooling == "cls":
            return vectors[:, 0]
        is_real = seen.is_real.reshape(*seen.is_real.shape, *[1] * (vectors.ndim - 2))
        if self.pooling == "max":
            return jnp.max(jnp.where(is_real, vectors, -jnp.inf), axis=1)
        counts = seen.lengths.reshape(-1, *[1] * (vectors.ndim - 2))
        return jnp.sum(jnp.where(is_real, vectors, 0), axis=1) / counts


def sentence_vectors(
    network: Network,
    tokenizer: Tokenizer,
    encodings: Sequence[Encoding],
    *,
    tokens: LayerMix,
    pooling: str,
    normalize: bool,
    too_long: str,
) -> tuple[Float[np.ndarray, "n ..."], int]:
    """A vector of each text, and how many texts were cut; see `Pretrained.embed`."""
    if pooling not in POOLINGS:
        raise UserError(f"pooling is {pooling!r}; choose from {', '.join(POOLINGS)}")
    _check_too_long(too_long)
    if pooling == "pooled":
        network.require("pooler", "pooling='pooled'")
    most = network.config.max_positions
    numbers = range(len(encodings))
    texts = [windows_of(encodings, n, tokenizer, most, too_long) for n in numbers]
    rows = [row for text in texts for row in text.windows]
    owners = np.repeat(np.arange(len(texts)), [len(text.windows) for text in texts])
    function = _SentenceVectors(tokens, pooling)
    found: np.ndarray | None = None
    for members, vectors in compute_rows(network, tokenizer.pad_id, function, rows):
        if found is None:
            found = np.empty((len(rows), *vectors.shape[1:]), np.float32)
        found[members] = vectors
    if found is None:
        raise UserError("there is no text to embed")
    if len(rows) > len(texts):
        lengths = np.array([len(row.ids) for row in rows], np.float32)
        found = _joined(found, owners, lengths, pooling)
    if normalize:
        found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
    return found, sum(text.was_cut for text in texts)


def _check_too_long(too_long: str) -> None:
    if too_long not in TOO_LONG:
        raise UserError(f"too_long is {too_long!r}; choose from {', '.join(TOO_LONG)}")


def _joined(
    vectors: np.ndarray, owners: Int[np.ndarray, " W"], lengths: np.ndarray, pooling: str
) -> np.ndarray:
    """The windows of a text as one: their maximum, or their mean by the tokens in each."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if pooling == "max":
        return np.maximum.reduceat(vectors, starts)
    weights = lengths.reshape(-1, *[1] * (vectors.ndim - 1))
    return np.add.reduceat(vectors * weights, starts) / np.add.reduceat(weights, starts)


def word_vectors(
    network: Network,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    encodings: Sequence[Encoding],
    *,
    tokens: LayerMix,
    pieces: str,
    too_long: str,
) -> tuple[list[list[WordVector]], int]:
    """The vectors of each text's words, and how many were cut; see `Pretrained.words`."""
    if pieces not in WORD_POOLINGS:
        raise UserError(f"pieces is {pieces!r}; choose from {', '.join(WORD_POOLINGS)}")
    most = network.config.max_positions
    numbers = range(len(encodings))
    _check_too_long(too_long)
    read = [windows_of(encodings, n, tokenizer, most, too_long) for n in numbers]
    owners = [(number, row) for number, text in enumerate(read) for row in text.windows]
    found: list[np.ndarray] = [np.empty(0)] * len(owners)
    rows = [row for _, row in owners]
    for members, vectors in compute_rows(network, tokenizer.pad_id, tokens, rows):
        for member, row in zip(members, vectors, strict=True):
            found[member] = row[1 : len(rows[member].ids) - 1]  # without [CLS] and [SEP]
    of_text: list[list[np.ndarray]] = [[] for _ in texts]
    for (number, _), vectors in zip(owners, found, strict=True):
        of_text[number].append(vectors)
    words = [
        _words(text, encoding, np.concatenate(vectors), pieces)
        for text, encoding, vectors in zip(texts, encodings, of_text, strict=True)
    ]
    return words, sum(text.was_cut for text in read)


def _words(text: str, encoding: Encoding, vectors: np.ndarray, pieces: str) -> list[WordVector]:
    """The words that `vectors`, one a piece, reach."""
    word_ids = np.array(encoding.word_ids[1 : len(vectors) + 1])
    if not len(word_ids):
        return []
    starts = np.flatnonzero(word_ids[1:] != word_ids[:-1]) + 1
    starts = np.concatenate([[0], starts])
    ends = np.append(starts[1:], len(word_ids))
    words = []
    for first, last in zip(starts, ends, strict=True):
        spans = encoding.offsets[first + 1 : last + 1]
        start, end = min(span[0] for span in spans), max(span[1] for span in spans)
        # A byte-level vocabulary has the space before a word in its first piece.
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if word := text[start:end].rstrip():
            vector = vectors[first] if pieces == "first" else vectors[first:last].mean(axis=0)
            words.append(WordVector(word, start, start + len(word), vector))
    return words
