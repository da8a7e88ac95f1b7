"""Which sentences make a pair: nothing lost, nothing mislabelled, the right shares."""

from itertools import chain, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_cases import (
    SEQ_LEN,
    document_of,
    make_plan,
    make_sentences,
    rows,
    truncate_seq_pair,
    within_four_sigma,
)

from bert_jax.data.chunking import IS_NEXT, RANDOM_NEXT, excess
from bert_jax.data.pairs import Pairs
from bert_jax.errors import UserError

# Documents by the lengths of their sentences; some sentences are longer than a row.
DOCUMENTS = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=12), min_size=2, max_size=6)
SEEDS = st.integers(0, 2**32)
few = settings(max_examples=60, deadline=None, derandomize=True)


# What holds for every pair.


@few
@given(DOCUMENTS, SEEDS, st.sampled_from([5, 6, 16, 40]))
def test_both_segments_have_a_token_and_fit(
    documents: list[list[int]], seed: int, seq_len: int
) -> None:
    for a, a_end, b, b_end, _ in rows(make_plan(documents, seed=seed, seq_len=seq_len)):
        assert a < a_end
        assert b < b_end
        assert (a_end - a) + (b_end - b) <= seq_len - 3


@few
@given(DOCUMENTS, SEEDS)
def test_no_segment_crosses_documents_and_labels_are_true(
    documents: list[list[int]], seed: int
) -> None:
    owner = document_of(documents)
    for a, a_end, b, b_end, label in rows(make_plan(documents, seed=seed)):
        assert len(set(owner[a:a_end])) == len(set(owner[b:b_end])) == 1
        assert (owner[a] == owner[b]) == (label == IS_NEXT)
        assert label in (IS_NEXT, RANDOM_NEXT)
        assert label == RANDOM_NEXT or a_end <= b


@few
@given(DOCUMENTS, SEEDS)
def test_before_truncation_segments_are_whole_sentences_and_true_ones_touch(
    documents: list[list[int]], seed: int
) -> None:
    borders = set(make_sentences(documents).offsets.tolist())
    for a, a_end, b, b_end, label in rows(make_plan(documents, seed=seed, cut=False)):
        assert {a, a_end, b, b_end} <= borders
        assert label == RANDOM_NEXT or b == a_end


@few
@given(DOCUMENTS, SEEDS)
def test_first_and_true_second_segments_tile_every_document(
    documents: list[list[int]], seed: int
) -> None:
    """No sentence is lost or used twice: the true second ones that were replaced come again."""
    end = 0
    for a, a_end, _, b_end, label in rows(make_plan(documents, seed=seed, cut=False)):
        assert a == end
        end = b_end if label == IS_NEXT else a_end
    assert end == sum(chain(*documents))


@few
@given(DOCUMENTS, SEEDS)
def test_segments_take_sentences_until_the_row_is_full(
    documents: list[list[int]], seed: int
) -> None:
    """Neither one too few, unless the document ends, nor one too many."""
    sentences = make_sentences(documents)
    offsets, last_of = sentences.offsets.tolist(), sentences.offsets[sentences.documents].tolist()
    target = SEQ_LEN - 3
    for a, a_end, b, b_end, _ in rows(
        make_plan(documents, seed=seed, cut=False, short_seq_prob=0.0)
    ):
        total = (a_end - a) + (b_end - b)
        last_sentence = b_end - offsets[offsets.index(b_end) - 1]
        assert total >= target or b_end in last_of
        assert total - last_sentence < target or b_end - b == last_sentence


@pytest.mark.parametrize("max_tokens", [2, 3, 7, 13, 30, 60])
def test_excess_is_where_the_literal_truncation_ends(max_tokens: int) -> None:
    pairs = np.array(list(product(range(1, 31), repeat=2)))
    cut_a, cut_b = excess(pairs[:, 0], pairs[:, 1], max_tokens)
    left = np.stack([pairs[:, 0] - cut_a, pairs[:, 1] - cut_b], axis=1)
    assert left.tolist() == [list(truncate_seq_pair(a, b, max_tokens)) for a, b in pairs.tolist()]


