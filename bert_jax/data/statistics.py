"""What batches hold: lengths, pairs, what is hidden and behind what. Counted, not trusted."""

import copy
import dataclasses

import numpy as np
from jaxtyping import Int

from bert_jax.data.batches import Batch, Batches, Layout, predicted_tokens

_ROWS = 512  # counted at once
_EPOCHS = 4  # of a small corpus, each with pairs and masks of its own


@dataclasses.dataclass
class Statistics:
    """Counts over batches; shares are their quotients.

    Attributes:
      lengths: how many rows have 0, 1, … T real tokens, with [CLS] and [SEP].
      examples: in these rows.
      random_next: examples whose second segment is a random one.
      room: predictions that the examples may have, by their budgets and their text.
      predictions: those that they have.
      cut: what of the budgets is beyond P, and lost.
      masked: predicted tokens that are [MASK].
      replaced: those that are another token.
      kept: those that are themselves.
      text: tokens of the text, without [CLS] and [SEP].
      continuing: of these, how many continue a word.
      continuing_predictions: how many predicted ones do.
      words_hidden: words with a predicted token.
      words_split: of these, how many are not predicted whole.
    """

    lengths: Int[np.ndarray, " bins"]
    examples: int = 0
    random_next: int = 0
    room: int = 0
    predictions: int = 0
    cut: int = 0
    masked: int = 0
    replaced: int = 0
    kept: int = 0
    text: int = 0
    continuing: int = 0
    continuing_predictions: int = 0
    words_hidden: int = 0
    words_split: int = 0

    @property
    def rows(self) -> int:
        """Rows that were counted."""
        return int(self.lengths.sum())

    @property
    def tokens(self) -> int:
        """Real tokens, [CLS] and [SEP] included."""
        return int(self.lengths @ np.arange(len(self.lengths)))

    @property
    def padding_share(self) -> float:
        """Of all places in the rows."""
        return 1 - self.tokens / (self.rows * (len(self.lengths) - 1))

    def add(
        self, batch: Batch, layout: Layout, *, budget: Int[np.ndarray, " B *K"], mask_id: int
    ) -> None:
        """Counts one batch.

        Args:
          batch: what the model sees.
          layout: the same rows before anything was hidden.
          budget: how many tokens of each example may be hidden; any value where `lengths` is 0.
          mask_id: id of [MASK].
        """
        num_rows, num_places = batch["mlm_ids"].shape
        lengths = batch["lengths"].reshape(num_rows, -1)  # [B K]
        budget = np.where(lengths > 0, budget.reshape(lengths.shape), 0)
        ends = np.cumsum(lengths, axis=1)
        text_before = np.cumsum(np.pad(layout.text, ((0, 0), (1, 0))), axis=1)  # [B T+1]
        text = np.diff(np.take_along_axis(text_before, ends, axis=1), axis=1, prepend=0)
        self.lengths += np.bincount(ends[:, -1], minlength=len(self.lengths))
        self.examples += int((lengths > 0).sum())
        self.random_next += int(batch.get("nsp_labels", np.zeros(1)).sum())
        self.room += int(np.minimum(budget, text).sum())
        self.cut += int(np.maximum(budget.sum(axis=1) - num_places, 0).sum())

        row, place = np.nonzero(batch["mlm_weights"])
        position, original = batch["mlm_positions"][row, place], batch["mlm_ids"][row, place]
        shown = batch["input_ids"][row, position]
        is_mask, is_kept = shown == mask_id, shown == original
        self.predictions += len(row)
        self.masked += int(is_mask.sum())
        self.kept += int((is_kept & ~is_mask).sum())
        self.replaced += int((~is_kept & ~is_mask).sum())

        predicted = predicted_tokens(batch)
        # A segment may begin inside a word: its first token then continues nothing here.
        follows = np.pad(layout.text[:, :-1], ((0, 0), (1, 0)))
        continuing = layout.text & layout.continues & follows
        self.text += int(layout.text.sum())
        self.continuing += int(continuing.sum())
        self.continuing_predictions += int((continuing & predicted).sum())
        word = np.cumsum((layout.text & ~continuing).ravel())[layout.text.ravel()]
        sizes = np.bincount(word)
        hidden = np.bincount(word, weights=predicted[layout.text])
        self.words_hidden += int((hidden > 0).sum())
        self.words_split += int(((hidden > 0) & (hidden < sizes)).sum())


def measure(batches: Batches, *, num_tokens: int) -> Statistics:
    """Counts the first rows of training.

    Args:
      batches: the examples.
      num_tokens: of about how many, with padding; fewer if four epochs have fewer.
    """
    seq_len = batches.pairs.seq_len
    statistics = Statistics(lengths=np.zeros(seq_len + 1, np.int64))
    # Batches only cut the stream of rows; wide ones are counted faster.
    wide = copy.copy(batches)
    wide.batch_size = min(_ROWS, batches.num_rows)
    num_rows = min(num_tokens // seq_len, _EPOCHS * batches.num_rows)
    for step in range(-(-num_rows // wide.batch_size)):
        batch = wide.batch(batches.first_step + step)
        statistics.add(
            batch,
            wide.unmasked(batches.first_step + step),
            budget=wide.masking.budget(batch["lengths"]),
            mask_id=wide.tokenizer.mask_id,
        )
    return statistics
