"""Which sentences make up an example: the plan of one epoch.

The procedure of `create_instances_from_document` (google-research/bert,
create_pretraining_data.py L223-333): fill a chunk with sentences of one
document, split it at a random sentence boundary into A and B, and half the
time replace B by a random place in another document, putting the unused
sentences back. Every epoch is planned anew and every decision is keyed by
(seed, epoch, first sentence of the chunk), so a plan is a pure function.

Where it differs: the second segment of a "random" pair never comes from the
same document (the original gives up after ten tries and keeps the wrong label).
"""

import dataclasses
from bisect import bisect_left, bisect_right

import numpy as np
from jaxtyping import Int, Integer, UInt64

from bert_jax.data.keyed_random import Stream, random_bits, uniform
from bert_jax.errors import UserError

IS_NEXT, RANDOM_NEXT = 0, 1  # as in Google's run_pretraining.py L288 and Hugging Face

# The draws of one chunk, all keyed by its first sentence.
_SPLIT, _NEXT, _DOCUMENT, _SENTENCE, _SHORT, _SHORT_LENGTH, _CUT_A, _CUT_B = range(8)


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Where sentences and documents begin, in a corpus seen as one token stream.

    Attributes:
      offsets: first token of each sentence, and the end of the last; ascending
        strictly, there are no empty sentences.
      documents: first sentence of each document, and the end of the last.
    """

    offsets: Int[np.ndarray, " sentence_bounds"]
    documents: Int[np.ndarray, " document_bounds"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The examples of one epoch, in corpus order; every array is int64 [E].

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
      short_seq_prob: share of documents cut to a random shorter length, so that
        the model sees short inputs before fine-tuning.
    """

    seq_len: int
    nsp: bool = True
    short_seq_prob: float = 0.1

    def __post_init__(self) -> None:
        if self.seq_len < 5:
            raise UserError(
                f"pairs.seq_len is {self.seq_len}; a pair needs at least 5 tokens: "
                "[CLS] a [SEP] b [SEP]"
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(f"pairs.short_seq_prob is {self.short_seq_prob}; it is a share, 0 to 1")

    @property
    def max_tokens(self) -> int:
        """Tokens of an example that come from the text."""
        return self.seq_len - (3 if self.nsp else 2)

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
        if self.nsp and len(documents) == 1:
            raise UserError(
                "the corpus is one document, so there is no other to take a random next sentence "
                "from; put blank lines between documents, or train with --config.pairs.nsp=False"
            )
        keys, uncut = self.fill(sentences, documents, seed=seed, epoch=epoch)
        cut_a, cut_b = excess(uncut.a_length, uncut.b_length, self.max_tokens)
        return Plan(
            a_start=uncut.a_start + front_cuts(cut_a, keys, _CUT_A),
            a_length=uncut.a_length - cut_a,
            b_start=uncut.b_start + front_cuts(cut_b, keys, _CUT_B),
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
        keys = random_bits(seed, Stream.PAIRS, epoch, np.arange(len(sentences.offsets) - 1))
        first_sentences = sentences.documents[documents]
        targets = self._targets(keys[first_sentences])
        spans = zip(
            first_sentences.tolist(), sentences.documents[documents + 1].tolist(), strict=True
        )
        chunk = _pair_chunks if self.nsp else _single_chunks
        rows = chunk(sentences.offsets.tolist(), list(spans), targets.tolist(), keys)
        columns = np.array(rows, np.int64).reshape(-1, 6).T
        return keys[columns[0]], Plan(*columns[1:])

    def _targets(self, document_keys: UInt64[np.ndarray, " D"]) -> Int[np.ndarray, " D"]:
        """How long the chunks of each document should be; drawn once a document."""
        shortest = 2 if self.nsp else 1
        lengths = uniform(document_keys, _SHORT_LENGTH) * (self.max_tokens - shortest + 1)
        short = uniform(document_keys, _SHORT) < self.short_seq_prob
        return np.where(short, shortest + lengths.astype(np.int64), self.max_tokens)


def _pair_chunks(
    offsets: list[int],
    spans: list[tuple[int, int]],
    targets: list[int],
    keys: UInt64[np.ndarray, " S"],
) -> list[tuple[int, int, int, int, int, int]]:
    """Rows of (first sentence, A start, A length, B start, B length, label), uncut.

    Plain lists and bisection: a Python loop over examples, not over sentences.
    """
    split, is_random, which_document, which_sentence = (
        uniform(keys, kind).tolist() for kind in (_SPLIT, _NEXT, _DOCUMENT, _SENTENCE)
    )
    rows = []
    for number, ((first, document_end), target) in enumerate(zip(spans, targets, strict=True)):
        sentence = first
        while sentence < document_end:
            start = offsets[sentence]
            end = min(bisect_left(offsets, start + target, sentence + 1), document_end)
            # A takes at least one sentence and leaves at least one for B, if there are two.
            a_end = sentence + 1 + int(split[sentence] * max(1, end - sentence - 1))
            a_length = offsets[a_end] - start
            if end == a_end or is_random[sentence] < 0.5:
                # Uniform over the other documents, by skipping this one.
                other = int(which_document[sentence] * (len(spans) - 1))
                b_first, b_last = spans[other + (other >= number)]
                b = b_first + int(which_sentence[sentence] * (b_last - b_first))
                wanted = max(1, target - a_length)
                b_end = min(bisect_left(offsets, offsets[b] + wanted, b + 1), b_last)
                row = (offsets[b], offsets[b_end] - offsets[b], RANDOM_NEXT)
                following = a_end  # the sentences that B would have had are used again
            else:
                row = (offsets[a_end], offsets[end] - offsets[a_end], IS_NEXT)
                following = end
            rows.append((sentence, start, a_length, *row))
            sentence = following
    return rows


def _single_chunks(
    offsets: list[int],
    spans: list[tuple[int, int]],
    targets: list[int],
    keys: UInt64[np.ndarray, " S"],  # noqa: ARG001 - nothing is drawn without pairs
) -> list[tuple[int, int, int, int, int, int]]:
    """The same rows for one segment: as many whole sentences as fit, or pieces of a long one."""
    rows = []
    for (first, document_end), target in zip(spans, targets, strict=True):
        sentence = first
        while sentence < document_end:
            start = offsets[sentence]
            end = min(bisect_right(offsets, start + target, sentence + 1) - 1, document_end)
            if end == sentence:  # a sentence too long for a row makes several
                end = sentence + 1
                pieces = range(start, offsets[end], target)
            else:
                pieces = range(start, start + 1)
            for piece in pieces:
                length = min(target, offsets[end] - piece)
                rows.append((sentence, piece, length, piece, 0, IS_NEXT))
            sentence = end
    return rows


def excess(
    a_length: Int[np.ndarray, " E"], b_length: Int[np.ndarray, " E"], max_tokens: int
) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """How many tokens A and B lose to fit together into `max_tokens`.

    `truncate_seq_pair` (L418) takes one token at a time from the longer segment,
    from B if they are equal; this is where that ends.
    """
    too_many = np.maximum(a_length + b_length - max_tokens, 0)
    uneven = np.minimum(too_many, np.abs(a_length - b_length))
    rest = too_many - uneven
    cut_a = np.where(a_length > b_length, uneven, 0) + rest // 2
    return cut_a, too_many - cut_a


def front_cuts(
    lost: Int[np.ndarray, " E"], keys: UInt64[np.ndarray, " E"], draw: int
) -> Int[np.ndarray, " E"]:
    """How many of the tokens that a segment loses are taken off its front.

    A fair coin decides for each token, here a bit of a random word, so the count
    is exactly binomial.
    """
    count = np.zeros(len(lost), np.int64)
    for word in range(-(-int(lost.max(initial=0)) // 64)):
        left = np.clip(lost - 64 * word, 0, 64)
        rows = np.flatnonzero(left)
        bits = random_bits(keys[rows], draw, word)
        unused = (64 - left[rows]).astype(np.uint64)
        count[rows] += np.bitwise_count(bits >> unused)
    return count
