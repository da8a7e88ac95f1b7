"""Rows of several examples: which share one, how they lie in it, and that no example changes."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_cases import (
    assert_same,
    concatenated,
    make_batches,
    make_documents,
    make_tokenizer,
    unmasked,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax import check
from bert_jax.console import Console
from bert_jax.data.batches import Batch, Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.keyed_random import Stream
from bert_jax.data.masking import Masking
from bert_jax.data.packing import fill_rows
from bert_jax.data.pairs import Pairs
from bert_jax.data.readable import examples
from bert_jax.data.statistics import measure
from bert_jax.errors import UserError

SEQ_LEN, MOST = 32, 4  # where not given

LENGTHS = st.lists(st.integers(3, SEQ_LEN), min_size=1, max_size=60)


def packed(lengths: list[int], *, most: int = MOST, epoch: int = 0) -> list[list[int]]:
    """The places of the examples of each row."""
    rows = fill_rows(
        np.array(lengths),
        seq_len=SEQ_LEN,
        examples_per_row=most,
        keys=(0, Stream.ROWS, epoch),
    )
    whose, places = rows.members(np.arange(len(rows)))
    return [places[whose == row].tolist() for row in range(len(rows))]


def best_fit(lengths: list[int], most: int) -> list[list[int]]:
    """By looking at every row: the fullest with room; of equal ones that touched last."""
    rows: list[list[int]] = []
    for place, length in enumerate(lengths):
        room = {
            number: SEQ_LEN - sum(lengths[other] for other in row)
            for number, row in enumerate(rows)
            if len(row) < most
        }
        fitting = [number for number in room if room[number] >= length]
        if not fitting:
            rows.append([place])
            continue
        rows[min(fitting, key=lambda number: (room[number], -rows[number][-1]))].append(place)
    return rows


def next_fit(lengths: list[int], most: int) -> int:
    """How many rows it takes if only the last one is open."""
    rows: list[list[int]] = [[]]
    for length in lengths:
        if len(rows[-1]) == most or sum(rows[-1]) + length > SEQ_LEN:
            rows.append([])
        rows[-1].append(length)
    return len(rows)


# Which examples share a row.


@settings(max_examples=200, deadline=None, derandomize=True)
@given(LENGTHS, st.integers(1, 12))
def test_rows_are_filled_by_best_fit(lengths: list[int], most: int) -> None:
    rows = packed(lengths, most=most)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    assert all(len(row) <= most for row in rows)
    assert all(sum(lengths[place] for place in row) <= SEQ_LEN for row in rows)
    assert sorted(rows) == sorted(best_fit(lengths, most))
    assert packed(lengths, most=most) == rows


@pytest.mark.parametrize("most", [2, 4, 100])
def test_rows_are_fuller_than_by_next_fit(most: int) -> None:
    for seed in range(20):
        lengths = np.random.default_rng(seed).integers(3, SEQ_LEN + 1, 300).tolist()
        assert len(packed(lengths, most=most)) < next_fit(lengths, most)


def test_rows_come_in_a_random_order_of_each_epoch() -> None:
    """As they are opened, the last ones would be the emptiest."""
    lengths = np.random.default_rng(0).integers(12, SEQ_LEN + 1, 20_000).tolist()
    rows = packed(lengths, most=100)
    tokens = np.array([sum(lengths[place] for place in row) for row in rows])
    halves = np.array_split(tokens, 2)
    sigma = tokens.std() * np.sqrt(2 / (len(tokens) / 2))
    assert abs(halves[0].mean() - halves[1].mean()) < 4 * sigma
    firsts = [row[0] for row in rows]  # the row was opened by it
    assert abs(np.corrcoef(firsts, np.arange(len(rows)))[0, 1]) < 4 / np.sqrt(len(rows))
    other = packed(lengths, most=100, epoch=1)
    assert sorted(other) == sorted(rows)
    assert other != rows


def test_golden_rows_never_change() -> None:
    """The data order of every run with rows of several examples hangs on these."""
    rows = packed([20, 12, 9, 32, 3, 17, 8, 15, 4, 3])
    assert rows == [[6, 7, 8], [0, 1], [3], [2, 4, 5, 9]]


@pytest.mark.parametrize("most", [0, -1])
def test_a_row_holds_at_least_one(most: int) -> None:
    with pytest.raises(UserError, match=f"examples_per_row is {most}; it must be at least 1"):
        Pairs(seq_len=24, examples_per_row=most)


# Packed or not, an example is the same.

KINDS = [
    {},
    {"nsp": False},
    {"negatives": "swapped"},
    {"whole_word": True, "examples_per_row": 16},
    {"seq_len": 24, "examples_per_row": 2},  # two hardly fit
    {"seq_len": 9, "examples_per_row": 2},  # never
]


def make_packed(folder: Path, **options: Any) -> Batches:
    options = {"seq_len": 48, "examples_per_row": MOST, "short_seq_prob": 0.6} | options
    return make_batches(folder, make_documents(), **options)


def examples_of(batch: Batch) -> Iterator[tuple]:
    """Every example of a batch by itself: tokens, segments, what is hidden where, label."""
    num_rows = len(batch["input_ids"])
    lengths = batch["lengths"].reshape(num_rows, -1)
    labels = batch.get("nsp_labels", np.zeros_like(lengths)).reshape(lengths.shape)
    for row in range(num_rows):
        start = 0
        weights = batch["mlm_weights"][row]
        positions = batch["mlm_positions"][row]
        assert set(weights.tolist()) <= {0.0, 1.0}
        assert (np.diff(weights) <= 0).all()
        assert (np.diff(positions[weights > 0]) > 0).all()
        seen = 0
        for length, label in zip(lengths[row].tolist(), labels[row].tolist(), strict=True):
            span = slice(start, start + length)
            mine = (weights > 0) & (positions >= start) & (positions < start + length)
            if length:
                yield (
                    tuple(batch["input_ids"][row, span].tolist()),
                    tuple(batch["segment_ids"][row, span].tolist()),
                    tuple((positions[mine] - start).tolist()),
                    tuple(batch["mlm_ids"][row, mine].tolist()),
                    label,
                )
            else:
                assert label == 0
            seen += int(mine.sum())
            start += length
        assert seen == weights.sum()  # none outside of the examples


def whole_epoch(batches: Batches) -> Batch:
    return concatenated([batches.once(step) for step in range(batches.num_batches_once)])


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_epoch_has_the_same_examples_packed_or_not(tmp_path: Path, kind: dict) -> None:
    together = make_packed(tmp_path / "corpus", **kind)
    alone = make_packed(tmp_path / "corpus", **kind | {"examples_per_row": 1})
    found = Counter(examples_of(whole_epoch(together)))
    assert found == Counter(examples_of(whole_epoch(alone)))
    assert found.total() == together.num_examples == alone.num_examples == alone.num_rows
    if kind.get("seq_len") == 9:
        assert together.num_rows == together.num_examples
    else:
        assert together.num_rows < together.num_examples


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_packed_batch_has_the_shapes_and_types_of_the_contract(
    tmp_path: Path, kind: dict
) -> None:
    batches = make_packed(tmp_path / "corpus", **kind)
    tokenizer, most = batches.tokenizer, batches.pairs.examples_per_row
    num_places = batches.masking.max_predictions(batches.pairs.seq_len, most)
    whole = batches.batch(0)
    shapes = {name: (value.shape, value.dtype.name) for name, value in whole.items()}
    row, places = (8, batches.pairs.seq_len), (8, num_places)
    labels = {"nsp_labels": ((8, most), "int32")} if batches.pairs.nsp else {}
    assert shapes == {
        "input_ids": (row, "int32"),
        "segment_ids": (row, "int32"),
        "lengths": ((8, most), "int32"),
        "mlm_positions": (places, "int32"),
        "mlm_ids": (places, "int32"),
        "mlm_weights": (places, "float32"),
        **labels,
    }
    padding = np.arange(row[1]) >= whole["lengths"].sum(axis=1)[:, None]
    assert (whole["input_ids"][padding] == tokenizer.pad_id).all()
    assert not whole["segment_ids"][padding].any()
    for name in ("mlm_positions", "mlm_ids"):
        assert not whole[name][whole["mlm_weights"] == 0].any()
    for lengths, ids in zip(whole["lengths"].tolist(), unmasked(whole), strict=True):
        assert lengths == sorted(lengths, key=bool, reverse=True)  # none after a gap
        ends = np.cumsum([length for length in lengths if length])
        assert (ids[ends - 1] == tokenizer.sep_id).all()
        assert (ids[[0, *ends[:-1]]] == tokenizer.cls_id).all()


def test_rows_past_the_epoch_are_padding(tmp_path: Path) -> None:
    batches = make_packed(tmp_path / "corpus", batch_size=16)
    size = batches.num_rows
    assert size % 16
    stream = whole_epoch(batches)
    trained = concatenated([batches.batch(step) for step in range(batches.num_batches_once)])
    assert_same(
        {name: value[:size] for name, value in stream.items()},
        {name: value[:size] for name, value in trained.items()},
    )
    for name, value in stream.items():
        padding = batches.tokenizer.pad_id if name == "input_ids" else 0
        assert (value[size:] == padding).all(), name
    assert not batches.once(batches.num_batches_once + 3)["lengths"].any()


def test_masks_are_others_in_every_epoch_and_where_rows_come_again(tmp_path: Path) -> None:
    """All rows are full, so they would have the same places hidden, whatever their text."""
    folder = tmp_path / "corpus"
    options = {"nsp": False, "short_seq_prob": 0.0, "seq_len": 24, "examples_per_row": 2}
    batches = make_batches(folder, [["w1"] * 220] * 10, batch_size=10, **options)
    assert (batches.num_examples, batches.num_rows) == (100, 100)
    (source,) = batches.mixture.sources
    source.num_rows = 300  # as if the first epoch had been longer
    stream = concatenated([batches.batch(step) for step in range(60)])
    hidden = stream["mlm_positions"].reshape(6, 100, -1)
    texts = unmasked(stream).reshape(6, 100, -1)
    assert (texts[0] == texts[1]).all()  # the rows of the first epoch again
    for one, other in ((0, 1), (1, 2), (2, 3)):
        assert (hidden[one] == hidden[other]).all(axis=1).mean() < 0.1


def test_every_epoch_has_as_many_rows(tmp_path: Path) -> None:
    """The plans of a small corpus differ in length; no row is empty, none too long."""
    batches = make_packed(tmp_path / "corpus")
    lengths = [batches.batch(step)["lengths"] for step in range(5 * batches.num_batches_once)]
    assert all((part[:, 0] >= 5).all() for part in lengths)
    assert np.concatenate(lengths).sum(axis=1).max() <= 48
    (source,) = batches.mixture.sources
    assert len({source._num_rows(epoch) for epoch in range(5)}) > 1


# What a batch may depend on.


def test_rows_do_not_depend_on_the_hosts_nor_on_what_came_before(tmp_path: Path) -> None:
    batches = make_packed(tmp_path / "corpus")
    last = batches.num_batches_once - 1
    for step in (0, last, last + 1, 9 * last, 2):
        begun = make_packed(tmp_path / "corpus")  # as a run that resumes
        parts = [begun.batch(step, slice(first, first + 2)) for first in range(0, 8, 2)]
        assert_same(concatenated(parts), batches.batch(step))
    parts = [batches.once(last, slice(first, first + 4)) for first in (0, 4)]
    assert_same(concatenated(parts), batches.once(last))


def test_a_later_phase_goes_on_with_the_row_where_the_one_before_stopped(tmp_path: Path) -> None:
    eight = make_packed(tmp_path / "corpus")
    later = make_packed(tmp_path / "corpus", batch_size=12, first_step=5, first_example=40)
    assert_same(
        concatenated([eight.batch(step) for step in range(5, 11)]),
        concatenated([later.batch(step) for step in range(5, 9)]),
    )


def test_a_corpus_of_one_example(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    batches = make_batches(folder, [["I love Paris"]], nsp=False, examples_per_row=8)
    assert (batches.num_examples, batches.num_rows) == (1, 1)
    assert batches.batch(0)["lengths"].tolist() == [[5, *[0] * 7]] * 8


def test_a_mixture_deals_rows_and_each_is_of_one_source(tmp_path: Path) -> None:
    one = make_packed(tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus", make_tokenizer())
    mixed = Batches(
        corpus,
        make_tokenizer(),
        pairs=one.pairs,
        masking=Masking(),
        batch_size=64,
        seed=0,
        documents=[np.arange(4), np.arange(4, 12)],
        weights=[0.25, 0.75],
    )
    border = corpus.sentences.offsets[corpus.sentences.documents[4]]
    plan, keys, rows = mixed.mixture.look_up(np.arange(1024))
    assert len(np.unique(keys)) == len(rows) > 1024
    np.testing.assert_array_equal(np.unique(rows), np.arange(1024))
    of_first = plan.a_start < border
    assert len(np.unique(rows[of_first])) == 256
    assert not set(rows[of_first]) & set(rows[~of_first])
    first, second = mixed.mixture.sources
    assert mixed.mixture.epochs(1000) == [250 / first.num_rows, 750 / second.num_rows]
    mean = 0.25 * first.tokens_per_row + 0.75 * second.tokens_per_row
    assert mixed.mixture.tokens_per_row == pytest.approx(mean)
    assert_same(
        concatenated([mixed.batch(16, slice(0, 40)), mixed.batch(16, slice(40, 64))]),
        mixed.batch(16),
    )


# What is told of them.


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_padding_is_what_is_left_of_the_rows(tmp_path: Path, kind: dict) -> None:
    batches = make_packed(tmp_path / "corpus", **kind)
    tokens = whole_epoch(batches)["lengths"].sum()
    share = 1 - tokens / (batches.num_rows * batches.pairs.seq_len)
    assert batches.padding_share == pytest.approx(share)


def test_unmasked_is_what_tokens_were_hidden_of(tmp_path: Path) -> None:
    batches = make_packed(tmp_path / "corpus")
    batch, layout = batches.batch(3), batches.unmasked(3)
    np.testing.assert_array_equal(layout.ids, unmasked(batch))
    np.testing.assert_array_equal(layout.segment_ids, batch["segment_ids"])
    np.testing.assert_array_equal(layout.lengths, batch["lengths"])
    special = [batches.tokenizer.cls_id, batches.tokenizer.sep_id, batches.tokenizer.pad_id]
    np.testing.assert_array_equal(layout.text, ~np.isin(layout.ids, special))


def test_readable_examples_are_the_same_packed_or_not(tmp_path: Path) -> None:
    def read(examples_per_row: int) -> Counter[str]:
        batches = make_packed(tmp_path / "corpus", examples_per_row=examples_per_row)
        assert batches.num_examples % 8 or examples_per_row > 1
        return Counter(map(repr, islice(examples(batches), batches.num_examples)))

    assert read(MOST) == read(1)


def test_check_tells_how_many_examples_a_row_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = make_packed(tmp_path / "corpus", seq_len=512, examples_per_row=2)
    check._show_statistics(Console(quiet=True), batches, measure(batches, num_tokens=1 << 15))
    printed = capsys.readouterr()
    (line,) = (line for line in printed.out.splitlines() if line.startswith("examples a row"))
    assert 1 < float(line.split()[3]) <= 2
    assert "wastes less, and so may a larger pairs.examples_per_row" in printed.err


def test_statistics_are_the_same_packed_or_not(tmp_path: Path) -> None:
    def count(examples_per_row: int) -> dict[str, int]:
        batches = make_packed(
            tmp_path / "corpus", examples_per_row=examples_per_row, whole_word=True
        )
        seen = measure(batches, num_tokens=batches.num_rows * batches.pairs.seq_len)
        assert seen.rows == batches.num_rows
        assert seen.padding_share == pytest.approx(batches.padding_share)
        figures = vars(seen) | {"tokens": seen.tokens}
        return {name: value for name, value in figures.items() if name != "lengths"}

    together = count(MOST)
    assert together == count(1)
    assert together["cut"] == 0
