"""tf.data adds threads and nothing else: the same batches, in order, from any start."""

import random
import threading
import time
from itertools import islice

import numpy as np
import pytest

from bert_jax.data.batches import Batch
from bert_jax.data.pipeline import make_dataset


def build(step: int) -> Batch:
    """A batch that takes its time, now and then longer than the next one."""
    time.sleep(random.Random(step).random() / 100)
    return {
        "input_ids": np.full((4, 8), step, np.int32),
        "mlm_weights": np.full((4, 2), step / 7, np.float32),
        "nsp_labels": np.arange(4, dtype=np.int32) * step,
    }


@pytest.mark.parametrize(("start", "stop"), [(0, 30), (17, 25), (1_000_000, 1_000_003), (5, 6)])
def test_batches_are_those_of_build_in_order(start: int, stop: int) -> None:
    batches = list(make_dataset(build, start, stop))
    assert len(batches) == stop - start
    for step, batch in zip(range(start, stop), batches, strict=True):
        expected = build(step)
        assert batch.keys() == expected.keys()
        for name, value in expected.items():
            assert isinstance(batch[name], np.ndarray)
            assert batch[name].dtype == value.dtype
            np.testing.assert_array_equal(batch[name], value)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (7, 7), (8, 7)])
def test_an_empty_range_builds_nothing(start: int, stop: int) -> None:
    def fail(step: int) -> Batch:
        raise AssertionError(step)

    assert list(make_dataset(fail, start, stop)) == []


def test_no_batch_outside_the_range_is_built() -> None:
    built = set()

    def record(step: int) -> Batch:
        built.add(step)
        return build(step)

    list(make_dataset(record, 40, 52))
    assert built == set(range(40, 52))


def test_batches_are_built_ahead_of_the_step_but_not_far() -> None:
    built: list[int] = []
    ahead = threading.Event()

    def record(step: int) -> Batch:
        built.append(step)
        if step >= 3:
            ahead.set()
        return build(step)

    batches = make_dataset(record, 0, 1000)
    next(batches)
    assert ahead.wait(timeout=10)
    time.sleep(0.2)
    assert max(built) < 20


def test_an_error_in_build_reaches_the_reader() -> None:
    def fail_at_3(step: int) -> Batch:
        if step == 3:
            raise ValueError("batch three is broken")
        return build(step)

    batches = make_dataset(fail_at_3, 0, 10)
    assert len(list(islice(batches, 3))) == 3
    with pytest.raises(Exception, match="batch three is broken"):
        next(batches)