@few
@given(DOCUMENTS, SEEDS)
def test_truncation_leaves_a_part_of_each_segment(documents: list[list[int]], seed: int) -> None:
    cut, whole = (rows(make_plan(documents, seed=seed, cut=cut)) for cut in (True, False))
    for (a, a_end, b, b_end, label), (all_a, all_a_end, all_b, all_b_end, same) in zip(
        cut, whole, strict=True
    ):
        assert all_a <= a < a_end <= all_a_end
        assert all_b <= b < b_end <= all_b_end
        assert (a_end - a, b_end - b) == truncate_seq_pair(
            all_a_end - all_a, all_b_end - all_b, SEQ_LEN - 3
        )
        assert label == same


def test_tokens_are_cut_from_either_end_of_either_segment() -> None:
    """Two long sentences a document: 50 tokens cut to 6 or 7, front and back by fair coins."""
    documents = [[50, 50]] * 1000
    cut, whole = (
        make_plan(documents, cut=cut, short_seq_prob=0.0, seq_len=100) for cut in (True, False)
    )
    for segment in ("a", "b"):
        front = getattr(cut, f"{segment}_start") - getattr(whole, f"{segment}_start")
        lost = getattr(whole, f"{segment}_length") - getattr(cut, f"{segment}_length")
        assert lost.sum() > 1000
        assert within_four_sigma(front.sum(), lost.sum(), 0.5)
    # Both segments of a pair toss coins of their own.
    fronts = [
        getattr(cut, f"{segment}_start") - getattr(whole, f"{segment}_start") for segment in "ab"
    ]
    assert abs(np.corrcoef(*fronts)[0, 1]) < 4 / np.sqrt(len(cut))


# Which documents.


def test_only_the_given_documents_are_used() -> None:
    """Text that is held out never comes in as a random second segment."""
    documents = [[3] * 10] * 8
    owner = document_of(documents)
    used = {
        owner[start]
        for epoch in range(20)
        for a, _, b, _, _ in rows(make_plan(documents, use=[1, 2, 5], epoch=epoch))
        for start in (a, b)
    }
    assert used == {1, 2, 5}


def test_one_document_has_no_random_second_segment() -> None:
    for use, documents in ([0], [[3] * 50]), ([1], [[3] * 10, [3] * 50, [3] * 10]):
        with pytest.raises(UserError, match=r"one document.*--config.pairs.nsp=False"):
            make_plan(documents, use=use)
        assert len(make_plan(documents, use=use, nsp=False)) >= 10  # 150 tokens, 14 a row


def test_no_document_gives_no_pair() -> None:
    documents: list[list[int]] = [[3, 3]]
    plan = Pairs(seq_len=SEQ_LEN).plan(make_sentences(documents), np.arange(0), seed=0, epoch=0)
    assert len(plan) == 0


def test_a_sentence_is_next_and_one_of_another_document_is_not() -> None:
    """Specification 2.7, its four sentences in their documents, over forty epochs."""
    documents = [
        ["She cooked pasta", "It was delicious"],
        ["Turn the radio on"],
        ["She bought a new hat"],
    ]
    lengths = [[len(sentence.split()) for sentence in document] for document in documents]
    words = " ".join(chain(*documents)).split()
    seen = {
        (" ".join(words[a:a_end]), " ".join(words[b:b_end]), label)
        for epoch in range(40)
        for a, a_end, b, b_end, label in rows(make_plan(lengths, epoch=epoch, short_seq_prob=0.0))
    }
    assert ("She cooked pasta", "It was delicious", IS_NEXT) in seen
    assert ("Turn the radio on", "She bought a new hat", RANDOM_NEXT) in seen
    assert ("She cooked pasta", "It was delicious", RANDOM_NEXT) not in seen
    assert [pair[:2] for pair in seen if pair[2] == IS_NEXT] == [
        ("She cooked pasta", "It was delicious")
    ]


# One segment.


