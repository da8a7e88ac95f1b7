"""Sentence-order prediction: segments that touch, half of them exchanged, nothing lost."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_cases import (
    document_of,
    make_plan,
    make_sentences,
    rows,
    truncate_seq_pair,
    within_four_sigma,
)

from bert_jax.data.chunking import IS_NEXT, SWAPPED
from bert_jax.data.pairs import Pairs
from bert_jax.errors import UserError

# Documents by the lengths of their sentences; some sentences are longer than a row.
DOCUMENTS = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=12), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**32)
few = settings(max_examples=60, deadline=None, derandomize=True)


def in_order(row: tuple[int, int, int, int, int]) -> tuple[int, int, int, int]:
    """(start, end) of what comes first in the text, then of what comes second."""
    a, a_end, b, b_end, label = row
    return (a, a_end, b, b_end) if label == IS_NEXT else (b, b_end, a, a_end)


@few
@given(DOCUMENTS, SEEDS)
def test_every_token_is_in_one_chunk_before_truncation(
    documents: list[list[int]], seed: int
) -> None:
    """But for single tokens that are a chunk alone."""
    sentences = make_sentences(documents)
    borders = set(sentences.offsets.tolist())
    end = 0
    for row in rows(make_plan(documents, seed=seed, negatives="swapped", cut=False)):
        start, middle, same_middle, following = in_order(row)
        assert start < middle == same_middle < following
        assert set(range(end, start)) <= {s for s in borders if s + 1 in borders}
        assert {start, following} <= borders
        is_one_sentence = not any(start < border < following for border in borders)
        assert middle in borders or is_one_sentence
        end = following
    left_over = set(range(end, sum(chain(*documents))))
    assert left_over <= {s for s in borders if s + 1 in borders}


@few
@given(DOCUMENTS, SEEDS, st.sampled_from([5, 6, 16, 40]))
def test_both_segments_are_of_one_document_and_fit(
    documents: list[list[int]], seed: int, seq_len: int
) -> None:
    owner = document_of(documents)
    cut, whole = (
        rows(make_plan(documents, seed=seed, negatives="swapped", seq_len=seq_len, cut=cut))
        for cut in (True, False)
    )
    for (a, a_end, b, b_end, label), (all_a, all_a_end, all_b, all_b_end, same) in zip(
        cut, whole, strict=True
    ):
        assert len({owner[place] for place in (a, a_end - 1, b, b_end - 1)}) == 1
        assert label == same
        assert label in (IS_NEXT, SWAPPED)
        assert (a < b) == (label == IS_NEXT)
        assert all_a <= a < a_end <= all_a_end
        assert all_b <= b < b_end <= all_b_end
        lengths = truncate_seq_pair(all_a_end - all_a, all_b_end - all_b, seq_len - 3)
        assert (a_end - a, b_end - b) == lengths


@pytest.mark.parametrize("document", [[25] * 5, [125], [4, 3], [2]], ids=str)
def test_half_are_exchanged(document: list[int]) -> None:
    num = 5000
    plan = make_plan([document] * num, negatives="swapped", seq_len=128, short_seq_prob=0.0)
    assert len(plan) == num
    assert within_four_sigma((plan.label == SWAPPED).sum(), num, 0.5)
    assert within_four_sigma((plan.a_start > plan.b_start).sum(), num, 0.5)


def test_the_border_is_uniform_between_sentences() -> None:
    num = 5000
    plan = make_plan([[25] * 5] * num, negatives="swapped", seq_len=128, short_seq_prob=0.0)
    counts = np.bincount(plan.a_length // 25, minlength=5)
    for sentences in range(1, 5):
        assert within_four_sigma(counts[sentences], num, 1 / 4)


def test_the_border_is_uniform_inside_a_single_sentence() -> None:
    num = 5000
    plan = make_plan([[8]] * num, negatives="swapped", short_seq_prob=0.0)
    assert (plan.a_length + plan.b_length == 8).all()
    for length in range(1, 8):
        assert within_four_sigma((plan.a_length == length).sum(), num, 1 / 7)


def test_one_document_is_enough() -> None:
    plan = make_plan([[3] * 50], negatives="swapped", short_seq_prob=0.0)
    # Five sentences make 15 tokens, of which 13 fit.
    assert len(plan) == 10
    assert set((plan.a_length + plan.b_length).tolist()) == {13}
    assert len(make_plan([[1, 1]], negatives="swapped")) == 1


def test_a_single_token_gives_no_example() -> None:
    assert rows(make_plan([[1], [1]], negatives="swapped")) == []
    (row,) = rows(make_plan([[1], [2], [1]], negatives="swapped"))
    assert sorted(row[:4]) == [1, 2, 2, 3]


def test_a_plan_is_a_pure_function_of_seed_and_epoch() -> None:
    documents = [[3] * 30, [40], [2] * 30]
    plans = {
        (seed, epoch): rows(make_plan(documents, negatives="swapped", seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    for (seed, epoch), plan in plans.items():
        again = make_plan(documents, negatives="swapped", seed=seed, epoch=epoch)
        assert rows(again) == plan
    assert len(set(map(tuple, plans.values()))) == 4


def test_a_plan_never_changes() -> None:
    plan = make_plan([[3, 9, 4, 2, 7], [30], [5, 5, 5]], seed=1, epoch=2, negatives="swapped")
    assert rows(plan) == [
        (5, 15, 0, 3, SWAPPED),
        (16, 18, 18, 25, IS_NEXT),
        (47, 54, 30, 36, SWAPPED),
        (57, 65, 65, 70, IS_NEXT),
    ]


def test_the_number_of_cores_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [[3, 9, 4, 2, 7] * (n % 5) + [1 + 40 * (n % 3)] for n in range(30)]
    plans = []
    for cores in (1, 2, 7, 100):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        plans.append(rows(make_plan(documents, negatives="swapped")))
    assert plans[0]
    assert plans == plans[:1] * 4


def test_negatives_need_pairs() -> None:
    with pytest.raises(UserError, match=r"pairs\.negatives=swapped needs .* pairs\.nsp"):
        Pairs(seq_len=16, nsp=False, negatives="swapped")
