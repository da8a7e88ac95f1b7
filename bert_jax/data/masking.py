"""Which tokens are hidden, and behind what: 80-10-10, whole words, runs of words.

The rules of `create_masked_lm_predictions` (google-research/bert,
create_pretraining_data.py L342-415), for a whole batch at once and as a pure
function of each example's key. Two of its defects are not kept: a second
segment that begins inside a word is not glued to the last word of the first,
and random replacements are never special, unused or padded ids.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt64

from bert_jax.data.keyed_random import random_bits, uniform
from bert_jax.data.selection import BRANCH, REPLACEMENT, choose_words
from bert_jax.errors import UserError

_LONGEST_RUN = 100  # words; SpanBERT's longest is 10
_SHORTEST = 3  # tokens of an example: [CLS] a [SEP]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking:
    """The masking recipe (Devlin et al. 2018, section 3.1, task 1).

    Attributes:
      rate: share of the tokens to predict.
      whole_word: hide all pieces of a word or none; otherwise a word is a token.
      max_ngram: most words of a run that is chosen together. With 1 words are
        chosen one by one.
      ngram_weights: how likely a run of n words is, before it is cut to fit:
        "harmonic" is 1/n, as ALBERT's up to 3 words (Lan et al. 2020, section 4.1);
        "geometric" is 0.8^(n-1), as SpanBERT's up to 10 (Joshi et al. 2020, section
        3.1), which gives 3.8 words on average.
      mask_share: of the chosen tokens, how many become [MASK].
      random_share: of the chosen tokens, how many become a random token; the
        rest stay as they are. Drawn for each token alone, in a run too.
    """

    rate: float = 0.15
    whole_word: bool = False
    max_ngram: int = 1
    ngram_weights: Literal["harmonic", "geometric"] = "harmonic"
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise UserError(f"masking.rate is {self.rate}; it must lie between 0 and 1, e.g. 0.15")
        if not 1 <= self.max_ngram <= _LONGEST_RUN:
            raise UserError(
                f"masking.max_ngram is {self.max_ngram}; it must lie between 1 and {_LONGEST_RUN}, "
                "e.g. 3 as in ALBERT"
            )
        if self.max_ngram == 1 and self.ngram_weights != "harmonic":
            raise UserError(
                f"masking.ngram_weights={self.ngram_weights} needs runs of words: set "
                "masking.max_ngram to more than 1, e.g. 10 as in SpanBERT"
            )
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1:
            raise UserError(
                f"masking.mask_share {self.mask_share} and masking.random_share "
                f"{self.random_share} must not be negative nor add up to more than 1"
            )

    def max_predictions(self, seq_len: int, examples_per_row: int = 1) -> int:
        """P, so that no row is ever cut, whatever its examples.

        Of one example it is the budget of a full row. Of several: rounding adds at most 1/2
        to `length · rate`, and the least budget, 1, at most `1 − 3 · rate`, for an example has
        at least 3 tokens. The lengths add up to T at most, so the budgets of n examples add
        up to `T · rate + n · max(1/2, 1 − 3 · rate)` at most; and no more than T / 3 fit. Nor is
        a budget larger than its example.
        """
        if examples_per_row == 1:
            return int(self.budget(np.array([seq_len]))[0])
        most = min(examples_per_row, seq_len // _SHORTEST)
        bound = seq_len * self.rate + most * max(0.5, 1 - _SHORTEST * self.rate)
        # Floats round; it must not be less for that.
        return min(seq_len, math.floor(bound + 1e-6))

    def budget(self, lengths: Integer[np.ndarray, "*B"]) -> Int[np.ndarray, "*B"]:
        """How many tokens of an example may be chosen; `lengths` count [CLS] and [SEP]s.

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
        shape = len(input_ids), self.max_predictions(input_ids.shape[1])
        positions = np.zeros(shape, np.int64)
        num_chosen = choose_words(
            candidates,
            continues & self.whole_word,
            self.budget(lengths),
            keys,
            self._longer_runs(),
            positions,
        )
        real = np.arange(shape[1]) < num_chosen[:, None]
        originals = np.where(real, np.take_along_axis(input_ids, positions, axis=1), 0)

        draw = uniform(keys[:, None], BRANCH, positions)
        replacement = random_bits(keys[:, None], REPLACEMENT, positions)
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

    def _longer_runs(self) -> Float[np.ndarray, " longer"]:
        """The probabilities that a run has more than 1, 2, … words."""
        lengths = np.arange(1, self.max_ngram + 1)
        weights = 1 / lengths if self.ngram_weights == "harmonic" else 0.8 ** (lengths - 1)
        return 1 - np.cumsum(weights / weights.sum())[:-1]
