import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.training.parallel import describe_devices, local_rows, shard_batch


def test_a_batch_must_divide_evenly() -> None:
    assert local_rows(8) == slice(0, 8)
    for size in (6, 1, 7):
        with pytest.raises(UserError, match="use a multiple of 4"):
            local_rows(size)


def test_rows_keep_their_order_over_devices() -> None:
    sharded = shard_batch({"lengths": np.arange(8)}, jax.devices())
    np.testing.assert_array_equal(sharded["lengths"], [[0, 1], [2, 3], [4, 5], [6, 7]])


def test_devices_are_named() -> None:
    assert describe_devices() == "4 × cpu"
