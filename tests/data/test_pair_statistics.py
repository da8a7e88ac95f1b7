"""The shares and distributions of pairs, against Google's procedure and 4 sigma."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from pair_cases import (
    document_of,
    make_plan,
    truncate_seq_pair,
    within_four_sigma,
)

from bert_jax.data.chunking import IS_NEXT, RANDOM_NEXT, front_cuts
from bert_jax.data.keyed_random import random_bits

# Coins.


@pytest.mark.parametrize("tosses", [1, 2, 63, 64, 65, 200])
def test_front_cuts_are_binomial(tosses: int) -> None:
    num = 20_000
    count = front_cuts(np.full(num, tosses), random_bits(0, np.arange(num)), 6)
    assert count.min() >= 0
    assert count.max() <= tosses
    assert within_four_sigma(count.sum(), num * tosses, 0.5)
    variance = tosses / 4
    # Fourth central moment of a fair binomial, for the spread of the measured variance.
    spread = np.sqrt((3 * variance**2 - variance / 2 - variance**2) / num)
    assert abs(((count - tosses / 2) ** 2).mean() - variance) <= 4 * spread


def test_front_cuts_of_a_row_do_not_depend_on_the_others() -> None:
    tosses = np.array([0, 1, 5, 64, 100, 300])
    keys = random_bits(0, np.arange(6))
    alone = [int(front_cuts(tosses[[row]], keys[[row]], 6)[0]) for row in range(6)]
    assert front_cuts(tosses, keys, 6).tolist() == alone
    assert alone[0] == 0


# Shares.


def google_pairs(
    documents: Sequence[Sequence[int]], rng: random.Random, max_tokens: int
) -> list[list[tuple[int, int, int]]]:
    """(A length, B length, label) of each document's pairs, from lengths of sentences only.

    `create_instances_from_document`, line by line (create_pretraining_data.py L223-333).
    """
    pairs: list[list[tuple[int, int, int]]] = [[] for _ in documents]
    for number, document in enumerate(documents):
        target = max_tokens
        if rng.random() < 0.1:
            target = rng.randint(2, max_tokens)
        chunk: list[int] = []
        i = 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(chunk) >= target:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a_length = sum(chunk[:a_end])
                if len(chunk) == 1 or rng.random() < 0.5:
                    other = number
                    while other == number:
                        other = rng.randint(0, len(documents) - 1)
                    b_length = 0
                    for sentence in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
                        b_length += sentence
                        if b_length >= target - a_length:
                            break
                    i -= len(chunk) - a_end
                    label = RANDOM_NEXT
                else:
                    b_length = sum(chunk[a_end:])
                    label = IS_NEXT
                pairs[number].append((*truncate_seq_pair(a_length, b_length, max_tokens), label))
                chunk = []
            i += 1
    return pairs


def test_pairs_are_google_s_and_56_percent_of_them_random() -> None:
    """Number, lengths and labels, over documents of 20 sentences of 5 to 45 tokens.

    More than half are random since a sentence that fills its chunk alone always is.
    """
    num = 4000
    documents = np.random.default_rng(0).integers(5, 46, (num, 20)).tolist()
    plan = make_plan(documents, seq_len=128)
    owner = np.array(document_of(documents))[plan.a_start]
    columns = [np.ones(len(plan)), plan.label, plan.a_length, plan.b_length]
    ours = np.stack([np.bincount(owner, weights=column) for column in columns], axis=1)
    theirs = np.array(
        [
            [len(pairs), *(sum(pair[column] for pair in pairs) for column in (2, 0, 1))]
            for pairs in google_pairs(documents, random.Random(0), 128 - 3)
        ]
    )
    # Sums a document; documents are independent, so the spread of a mean is known from them.
    spread = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / num)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4 * spread).all()

    assert 0.55 < plan.label.mean() < 0.58


def test_half_are_random_where_a_chunk_has_several_sentences() -> None:
    documents = [[25] * 20] * 4000
    plan = make_plan(documents, seq_len=128, short_seq_prob=0.0, cut=False)
    is_last = plan.a_start % (25 * 20) == 25 * 19
    assert (plan.label[is_last] == RANDOM_NEXT).all()
    labels = plan.label[~is_last]
    assert within_four_sigma((labels == RANDOM_NEXT).sum(), len(labels), 0.5)


def test_the_border_between_segments_is_uniform() -> None:
    plan = make_plan([[25] * 5] * 5000, seq_len=128, short_seq_prob=0.0)
    first = plan.a_start % 125 == 0
    counts = np.bincount(plan.a_length[first] // 25, minlength=5)
    assert counts[0] == 0
    for sentences in range(1, 5):
        assert within_four_sigma(counts[sentences], 5000, 1 / 4)


def test_a_random_segment_starts_anywhere_in_any_other_document() -> None:
    """Each document is equally likely, whatever its length, then each of its sentences."""
    documents = [[1] * 3000, [1] * 4, [1] * 8]
    plan = make_plan(documents, seq_len=6, short_seq_prob=0.0)
    starts = plan.b_start[(plan.a_start < 3000) & (plan.label == RANDOM_NEXT)]
    for document, (first, length) in enumerate([(3000, 4), (3004, 8)]):
        for place in range(length):
            count = (starts == first + place).sum()
            assert within_four_sigma(count, len(starts), 0.5 / length), (document, place)


def drawn_lengths(short_seq_prob: float, num: int = 2000) -> np.ndarray:
    """What each of many documents of 200 one-token sentences is cut to, from its true pairs."""
    longest = 20 - 3
    plan = make_plan([[1] * 200] * num, seq_len=20, short_seq_prob=short_seq_prob)
    inside = (plan.label == IS_NEXT) & (plan.a_start % 200 < 200 - longest)
    drawn = {
        (start // 200, length)
        for start, length in zip(
            plan.a_start[inside].tolist(),
            (plan.a_length + plan.b_length)[inside].tolist(),
            strict=True,
        )
    }
    assert len(drawn) == num  # one length a document
    return np.array([length for _, length in drawn])


def test_a_tenth_of_the_documents_is_cut_short() -> None:
    lengths = drawn_lengths(0.1)
    # The longest is one of the 16 lengths that are drawn from.
    assert within_four_sigma((lengths < 17).sum(), len(lengths), 0.1 * 15 / 16)


def test_short_documents_are_cut_to_any_length_from_2_to_the_longest() -> None:
    counts = np.bincount(drawn_lengths(1.0), minlength=18)
    assert counts[:2].sum() == 0
    for count in counts[2:]:
        assert within_four_sigma(count, counts.sum(), 1 / 16)


def test_no_document_is_cut_short_if_none_should_be() -> None:
    plan = make_plan([[1] * 200] * 20, seq_len=20, short_seq_prob=0.0)
    inside = (plan.label == IS_NEXT) & (plan.a_start % 200 < 183)
    assert set((plan.a_length + plan.b_length)[inside].tolist()) == {17}
