"""What is counted: exactly in batches made by hand, within 4 sigma in those of a corpus."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from batch_cases import make_batches, make_documents
from pair_cases import within_four_sigma

from bert_jax.data.batches import Batch, Layout
from bert_jax.data.statistics import Statistics, measure

CLS, SEP, MASK = 2, 3, 4

# [CLS] u ##v ##w x [SEP] ##y z [SEP], and a row of a single word.
IDS = np.array([[CLS, 10, 11, 12, 13, SEP, 14, 15, SEP, 0], [CLS, 16, SEP, *[0] * 7]])
LAYOUT = Layout(
    ids=IDS,
    text=IDS >= 10,
    continues=np.isin(IDS, [11, 12, 14]),
    segment_ids=np.array([[0] * 6 + [1] * 3 + [0], [0] * 10]),
    lengths=np.array([9, 3]),
)


def make_batch() -> Batch:
    """Hidden: ##v and ##w, ##y kept, z by another token; and the single word."""
    shown = IDS.copy()
    shown[0, [2, 3, 7]] = MASK, MASK, 99
    shown[1, 1] = MASK
    return {
        "input_ids": shown,
        "lengths": LAYOUT.lengths,
        "mlm_positions": np.array([[2, 3, 6, 7], [1, 0, 0, 0]]),
        "mlm_ids": np.array([[11, 12, 14, 15], [16, 0, 0, 0]]),
        "mlm_weights": np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.float32),
        "nsp_labels": np.array([1, 0]),
    }


def test_counts_by_hand() -> None:
    seen = Statistics(lengths=np.zeros(11, np.int64))
    for _ in range(2):
        seen.add(make_batch(), LAYOUT, budget=np.array([5, 2]), mask_id=MASK)
    figures = dataclasses.asdict(seen)
    assert figures.pop("lengths").tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0]
    assert figures == {
        "examples": 4,
        "random_next": 2,
        "room": 2 * (5 + 1),  # the second row has one token of text
        "predictions": 2 * 5,
        "cut": 2 * 1,  # a budget of 5 in 4 places
        "masked": 2 * 3,
        "replaced": 2 * 1,
        "kept": 2 * 1,
        "text": 2 * 7,
        "continuing": 2 * 2,  # ##y begins its segment
        "continuing_predictions": 2 * 2,
        "words_hidden": 2 * 4,  # u##v##w, ##y, z and the single word
        "words_split": 2 * 1,
    }
    assert (seen.rows, seen.tokens) == (4, 24)
    assert seen.padding_share == pytest.approx(1 - 24 / 40)


@pytest.mark.parametrize("whole_word", [False, True])
def test_shares_of_a_corpus(tmp_path: Path, whole_word: bool) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents(800), whole_word=whole_word)
    seen = measure(batches, num_tokens=200_000)
    assert 200_000 <= seen.rows * 24 < 200_000 + 512 * 24
    assert seen.masked + seen.replaced + seen.kept == seen.predictions
    assert within_four_sigma(seen.masked, seen.predictions, 0.8)
    assert within_four_sigma(seen.replaced, seen.predictions, 0.1 * (1 - 1 / 68))
    assert seen.cut == 0
    if whole_word:
        assert seen.words_split == 0
        assert 0.9 * seen.room < seen.predictions < seen.room
    else:
        assert seen.predictions == seen.room
        share = seen.continuing / seen.text
        assert within_four_sigma(seen.continuing_predictions, seen.predictions, share)
    lengths = [batches.batch(step)["lengths"] for step in range(seen.rows // 8)]
    assert seen.tokens == np.sum(lengths)


def test_no_more_than_four_epochs_of_a_small_corpus_are_counted(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents())
    assert measure(batches, num_tokens=1 << 20).rows == 4 * batches.num_examples
    assert batches.batch_size == 8


def test_without_pairs_nothing_is_random(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents(), nsp=False)
    assert measure(batches, num_tokens=1000).random_next == 0
