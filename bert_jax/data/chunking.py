"""Cutting documents into chunks of whole sentences: the compiled loops of `bert_jax.data.pairs`.

`pair_chunks`, `swapped_chunks` and `single_chunks` write examples into arrays that
the caller made large enough, and return how many there are. Every draw is keyed by
the first sentence of its chunk.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from bert_jax.data.keyed_random import draw, fold

# As in Google's run_pretraining.py L288, Hugging Face's and ALBERT's.
IS_NEXT, RANDOM_NEXT, SWAPPED = 0, 1, 1

# The draws of one chunk.
SPLIT, NEXT, DOCUMENT, SENTENCE, SHORT, SHORT_LENGTH, CUT_A, CUT_B = range(8)


@njit(cache=True, nogil=True)
@no_type_check
def pair_chunks(offsets, firsts, lasts, targets, epoch_bits, numbers, rows):
    """Chunks in two segments, not cut to fit yet.

    Args:
      offsets: first token of each sentence.
      firsts: first sentence of each document.
      lasts: the sentence after its last.
      targets: how many tokens a chunk of it should have.
      epoch_bits: `random_bits` of what decides the epoch.
      numbers: the first document to cut, and the one after the last.
      rows: the arrays of a `Plan`, and the keys of the examples.
    """
    a_start, a_length, b_start, b_length, label, keys = rows
    row = 0
    for number in range(numbers[0], numbers[1]):
        sentence, target = firsts[number], targets[number]
        while sentence < lasts[number]:
            key = fold(epoch_bits, np.uint64(sentence))
            start = offsets[sentence]
            end = _first_at_least(offsets, sentence + 1, lasts[number], start + target)
            a_end = _first_of_b(sentence, end, key)
            a_start[row], a_length[row] = start, offsets[a_end] - start
            if end == a_end or draw(key, NEXT) < 0.5:
                # Uniform over the other documents, by skipping this one.
                other = int(draw(key, DOCUMENT) * (len(firsts) - 1))
                other += other >= number
                b_first, b_last = firsts[other], lasts[other]
                b = b_first + int(draw(key, SENTENCE) * (b_last - b_first))
                wanted = max(1, target - a_length[row])
                b_end = _first_at_least(offsets, b + 1, b_last, offsets[b] + wanted)
                label[row] = RANDOM_NEXT
                sentence = a_end  # the sentences that B would have had are used again
            else:
                b, b_end = a_end, end
                label[row] = IS_NEXT
                sentence = end
            b_start[row], b_length[row] = offsets[b], offsets[b_end] - offsets[b]
            keys[row] = key
            row += 1
    return row


@njit(cache=True, nogil=True)
@no_type_check
def swapped_chunks(offsets, firsts, lasts, targets, epoch_bits, numbers, rows):
    """Chunks in two segments that follow each other, half of them exchanged; not cut to fit yet.

    A sentence that is a chunk alone is parted anywhere inside; if it is a single
    token, it gives no example. Arguments as for `pair_chunks`.
    """
    a_start, a_length, b_start, b_length, label, keys = rows
    row = 0
    for number in range(numbers[0], numbers[1]):
        sentence, target = firsts[number], targets[number]
        while sentence < lasts[number]:
            key = fold(epoch_bits, np.uint64(sentence))
            start = offsets[sentence]
            end = _first_at_least(offsets, sentence + 1, lasts[number], start + target)
            if end > sentence + 1:
                middle = offsets[_first_of_b(sentence, end, key)]
            else:
                middle = start + 1 + int(draw(key, SPLIT) * (offsets[end] - start - 1))
            first, second = (start, middle - start), (middle, offsets[end] - middle)
            sentence = end
            if second[1] == 0:
                continue
            label[row] = SWAPPED if draw(key, NEXT) < 0.5 else IS_NEXT
            if label[row] == SWAPPED:
                first, second = second, first
            a_start[row], a_length[row] = first
            b_start[row], b_length[row] = second
            keys[row] = key
            row += 1
    return row


@njit(cache=True)
@no_type_check
def _first_of_b(sentence, end, key):
    """Where B begins: A takes at least one sentence and leaves one, if there are two."""
    return sentence + 1 + int(draw(key, SPLIT) * max(1, end - sentence - 1))


@njit(cache=True)
@no_type_check
def _first_at_least(offsets, sentence, last, token):
    """The first sentence from `sentence` on that begins at `token` or later, at most `last`."""
    while sentence < last and offsets[sentence] < token:
        sentence += 1
    return sentence


@njit(cache=True, nogil=True)
@no_type_check
def single_chunks(max_tokens, offsets, firsts, lasts, targets, epoch_bits, numbers, rows):
    """Chunks in one segment: as many whole sentences as fit the target, at least one.

    One that has more than `max_tokens` is cut in pieces of as many. The other
    arguments are as for `pair_chunks`.
    """
    a_start, a_length, b_start, b_length, label, keys = rows
    row = 0
    for number in range(numbers[0], numbers[1]):
        sentence, target = firsts[number], targets[number]
        while sentence < lasts[number]:
            key = fold(epoch_bits, np.uint64(sentence))
            end = _first_at_least(
                offsets, sentence + 1, lasts[number], offsets[sentence] + target + 1
            )
            if offsets[end] > offsets[sentence] + target and end > sentence + 1:
                end -= 1
            # A sentence too long for a row makes several.
            for piece in range(offsets[sentence], offsets[end], max_tokens):
                a_start[row] = b_start[row] = piece
                a_length[row] = min(max_tokens, offsets[end] - piece)
                b_length[row] = 0
                label[row] = IS_NEXT
                keys[row] = key
                row += 1
            sentence = end
    return row


@njit(cache=True)
@no_type_check
def excess(a_lengths, b_lengths, max_tokens):
    """How many tokens A and B lose to fit together into `max_tokens`, for each example.

    `truncate_seq_pair` (google-research/bert, create_pretraining_data.py L418) takes
    one token at a time from the longer segment, from B if they are equal; this is
    where that ends.
    """
    cut_a, cut_b = np.zeros_like(a_lengths), np.zeros_like(b_lengths)
    for row in range(len(a_lengths)):
        a, b = a_lengths[row], b_lengths[row]
        too_many = max(a + b - max_tokens, 0)
        uneven = min(too_many, abs(a - b))
        cut_a[row] = (uneven if a > b else 0) + (too_many - uneven) // 2
        cut_b[row] = too_many - cut_a[row]
    return cut_a, cut_b


@njit(cache=True)
@no_type_check
def front_cuts(lost, keys, kind):
    """How many of the tokens that a segment loses are taken off its front, for each example.

    A fair coin decides for each token, here a bit of a random word, so the count
    is exactly binomial.
    """
    counts = np.zeros_like(lost)
    for row in range(len(lost)):
        bits_of_kind = fold(fold(np.uint64(0), keys[row]), np.uint64(kind))
        for word in range((lost[row] + 63) // 64):
            unused = max(64 - (lost[row] - 64 * word), 0)
            bits = fold(bits_of_kind, np.uint64(word)) >> np.uint64(unused)
            while bits > 0:
                bits &= bits - np.uint64(1)  # without its lowest one
                counts[row] += 1
    return counts
