"""Batches of fine-tuning: every row once an epoch, of like lengths, the same whoever asks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tasks.batches import TaskBatches
from bert_jax.tasks.task import Row, TrainingRow


def make_rows(lengths: list[int]) -> list[TrainingRow]:
    """Rows that are known by their label."""
    return [
        TrainingRow(Row([7] * length, [0] * (length - 1) + [1]), {"labels": number})
        for number, length in enumerate(lengths)
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=80), st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_has_every_row_once(lengths: list[int], batch_size: int, epoch: int) -> None:
    batches = TaskBatches(
        make_rows(lengths), batch_size=batch_size, max_length=512, seed=3, pad_id=0
    )
    seen: list[int] = []
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(epoch * batches.steps_per_epoch + step)
        assert batch["input_ids"].shape == batch["segment_ids"].shape
        assert len(batch["lengths"]) == batch_size
        is_real = batch["lengths"] > 0
        assert (batch["input_ids"] > 0).sum() == batch["lengths"].sum()
        assert [lengths[n] for n in batch["labels"][is_real]] == batch["lengths"][is_real].tolist()
        seen += batch["labels"][is_real].tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_hosts_build_their_own_rows_of_the_same_batch() -> None:
    rows = make_rows([3, 50, 4, 9, 9, 31, 2, 17])
    batches = TaskBatches(rows, batch_size=4, max_length=512, seed=0, pad_id=0)
    again = TaskBatches(rows, batch_size=4, max_length=512, seed=0, pad_id=0)
    for step in (5, 0, 1):
        whole = batches.batch(step)
        halves = [again.batch(step, slice(start, start + 2)) for start in (0, 2)]
        for name, array in whole.items():
            np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), array)


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = TaskBatches(
            make_rows([5] * 64), batch_size=8, max_length=512, seed=seed, pad_id=0
        )
        steps = range(8 * epoch, 8 * epoch + 8)
        return [n for step in steps for n in batches.batch(step)["labels"].tolist()]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_rows_of_like_length_go_together() -> None:
    lengths = np.random.default_rng(0).integers(4, 65, 2_000).tolist()
    batches = TaskBatches(make_rows(lengths), batch_size=16, max_length=512, seed=0, pad_id=0)
    widths = [batches.batch(step)["input_ids"].shape[1] for step in range(125)]
    padded = 1 - sum(lengths) / (16 * sum(widths))
    assert batches.padding_share() == pytest.approx(padded)
    assert padded < 0.2
    assert len(set(widths)) <= 6
    assert np.mean(np.diff(widths) >= 0) < 0.9  # and short ones do not always come first


def test_targets_have_the_types_of_their_values() -> None:
    row = Row([1, 2, 3], [0, 0, 0])
    tags = TrainingRow(row, {"labels": [0, 4, 0], "label_weights": [0.0, 1.0, 0.0]})
    batch = TaskBatches([tags], batch_size=2, max_length=512, seed=0, pad_id=0).batch(0)
    assert batch["labels"].dtype == np.int32
    assert batch["label_weights"].dtype == np.float32
    assert batch["labels"][:, :3].tolist() == [[0, 4, 0], [0, 0, 0]]
    number = TaskBatches(
        [TrainingRow(row, {"labels": 2.5})], batch_size=1, max_length=512, seed=0, pad_id=0
    )
    assert number.batch(0)["labels"].tolist() == [2.5]


def test_the_hash_is_of_rows_and_targets() -> None:
    def hash_of(label: int, length: int) -> str:
        row = TrainingRow(Row([7] * length, [0] * length), {"labels": label})
        return TaskBatches([row], batch_size=1, max_length=512, seed=0, pad_id=0).hash

    assert hash_of(1, 3) == hash_of(1, 3)
    assert len({hash_of(1, 3), hash_of(0, 3), hash_of(1, 4)}) == 3


def test_no_rows() -> None:
    with pytest.raises(UserError, match="no example to train on"):
        TaskBatches([], batch_size=1, max_length=512, seed=0, pad_id=0)


def test_no_batch_is_longer_than_the_model_takes() -> None:
    rows = make_rows([18, 20, 3])
    batches = TaskBatches(rows, batch_size=3, max_length=20, seed=0, pad_id=0)
    assert batches.batch(0)["input_ids"].shape == (3, 20)
    assert batches.padding_share() == pytest.approx(1 - 41 / 60)
