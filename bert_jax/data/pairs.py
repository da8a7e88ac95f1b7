"""Which sentences make up an example: the plan of one epoch.

The procedure of `create_instances_from_document` (google-research/bert,
create_pretraining_data.py L223-333): fill a chunk with sentences of one
document, split it at a random sentence boundary into A and B, and half the
time replace B by a random place in another document, putting the unused
sentences back. Every epoch is planned anew and every decision is keyed by
(seed, epoch, first sentence of the chunk), so a plan is a pure function.

Where it differs: the second segment of a "random" pair never comes from the
same document (the original gives up after ten tries and keeps the wrong label).

ALBERT's pairs (Lan et al. 2020, section 3.1) are of one document always: the
chunk's two parts, half the time exchanged. Where a sentence fills a chunk alone,
ALBERT's code takes a random place of another document; here it is parted inside.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Int, Integer, UInt64

from bert_jax.data.boundaries import Sentences
from bert_jax.data.chunking import (
    CUT_A,
    CUT_B,
    SHORT,
    SHORT_LENGTH,
    excess,
    front_cuts,
    pair_chunks,
    single_chunks,
    swapped_chunks,
)
from bert_jax.data.keyed_random import Stream, fold, random_bits, uniform
from bert_jax.errors import UserError

# Tokens of an example: [CLS] a [SEP].
_SHORTEST = 3

# Of a plan, and of its examples' keys.
_COLUMNS = (np.int64, np.int32, np.int64, np.int32, np.int8, np.uint64)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The examples of one epoch, in corpus order; every array is [E].

    Segments are runs of tokens `start : start + length`; `b_length` is 0 where
    examples have one segment only.
    """

    a_start: np.ndarray
    a_length: np.ndarray
    b_start: np.ndarray
    b_length: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.a_start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
    """How text is cut into examples (Devlin et al. 2018, section A.2).

    Attributes:
      seq_len: T, tokens of an example with its [CLS] and [SEP]s.
      nsp: two segments and a label each; otherwise one segment of whole sentences.
      negatives: what the pairs with label 1 are: "random" has a second segment from
        another document (next-sentence prediction), "swapped" the two segments in
        the wrong order (ALBERT's sentence-order prediction).
      short_seq_prob: share of documents cut to a random shorter length, so that
        the model sees short inputs before fine-tuning.
      examples_per_row: K, the most examples that share a row of T tokens; they see nothing
        of each other. With 1 each has a row of its own, and padding behind it.
    """

    seq_len: int
    nsp: bool = True
    negatives: Literal["random", "swapped"] = "random"
    short_seq_prob: float = 0.1
    examples_per_row: int = 1

    def __post_init__(self) -> None:
        if self.seq_len < 5:
            raise UserError(
                f"pairs.seq_len is {self.seq_len}; a pair needs at least 5 tokens: "
                "[CLS] a [SEP] b [SEP]"
            )
        if self.negatives != "random" and not self.nsp:
            raise UserError(
                f"pairs.negatives={self.negatives} needs pairs, but pairs.nsp is False; "
                "leave one of the two away"
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(f"pairs.short_seq_prob is {self.short_seq_prob}; it is a share, 0 to 1")
        if not 1 <= self.examples_per_row <= max(1, self.seq_len // _SHORTEST):
            raise UserError(
                f"pairs.examples_per_row is {self.examples_per_row}; it must be at least 1, which "
                f"gives each example a row of its own, and at most {self.seq_len // _SHORTEST} in "
                f"rows of {self.seq_len} tokens"
            )

    @property
    def task(self) -> str:
        """What the labels are called."""
        return "NSP" if self.negatives == "random" else "SOP"

    @property
    def max_tokens(self) -> int:
        """Tokens of an example that come from the text."""
        return self.seq_len - self.num_specials

    @property
    def num_specials(self) -> int:
        """Tokens of an example that do not: [CLS] and a [SEP] for each segment."""
        return 3 if self.nsp else 2

    def plan(
        self,
        sentences: Sentences,
        documents: Integer[np.ndarray, " D"],
        *,
        seed: int,
        epoch: int,
    ) -> Plan:
        """All examples that one pass over `documents` gives.

        Args:
          sentences: the boundaries.
          documents: which of the documents to use.
          seed: with `epoch`, decides everything random.
          epoch: the pass.

        Raises:
          UserError: pairs of a single document, which has no other to draw from.
        """
        if self.nsp and self.negatives == "random" and len(documents) == 1:
            raise UserError(
                "the corpus is one document, so there is no other to take a random next sentence "
                "from; put blank lines between documents, or train with --config.pairs.nsp=False "
                "or --config.pairs.negatives=swapped"
            )
        keys, uncut = self.fill(sentences, documents, seed=seed, epoch=epoch)
        cut_a, cut_b = excess(uncut.a_length, uncut.b_length, self.max_tokens)
        return Plan(
            a_start=uncut.a_start + front_cuts(cut_a, keys, CUT_A),
            a_length=uncut.a_length - cut_a,
            b_start=uncut.b_start + front_cuts(cut_b, keys, CUT_B),
            b_length=uncut.b_length - cut_b,
            label=uncut.label,
        )

    def fill(
        self,
        sentences: Sentences,
        documents: Integer[np.ndarray, " D"],
        *,
        seed: int,
        epoch: int,
    ) -> tuple[UInt64[np.ndarray, " E"], Plan]:
        """The plan before segments are cut to fit, of whole sentences, and a key for each example.

        See `plan` for the arguments.
        """
        firsts, lasts = sentences.documents[documents], sentences.documents[documents + 1]
        epoch_bits = random_bits(seed, Stream.PAIRS, epoch)
        targets = self._targets(fold(epoch_bits, firsts.astype(np.uint64)))
        tokens = sentences.offsets[lasts] - sentences.offsets[firsts]
        # Each chunk takes a sentence, or `max_tokens` of a longer one.
        most = np.zeros(len(firsts) + 1, np.int64)
        np.cumsum(lasts - firsts + (0 if self.nsp else tokens // self.max_tokens), out=most[1:])
        if not self.nsp:
            chunk = partial(single_chunks, self.max_tokens)
        else:
            chunk = pair_chunks if self.negatives == "random" else swapped_chunks

        def cut(first: int, last: int) -> list[np.ndarray]:
            """The columns of the documents from `first` to `last`."""
            # Memory that is never written to is never taken.
            rows = tuple(np.empty(most[last] - most[first], dtype) for dtype in _COLUMNS)
            bounds = (sentences.offsets, firsts, lasts)
            count = chunk(*bounds, targets, np.uint64(epoch_bits), (first, last), rows)
            return [column[:count] for column in rows]

        # No document needs another's chunks, so each core takes as much text as the others.
        workers = os.cpu_count() or 1
        shares = np.searchsorted(most, np.linspace(0, most[-1], workers + 1))
        with ThreadPoolExecutor(workers) as pool:
            parts = pool.map(cut, shares[:-1].tolist(), shares[1:].tolist())
            *columns, keys = map(np.concatenate, zip(*parts, strict=True))
        return keys, Plan(*columns)

    def _targets(self, document_keys: UInt64[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        """How long the chunks of each document should be; drawn once a document."""
        shortest = 2 if self.nsp else 1
        lengths = uniform(document_keys, SHORT_LENGTH) * (self.max_tokens - shortest + 1)
        short = uniform(document_keys, SHORT) < self.short_seq_prob
        return np.where(short, shortest + lengths.astype(np.int64), self.max_tokens)
