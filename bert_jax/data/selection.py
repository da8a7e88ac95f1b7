"""Choosing the words to predict: the compiled loop of `bert_jax.data.masking`."""

from typing import no_type_check

import numpy as np
from numba import njit

from bert_jax.data.keyed_random import fold

# The draws of one example. Keyed by name, so that a new one changes no old one.
SELECT, BRANCH, REPLACEMENT, RUN_LENGTH = range(4)


@njit(cache=True, nogil=True)
@no_type_check
def choose_words(candidates, continues, budgets, keys, longer, positions):
    """Chooses runs of words in random order until the budget is spent.

    A run ends early at the end of its segment, before a word that was chosen, and
    before one that would overflow what is left of the budget.

    Args:
      candidates: [B T] the tokens that may be chosen; a gap in them ends a segment.
      continues: [B T] the token belongs to the word of the one before it.
      budgets: [B] how many tokens may be chosen.
      keys: [B] one random key an example.
      longer: [N − 1] the probabilities that a run has more than 1, 2, … words.
      positions: [B P] is filled with the chosen tokens, ascending; P is at least
        the largest budget.

    Returns:
      [B] how many tokens were chosen.
    """
    num_rows, seq_len = candidates.shape
    counts = np.zeros(num_rows, np.int64)
    # Word w of a row is the tokens starts[w] : ends[w].
    starts, ends = np.empty(seq_len, np.int64), np.empty(seq_len, np.int64)
    draws = np.empty(seq_len, np.uint64)
    for row in range(num_rows):
        select_bits = fold(fold(np.uint64(0), keys[row]), np.uint64(SELECT))
        run_bits = fold(fold(np.uint64(0), keys[row]), np.uint64(RUN_LENGTH))
        num_words = 0
        in_segment = False
        for place in range(seq_len):
            if candidates[row, place]:
                if not (in_segment and continues[row, place]):
                    starts[num_words] = place
                    draws[num_words] = fold(select_bits, np.uint64(num_words)) >> np.uint64(11)
                    num_words += 1
                ends[num_words - 1] = place + 1
            in_segment = candidates[row, place]

        chosen = np.zeros(seq_len, np.bool_)
        left = budgets[row]
        for first in np.argsort(draws[:num_words], kind="mergesort"):  # the stable one
            if left == 0:
                break
            most = _run_length(run_bits, first, longer)
            for word in range(first, min(first + most, num_words)):
                size = ends[word] - starts[word]
                touches = word == first or starts[word] == ends[word - 1]
                if not touches or chosen[starts[word]] or size > left:
                    break
                chosen[starts[word] : ends[word]] = True
                left -= size

        for place in range(seq_len):
            if chosen[place]:
                positions[row, counts[row]] = place
                counts[row] += 1
    return counts


@njit(cache=True)
@no_type_check
def _run_length(run_bits, word, longer):
    """How many words a run that begins with `word` should have."""
    drawn = (fold(run_bits, np.uint64(word)) >> np.uint64(11)) * 2.0**-53
    length = 1
    while length <= len(longer) and drawn < longer[length - 1]:
        length += 1
    return length
