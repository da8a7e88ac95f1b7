"""Global batch t, a pure function of (seed, t, corpus).

Nothing is remembered between batches, so a run resumes from one integer, the
resumed run sees what the undisturbed one would have, and each host can build
its own rows alone.
"""

import dataclasses
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt64

from bert_jax.data.corpus import Corpus
from bert_jax.data.keyed_random import Stream, permutation, random_bits
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs, Plan
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

Batch = dict[str, np.ndarray]
"""int32 unless noted: `input_ids` [B T], `segment_ids` [B T], `lengths` [B] (0 for a row
of padding), `mlm_positions` [B P], `mlm_ids` [B P], `mlm_weights` [B P] float32 and, with
pairs, `nsp_labels` [B] (0: the second segment follows the first; 1: it does not)."""


# Sources of a mixture are dealt out so many examples at a time.
_PERIOD = 1024

# An epoch has fewer examples than 2 to this.
_SOURCE_BITS = 48


class Batches:
    """The batches of a corpus, by number.

    Training batches go round the documents for ever, each epoch with new pairs,
    a new order and new masks. In a mixture each source goes round its own; of
    every 1,024 examples as many are a source's as its weight says.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        *,
        pairs: Pairs,
        masking: Masking,
        batch_size: int,
        seed: int,
        documents: Sequence[Int[np.ndarray, " D"]],
        weights: Sequence[float] = (1.0,),
    ):
        """Plans the first epoch.

        Args:
          corpus: the tokens.
          tokenizer: what made them.
          pairs: how to cut them into examples.
          masking: how to hide some.
          batch_size: B.
          seed: decides everything random.
          documents: of each source.
          weights: each source's share of the examples; they sum to 1.

        Raises:
          UserError: no text, or too little for random pairs or for its weight.
        """
        if not all(map(len, documents)):
            raise UserError("the corpus is empty: its text holds no sentence")
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.masking = masking
        self.batch_size = batch_size
        self.seed = seed
        self.sources = [
            Examples(corpus, pairs, seed=seed, documents=documents_of_source, source=number)
            for number, documents_of_source in enumerate(documents)
        ]
        self._shares = _shares(weights)

    @property
    def num_examples(self) -> int:
        """Of an epoch; of a mixture, those of all its sources."""
        return sum(source.num_examples for source in self.sources)

    def epochs(self, num_examples: int) -> list[float]:
        """How often the sources have been gone through after so many examples."""
        return [
            num_examples * share / _PERIOD / source.num_examples
            for share, source in zip(self._shares, self.sources, strict=True)
        ]

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Global batch `step`, or some of its rows."""
        first = step * self.batch_size
        numbers = np.arange(first, first + self.batch_size)[rows]
        return self._build(numbers)

    def once(self, step: int, rows: slice = slice(None)) -> Batch:
        """As `batch`, for one pass over the first epoch: past its end rows are padding."""
        first = step * self.batch_size
        numbers = np.arange(first, first + self.batch_size)[rows]
        return self._build(np.where(numbers < self.num_examples, numbers, -1))

    @property
    def padding_share(self) -> float:
        """Share of a row that is padding, on the average of the first epoch."""
        text = self._average("mean_tokens")
        return 1 - (text + self.pairs.seq_len - self.pairs.max_tokens) / self.pairs.seq_len

    @property
    def negative_share(self) -> float:
        """Share of the examples that have label 1, in the first epoch."""
        return self._average("mean_label")

    def _average(self, figure: str) -> float:
        """The mean of a figure of `Examples` over a mixture."""
        return float(np.average([getattr(s, figure) for s in self.sources], weights=self._shares))

    @property
    def num_batches_once(self) -> int:
        """How many batches `once` has."""
        return -(-self.num_examples // self.batch_size)

    def _build(self, numbers: Int[np.ndarray, " B"]) -> Batch:
        """The examples with these numbers, counted over all epochs; −1 gives padding."""
        plan = np.zeros((len(dataclasses.fields(Plan)), len(numbers)), np.int64)
        keys = np.zeros(len(numbers), np.uint64)
        sources, numbers_in_source = self._deal(numbers)
        for number, source in enumerate(self.sources):
            here = np.flatnonzero((sources == number) & (numbers >= 0))
            plan[:, here], keys[here] = source.look_up(numbers_in_source[here])
        return self._assemble(Plan(*plan), keys)

    def _deal(
        self, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Which source each example is of, and its number among that source's."""
        if len(self.sources) == 1:
            return np.zeros_like(numbers), numbers
        periods, places = np.divmod(numbers, _PERIOD)
        slots = np.zeros_like(numbers)
        for period in np.unique(periods):
            here = periods == period
            order = permutation(_PERIOD, self.seed, Stream.MIXTURE, period)
            slots[here] = order[places[here]]
        firsts = np.cumsum([0, *self._shares])  # slots of the sources
        sources = np.searchsorted(firsts, slots, side="right") - 1
        return sources, periods * np.array(self._shares)[sources] + slots - firsts[sources]

    def _assemble(self, plan: Plan, keys: UInt64[np.ndarray, " B"]) -> Batch:
        ids, candidates, continues, segment_ids, lengths = self._lay_out(plan)
        batch = self.masking.apply(
            ids,
            lengths=lengths,
            candidates=candidates,
            continues=continues,
            keys=keys,
            mask_id=self.tokenizer.mask_id,
            random_ids=self.tokenizer.ordinary_ids,
        )
        batch |= {"segment_ids": segment_ids.astype(np.int32), "lengths": lengths.astype(np.int32)}
        if self.pairs.nsp:
            batch["nsp_labels"] = plan.label.astype(np.int32)
        return batch

    def _lay_out(
        self, plan: Plan
    ) -> tuple[
        Int[np.ndarray, "B T"],
        Bool[np.ndarray, "B T"],
        Bool[np.ndarray, "B T"],
        Int[np.ndarray, "B T"],
        Int[np.ndarray, " B"],
    ]:
        """`[CLS] A [SEP] B [SEP]` in every row, all rows at once.

        Returns:
          ids, which of them are text, which continue a word, segment ids
          (padding is 0), and lengths.
        """
        a_length, b_length = plan.a_length[:, None], plan.b_length[:, None]
        place = np.arange(self.pairs.seq_len)
        first_separator = a_length + 1
        in_a = (place >= 1) & (place < first_separator)
        in_b = (place > first_separator) & (place <= first_separator + b_length)
        text = in_a | in_b
        positions = np.where(
            in_a,
            plan.a_start[:, None] + place - 1,
            plan.b_start[:, None] + place - first_separator - 1,
        )
        ids, continues = self.corpus.read(np.where(text, positions, 0))

        lengths = a_length + 2 + np.where(b_length > 0, b_length + 1, 0)
        lengths = np.where(a_length > 0, lengths, 0)  # no A, no example: a row of padding
        is_separator = (place == first_separator) | (place == lengths - 1)
        ids = np.where(
            text, ids, np.where(is_separator, self.tokenizer.sep_id, self.tokenizer.pad_id)
        )
        ids[:, 0] = self.tokenizer.cls_id
        ids = np.where(place < lengths, ids, self.tokenizer.pad_id)
        segment_ids = ((place > first_separator) & (place < lengths)).astype(np.int64)
        return ids, text, continues, segment_ids, lengths[:, 0]


class Examples:
    """The examples of one source, by number: round and round, each epoch planned anew.

    Every epoch has as many examples as the plan of the first: a fixed length lets
    the epoch of an example be computed instead of counted. Plans of small corpora
    differ in length (by 8 % over six epochs of `python_docs` at 128 tokens, because
    short documents are drawn anew); a shorter plan is filled up with its own first
    examples under other masks, of a longer one a random rest is left out.
    """

    def __init__(
        self,
        corpus: Corpus,
        pairs: Pairs,
        *,
        seed: int,
        documents: Int[np.ndarray, " D"],
        source: int,
    ):
        """Plans the first epoch; `source` parts the masks of a mixture's sources."""
        self.documents = documents
        self._corpus = corpus
        self._pairs = pairs
        self._seed = seed
        self._source = source
        self._lock = threading.Lock()
        # Two of each, for batches straddle the border of epochs. A run that resumes in a later
        # one needs the first epoch's plan for its length only, and never its order.
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._order = lru_cache(maxsize=2)(self._order_epoch)
        first = self._plan(0)
        self.num_examples = len(first)
        if not self.num_examples:
            raise UserError(
                "every document is a single token, which cannot be parted in two segments; train "
                "with --config.pairs.nsp=False"
            )
        self.mean_tokens = (first.a_length + first.b_length).mean()
        self.mean_label = first.label.mean()

    def look_up(
        self, numbers: Int[np.ndarray, " E"]
    ) -> tuple[Int[np.ndarray, "fields E"], UInt64[np.ndarray, " E"]]:
        """The fields of `Plan`, and keys for the masks, of examples counted over all epochs."""
        epochs, places = np.divmod(numbers, self.num_examples)
        fields = np.zeros((len(dataclasses.fields(Plan)), len(numbers)), np.int64)
        keys = np.zeros(len(numbers), np.uint64)
        for epoch in np.unique(epochs).tolist():
            with self._lock:  # several threads build batches; one of them plans
                plan, order = self._plan(epoch), self._order(epoch)
            here = np.flatnonzero(epochs == epoch)
            example = order[places[here] % len(plan)]
            fields[:, here] = [
                getattr(plan, field.name)[example] for field in dataclasses.fields(Plan)
            ]
            place = places[here] + (self._source << _SOURCE_BITS)
            keys[here] = random_bits(self._seed, Stream.MASKS, epoch, place)
        return fields, keys

    def _plan_epoch(self, epoch: int) -> Plan:
        sentences = self._corpus.sentences
        return self._pairs.plan(sentences, self.documents, seed=self._seed, epoch=epoch)

    def _order_epoch(self, epoch: int) -> Int[np.ndarray, " E"]:
        return permutation(len(self._plan(epoch)), self._seed, Stream.ORDER, epoch)


def _shares(weights: Sequence[float]) -> list[int]:
    """How many examples of a period each source has; the largest remainders are rounded up."""
    exact = np.array(weights) * _PERIOD
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _PERIOD - shares.sum()]] += 1
    if not shares.all():
        raise UserError(
            f"a source with a weight of {min(weights):g} would hardly be seen; give it at least "
            f"1/{_PERIOD} of the mixture, or leave it out"
        )
    return shares.tolist()
