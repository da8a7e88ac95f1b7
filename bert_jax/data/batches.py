"""Global batch t, a pure function of (seed, t, corpus).

Nothing is remembered between batches, so a run resumes from one integer, the
resumed run sees what the undisturbed one would have, and each host can build
its own rows alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from bert_jax.data.corpus import Corpus
from bert_jax.data.examples import Drawn, Examples, Mixture
from bert_jax.data.masking import Masking
from bert_jax.data.packing import Seats
from bert_jax.data.pairs import Pairs, Plan
from bert_jax.tokenizers import Tokenizer

Batch = dict[str, np.ndarray]
"""int32 unless noted: `input_ids` [B T], `segment_ids` [B T], `lengths` [B] (0 for a row
of padding), `mlm_positions` [B P], `mlm_ids` [B P], `mlm_weights` [B P] float32 and, with
pairs, `nsp_labels` [B] (0: the second segment follows the first; 1: it does not).

With `pairs.examples_per_row`, K, above 1, examples lie in a row one after the other, from the
left; `lengths` and `nsp_labels` are [B K], of its examples in order, 0 where there are fewer."""


class Layout(NamedTuple):
    """The rows of a batch before tokens are hidden.

    Attributes:
      ids: the tokens.
      text: which of them come from the text: neither [CLS], [SEP] nor padding.
      continues: of those, which belong to the word before; elsewhere without meaning.
      segment_ids: 1 for the second segment and its [SEP]; 0 for padding too.
      lengths: as in a batch.
    """

    ids: Int[np.ndarray, "B T"]
    text: Bool[np.ndarray, "B T"]
    continues: Bool[np.ndarray, "B T"]
    segment_ids: Int[np.ndarray, "B T"]
    lengths: Int[np.ndarray, " B *K"]


def predicted_tokens(batch: Batch) -> Bool[np.ndarray, "B T"]:
    """Which tokens are to be predicted."""
    predicted = np.zeros(batch["input_ids"].shape, bool)
    row, place = np.nonzero(batch["mlm_weights"])
    predicted[row, batch["mlm_positions"][row, place]] = True
    return predicted


class Batches:
    """The batches of a corpus, by number.

    Training batches go round the documents for ever, each epoch with new pairs,
    a new order and new masks.

    Attributes:
      mixture: the examples.
      first_step: number of the first batch.
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
        first_step: int = 0,
        first_example: int = 0,
    ):
        """Plans the first epoch.

        Args:
          corpus: the tokens.
          tokenizer: what made them.
          pairs: how to cut them into examples.
          masking: how to hide some.
          batch_size: B, in rows.
          seed: decides everything random.
          documents: of each source.
          weights: each source's share of the rows; they sum to 1.
          first_step: number of the first batch of this shape in a run of several.
          first_example: how many rows the batches before it held: it goes on from there,
            through the epochs, so that nothing is seen twice with the same mask.

        Raises:
          UserError: no text, or too little for random pairs or for its weight.
        """
        self.corpus = corpus
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.masking = masking
        self.batch_size = batch_size
        self.seed = seed
        self.first_step = first_step
        self._first_example = first_example
        sources = [
            Examples(corpus.sentences, pairs, documents=part, seed=seed) for part in documents
        ]
        self.mixture = Mixture(sources, weights, seed=seed)

    @property
    def num_examples(self) -> int:
        """Of the first epoch."""
        return self.mixture.num_examples

    @property
    def num_rows(self) -> int:
        """Of one epoch."""
        return self.mixture.num_rows

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        """Global batch `step`, or some of its rows."""
        return self._build(self._numbers(step)[rows])

    def once(self, step: int, rows: slice = slice(None)) -> Batch:
        """As `batch`, for one pass over the first epoch: past its end rows are padding."""
        first = step * self.batch_size
        numbers = np.arange(first, first + self.batch_size)[rows]
        return self._build(np.where(numbers < self.num_rows, numbers, -1))

    def unmasked(self, step: int) -> Layout:
        """What `batch` hides tokens of."""
        drawn = self.mixture.look_up(self._numbers(step))
        layout = self._lay_out(drawn.plan)
        if self.pairs.examples_per_row == 1:
            return layout
        seats = self._seats(drawn, layout, num_rows=self.batch_size)
        return Layout(
            ids=seats.tokens(layout.ids, self.tokenizer.pad_id),
            text=seats.tokens(layout.text, 0),
            continues=seats.tokens(layout.continues, 0),
            segment_ids=seats.tokens(layout.segment_ids, 0),
            lengths=seats.lengths,
        )

    def _numbers(self, step: int) -> Int[np.ndarray, " B"]:
        first = self._first_example + (step - self.first_step) * self.batch_size
        return np.arange(first, first + self.batch_size)

    @property
    def padding_share(self) -> float:
        """Share of a row that is padding, on the average of the first epoch."""
        return 1 - self.mixture.tokens_per_row / self.pairs.seq_len

    @property
    def num_batches_once(self) -> int:
        """How many batches `once` has."""
        return -(-self.num_rows // self.batch_size)

    def _build(self, numbers: Int[np.ndarray, " B"]) -> Batch:
        drawn = self.mixture.look_up(numbers)
        layout = self._lay_out(drawn.plan)
        batch = self.masking.apply(
            layout.ids,
            lengths=layout.lengths,
            candidates=layout.text,
            continues=layout.continues,
            keys=drawn.keys,
            mask_id=self.tokenizer.mask_id,
            random_ids=self.tokenizer.ordinary_ids,
        )
        batch["segment_ids"] = layout.segment_ids.astype(np.int32)
        batch["lengths"] = layout.lengths.astype(np.int32)
        if self.pairs.nsp:
            batch["nsp_labels"] = drawn.plan.label.astype(np.int32)
        if self.pairs.examples_per_row == 1:
            return batch
        # An example is masked in a row of its own, so its masks are the same in any company.
        seats = self._seats(drawn, layout, num_rows=len(numbers))
        packed = seats.predictions(
            batch["mlm_positions"],
            batch["mlm_ids"],
            batch["mlm_weights"],
            num_places=self.masking.max_predictions(
                self.pairs.seq_len, self.pairs.examples_per_row
            ),
        )
        packed["input_ids"] = seats.tokens(batch["input_ids"], self.tokenizer.pad_id)
        packed["segment_ids"] = seats.tokens(batch["segment_ids"], 0)
        packed["lengths"] = seats.lengths.astype(np.int32)
        if self.pairs.nsp:
            packed["nsp_labels"] = seats.numbers(batch["nsp_labels"])
        return packed

    def _seats(self, drawn: Drawn, layout: Layout, *, num_rows: int) -> Seats:
        """Where examples that lie in rows of their own come to lie together."""
        return Seats(
            drawn.rows,
            layout.lengths,
            num_rows=num_rows,
            seq_len=self.pairs.seq_len,
            examples_per_row=self.pairs.examples_per_row,
        )

    def _lay_out(self, plan: Plan) -> Layout:
        """`[CLS] A [SEP] B [SEP]`, each example in a row of its own, all at once."""
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
        return Layout(ids, text, continues, segment_ids, lengths[:, 0])
