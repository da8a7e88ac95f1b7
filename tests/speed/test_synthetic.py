"""Synthetic batches against what the data package says of real ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.synthetic import synthetic_batch

CONFIG = BertConfig(vocab_size=50, **SIZES["tiny"])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    seq_len=st.integers(8, 70),
    padding=st.floats(0, 0.5),
    examples=st.integers(1, 4),
    predictions=st.sampled_from(["masked", "all"]),
)
def test_everything_lies_where_it_belongs(
    rows: int, seq_len: int, padding: float, examples: int, predictions: str
) -> None:
    batch = synthetic_batch(
        CONFIG,
        batch_size=rows,
        seq_len=seq_len,
        padding=padding,
        examples_per_row=examples,
        predictions=predictions,  # type: ignore[arg-type]
    )
    share = 0.15 if predictions == "masked" else 1
    by_example = (rows, examples) if examples > 1 else (rows,)
    by_prediction = (rows, max(1, round(share * seq_len)))
    assert {name: array.shape for name, array in batch.items()} == {
        "input_ids": (rows, seq_len),
        "segment_ids": (rows, seq_len),
        "lengths": by_example,
        "mlm_positions": by_prediction,
        "mlm_ids": by_prediction,
        "mlm_weights": by_prediction,
        "nsp_labels": by_example,
    }
    assert {name for name, array in batch.items() if array.dtype != np.int32} == {"mlm_weights"}
    assert batch["mlm_weights"].dtype == np.float32
    for name in ("input_ids", "mlm_ids"):
        assert 0 <= batch[name].min() <= batch[name].max() < CONFIG.vocab_size

    lengths = batch["lengths"].reshape(rows, examples)
    labels = batch["nsp_labels"].reshape(rows, examples)
    assert not labels[lengths == 0].any()
    for row in range(rows):
        real = lengths[row].sum()
        assert max(2, round(seq_len * (1 - 2 * padding))) <= real <= seq_len
        used = np.trim_zeros(lengths[row], "b")
        assert len(used) == min(examples, real // 2)
        assert used.min() >= 2
        assert not batch["input_ids"][row, real:].any()
        assert not batch["segment_ids"][row, real:].any()
        # Each example is a first segment and a second one.
        for part in np.split(batch["segment_ids"][row, :real], np.cumsum(used)[:-1]):
            assert (np.diff(part) >= 0).all()
            assert part[0] == 0 and part[-1] == 1
        count = int(batch["mlm_weights"][row].sum())
        assert count == max(1, round(share * real))
        chosen, rest = np.split(batch["mlm_positions"][row], [count])
        assert (np.diff(chosen) > 0).all()
        assert chosen[-1] < real
        assert not rest.any() and not batch["mlm_weights"][row, count:].any()


@pytest.mark.parametrize("padding", [0.0, 0.05, 0.3, 0.5])
def test_the_mean_share_of_padding(padding: float) -> None:
    batch = synthetic_batch(CONFIG, batch_size=4000, seq_len=100, padding=padding)
    # 4σ of the mean of 4,000 uniform shares, √(1/12)·2·padding wide, and the rounding.
    assert 1 - batch["lengths"].mean() / 100 == pytest.approx(padding, abs=0.04 * padding + 0.01)
    if not padding:
        assert (batch["lengths"] == 100).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 0.51}, "padding is 0.51; its mean share is 0 to 0.5"),
        ({"padding": -0.1}, "padding is -0.1"),
        ({"examples_per_row": 0}, "hold 1 to 4 examples"),
        ({"examples_per_row": 5}, "hold 1 to 4 examples"),
    ],
)
def test_impossible_rows_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        synthetic_batch(CONFIG, batch_size=2, seq_len=8, **options)
