"""Global batch t, a pure function of (seed, t, corpus).

Nothing is remembered between batches, so a run resumes from one integer, the
resumed run sees what the undisturbed one would have, and each host can build
its own rows alone.
"""

import dataclasses
import threading
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
next-sentence prediction, `nsp_labels` [B] (0 is next, 1 is random)."""


class Batches:
    """The batches of a corpus, by number.

    Training batches go round the documents for ever, each epoch with new pairs,
    a new order and new masks. Every epoch has as many examples as the plan of the
    first: a fixed length lets the epoch of a batch be computed instead of counted.
    Plans of small corpora differ in length (by 8 % over six epochs of `python_docs`
    at 128 tokens, because short documents are drawn anew); a shorter plan is filled
    up with its own first examples under other masks, of a longer one a random rest
    is left out.
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
        documents: Int[np.ndarray, " D"],
    ):
        """Plans the first epoch.

        Raises:
          UserError: no text, or too little for random pairs.
        """
        if not len(documents):
            raise UserError("the corpus is empty: its text holds no sentence")
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.masking = masking
        self.batch_size = batch_size
        self.seed = seed
        self.documents = documents
        self._lock = threading.Lock()
        # Two of each, for batches straddle the border of epochs. A run that resumes in a later
        # one needs the first epoch's plan for its length only, and never its order.
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._order = lru_cache(maxsize=2)(self._order_epoch)
        self.num_examples = len(self._plan(0))

    def _plan_epoch(self, epoch: int) -> Plan:
        return self.pairs.plan(self.corpus.sentences, self.documents, seed=self.seed, epoch=epoch)

    def _order_epoch(self, epoch: int) -> Int[np.ndarray, " E"]:
        return permutation(len(self._plan(epoch)), self.seed, Stream.ORDER, epoch)

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
        plan = self._plan(0)
        text = (plan.a_length + plan.b_length).mean()
        return 1 - (text + self.pairs.seq_len - self.pairs.max_tokens) / self.pairs.seq_len

    @property
    def num_batches_once(self) -> int:
        """How many batches `once` has."""
        return -(-self.num_examples // self.batch_size)

    def _build(self, numbers: Int[np.ndarray, " B"]) -> Batch:
        """The examples with these numbers, counted over all epochs; −1 gives padding."""
        epochs, places = np.divmod(numbers, self.num_examples)
        real = numbers >= 0
        segments = np.zeros((5, len(numbers)), np.int64)
        keys = np.zeros(len(numbers), np.uint64)
        for epoch in np.unique(epochs[real]).tolist():
            with self._lock:  # several threads build batches; one of them plans
                plan, order = self._plan(epoch), self._order(epoch)
            here = np.flatnonzero(epochs == epoch)
            example = order[places[here] % len(plan)]
            segments[:, here] = [
                getattr(plan, field.name)[example] for field in dataclasses.fields(Plan)
            ]
            keys[here] = random_bits(self.seed, Stream.MASKS, epoch, places[here])
        return self._assemble(Plan(*segments), keys)

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