@few
@given(DOCUMENTS, SEEDS)
def test_without_nsp_rows_are_as_many_whole_sentences_as_fit(
    documents: list[list[int]], seed: int
) -> None:
    """And a sentence too long for a row makes several, so that no part of it is never seen."""
    sentences = make_sentences(documents)
    borders, document_ends = sentences.offsets.tolist(), sentences.offsets[sentences.documents]
    fits = SEQ_LEN - 2
    end = 0
    for a, a_end, _, _, _ in rows(make_plan(documents, nsp=False, seed=seed, short_seq_prob=0.0)):
        assert a == end  # tile: nothing lost, nothing twice
        end = a_end
        assert 0 < a_end - a <= fits
        sentence = max(border for border in borders if border <= a)
        following = min(border for border in borders if border > a)
        if following - sentence > fits:
            assert a_end == min(a + fits, following)
        else:
            assert a in borders
            assert a_end in borders
            after = [border for border in borders if border > a_end][:1]
            assert a_end in document_ends or after[0] - a > fits
    assert end == sum(chain(*documents))


@few
@given(DOCUMENTS, SEEDS)
def test_without_nsp_short_rows_are_whole_sentences_too(
    documents: list[list[int]], seed: int
) -> None:
    borders = set(make_sentences(documents).offsets.tolist())
    end = 0
    for a, a_end, _, _, _ in rows(make_plan(documents, nsp=False, seed=seed, short_seq_prob=1.0)):
        assert a == end
        end = a_end
        sentence = max(border for border in borders if border <= a)
        following = min(border for border in borders if border > a)
        assert following - sentence > SEQ_LEN - 2 or {a, a_end} <= borders
    assert end == sum(chain(*documents))


def test_without_nsp_there_is_no_second_segment() -> None:
    plan = make_plan([[3] * 50, [2] * 50], nsp=False)
    assert (plan.b_length == 0).all()
    assert (plan.label == 0).all()


# Randomness and its keys.


def test_a_plan_is_a_pure_function_of_seed_and_epoch() -> None:
    documents = [[3] * 30, [2] * 30]
    plans = {
        (seed, epoch): rows(make_plan(documents, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    for (seed, epoch), plan in plans.items():
        assert rows(make_plan(documents, seed=seed, epoch=epoch)) == plan
    assert len(set(map(tuple, plans.values()))) == 4


@pytest.mark.parametrize("nsp", [True, False])
def test_the_number_of_cores_changes_nothing(nsp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [[3, 9, 4, 2, 7] * (n % 5) + [1 + 40 * (n % 3)] for n in range(30)]
    plans = []
    for cores in (1, 2, 7, 100):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        plans.append(rows(make_plan(documents, nsp=nsp)))
    assert plans[0]
    assert plans == plans[:1] * 4


def test_a_plan_never_changes() -> None:
    assert rows(make_plan([[3, 9, 4, 2, 7], [30], [5, 5, 5]], seed=1, epoch=2)) == [
        (0, 3, 32, 42, RANDOM_NEXT),
        (3, 12, 12, 16, IS_NEXT),
        (16, 18, 18, 25, IS_NEXT),
        (36, 46, 0, 3, RANDOM_NEXT),
        (57, 65, 65, 70, IS_NEXT),
    ]
    short = make_plan([[1] * 4, [1] * 12], seed=1, short_seq_prob=1.0)
    assert rows(short) == [
        (0, 2, 2, 4, IS_NEXT),
        (4, 7, 1, 4, RANDOM_NEXT),
        (7, 9, 9, 14, IS_NEXT),
        (14, 15, 15, 16, IS_NEXT),
    ]


@pytest.mark.parametrize("seq_len", [-1, 0, 4])
def test_a_row_too_short_for_a_pair_is_refused(seq_len: int) -> None:
    with pytest.raises(UserError, match=f"pairs.seq_len is {seq_len}.*at least 5"):
        Pairs(seq_len=seq_len)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"pairs\.short_seq_prob"):
        Pairs(seq_len=128, short_seq_prob=share)
