"""Which tokens are hidden, and behind what: 80-10-10 and whole-word masking.

The rules of `create_masked_lm_predictions` (google-research/bert,
create_pretraining_data.py L342-415), for a whole batch at once and as a pure
function of each example's key. Two of its defects are not kept: a second
segment that begins inside a word is not glued to the last word of the first,
and random replacements are never special, unused or padded ids.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int, Integer, UInt64

from bert_jax.data.keyed_random import random_bits, uniform
from bert_jax.errors import UserError

# The draws of one example. Keyed by name, so that a new one changes no old one.
_SELECT, _BRANCH, _REPLACEMENT = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking:
    """The masking recipe (Devlin et al. 2018, section 3.1, task 1).

    Attributes:
      rate: share of the tokens to predict.
      whole_word: hide all pieces of a word or none.
      mask_share: of the chosen tokens, how many become [MASK].
      random_share: of the chosen tokens, how many become a random token; the
        rest stay as they are.
    """

    rate: float = 0.15
    whole_word: bool = False
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise UserError(f"masking.rate is {self.rate}; it must lie between 0 and 1, e.g. 0.15")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1:
            raise UserError(
                f"masking.mask_share {self.mask_share} and masking.random_share "
                f"{self.random_share} must not be negative nor add up to more than 1"
            )

    def max_predictions(self, seq_len: int) -> int:
        """P: the budget of a full row, so that no shorter one is ever cut."""
        return int(self.budget(np.array([seq_len]))[0])

    def budget(self, lengths: Integer[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """How many tokens of a row may be chosen; `lengths` count [CLS] and [SEP]s.

        `np.rint` rounds halves to even as Python's `round` does in the original:
        10 tokens give 2, 30 give 4, 50 give 8, 70 give 10.
        """
        return np.maximum(1, np.rint(lengths * self.rate)).astype(np.int64)

    def apply(
        self,
        input_ids: Int[np.ndarray, "B T"],
        *,
        lengths: Int[np.ndarray, " B"],
        candidates: Bool[np.ndarray, "B T"],
        continues: Bool[np.ndarray, "B T"],
        keys: UInt64[np.ndarray, " B"],
        mask_id: int,
        random_ids: Int[np.ndarray, " R"],
    ) -> dict[str, np.ndarray]:
        """Hides tokens and says which.

        Args:
          input_ids: the unmasked tokens.
          lengths: real tokens in each row, 0 for a row of padding.
          candidates: the positions that may be chosen: not ours ([CLS], [SEP]),
            not padding.
          continues: the token belongs to the same word as the one before it.
          keys: one random key an example; equal keys give equal masks.
          mask_id: id of [MASK].
          random_ids: ids that a replacement is drawn from.

        Returns:
          The batch's `input_ids` [B T], `mlm_positions` [B P] (ascending, padded
          with 0), `mlm_ids` [B P] (the original tokens whatever they were
          replaced by) and `mlm_weights` [B P] float32 (0 for padding).
        """
        chosen = self.choose(lengths=lengths, candidates=candidates, continues=continues, keys=keys)
        # A stable sort of "not chosen" lists the chosen positions in ascending order.
        num_predictions = self.max_predictions(input_ids.shape[1])
        positions = np.argsort(~chosen, axis=1, kind="stable")[:, :num_predictions]
        real = np.take_along_axis(chosen, positions, axis=1)
        positions = np.where(real, positions, 0)
        originals = np.where(real, np.take_along_axis(input_ids, positions, axis=1), 0)

        draw = uniform(keys[:, None], _BRANCH, positions)
        replacement = random_bits(keys[:, None], _REPLACEMENT, positions)
        replacement = random_ids[(replacement % np.uint64(len(random_ids))).astype(np.int64)]
        hidden = np.where(draw < self.mask_share + self.random_share, replacement, originals)
        hidden = np.where(draw < self.mask_share, mask_id, hidden)

        masked = input_ids.copy()
        rows, columns = np.nonzero(real)
        masked[rows, positions[rows, columns]] = hidden[rows, columns]
        return {
            "input_ids": masked.astype(np.int32),
            "mlm_positions": positions.astype(np.int32),
            "mlm_ids": originals.astype(np.int32),
            "mlm_weights": real.astype(np.float32),
        }

    def choose(
        self,
        *,
        lengths: Int[np.ndarray, " B"],
        candidates: Bool[np.ndarray, "B T"],
        continues: Bool[np.ndarray, "B T"],
        keys: UInt64[np.ndarray, " B"],
    ) -> Bool[np.ndarray, "B T"]:
        """The tokens to predict: words in random order, skipping what does not fit.

        A word that would overflow the budget is left out and the next is tried,
        so a row may end below its budget. Without `whole_word` every token is a
        word of its own. See `apply` for the arguments.
        """
        num_rows, seq_len = candidates.shape
        starts = candidates.copy()
        if self.whole_word:
            # A word also ends where the candidates do, at [SEP]: segments never share one.
            after_candidate = np.pad(candidates[:, :-1], ((0, 0), (1, 0)))
            starts &= ~(continues & after_candidate)
        word_of = np.cumsum(starts, axis=1) - 1  # [B T], the word a candidate belongs to
        rows = np.arange(num_rows)[:, None]
        sizes = np.zeros((num_rows, seq_len + 1), np.int64)
        np.add.at(sizes, (rows, np.where(candidates, word_of, seq_len)), 1)
        sizes[:, seq_len] = 0
        num_words = starts.sum(axis=1)

        # Words are drawn by a random number each; those that do not exist come last.
        draws = uniform(keys[:, None], _SELECT, np.arange(seq_len))
        order = np.argsort(
            np.where(np.arange(seq_len) < num_words[:, None], draws, np.inf), axis=1, kind="stable"
        )
        remaining = np.minimum(self.budget(lengths), candidates.sum(axis=1))
        taken = np.zeros((num_rows, seq_len + 1), bool)
        for turn in range(int(num_words.max(initial=0))):
            word = order[:, turn]
            size = sizes[rows[:, 0], word]
            fits = (size > 0) & (size <= remaining)
            taken[rows[:, 0], word] = fits
            remaining = remaining - size * fits
            if not remaining.any():
                break
        return taken[rows, word_of] & candidates
