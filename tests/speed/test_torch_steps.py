"""Their step beside ours: the same batch, the same work, losses that agree."""

import dataclasses
import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.timing import Work, make_step
from bert_jax.speed.torch_steps import IGNORED, TorchStep, compare, torch_batch
from bert_jax.training.losses import mean

CONFIG = BertConfig(vocab_size=64, dropout=0.0, attention_dropout=0.0, **SIZES["tiny"])
WORK = Work(config=CONFIG, batch_size=8, seq_len=32, padding=0.2)


@pytest.mark.parametrize("predictions", ["masked", "all"])
def test_labels_stand_where_ours_are_predicted(predictions: str) -> None:
    batch = dataclasses.replace(WORK, predictions=predictions).batch()
    theirs = torch_batch(batch)
    assert (theirs["attention_mask"].sum(1) == batch["lengths"]).all()
    assert (theirs["labels"] != IGNORED).sum() == batch["mlm_weights"].sum()
    for row, length in enumerate(batch["lengths"]):
        real = batch["mlm_weights"][row] > 0
        places = batch["mlm_positions"][row, real]
        assert (theirs["labels"][row, places] == batch["mlm_ids"][row, real]).all()
        assert (theirs["labels"][row, length:] == IGNORED).all()
    if predictions == "all":
        assert ((theirs["labels"] != IGNORED) == (theirs["attention_mask"] == 1)).all()
    assert {array.dtype for array in theirs.values()} == {np.dtype("int64")}


@pytest.fixture
def _torch_alone() -> None:
    if "tensorflow" in sys.modules and "triton" not in sys.modules and find_spec("triton"):
        pytest.skip("importing triton after TensorFlow is a segmentation fault; use make parity")


@pytest.mark.torch
@pytest.mark.usefixtures("_torch_alone")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_learn_the_same_batch(dtype: str) -> None:
    work = dataclasses.replace(WORK, config=dataclasses.replace(CONFIG, dtype=dtype))
    theirs, ours = TorchStep(work, compiled=False), make_step(work, jax.local_devices()[:1])
    losses = []
    for _ in range(40):
        theirs.wait(theirs.dispatch())
        sums = ours.dispatch()
        losses.append((theirs.loss, float(mean(sums["mlm_loss"]) + mean(sums["nsp_loss"]))))
    first, last = losses[0], losses[-1]
    # Both begin near the uniform guess, and differ by their initial weights only.
    assert first == pytest.approx([np.log(64) + np.log(2)] * 2, rel=0.1)
    assert last[0] < 0.8 * first[0] and last[1] < 0.8 * first[1]


@pytest.mark.torch
@pytest.mark.usefixtures("_torch_alone")
def test_rounds_are_compared_in_pairs() -> None:
    found = compare(WORK, compiled=False, num_steps=6, warmup_seconds=0.0)
    assert found["steps_per_round"] == 2
    assert len(found["ratios"]) == 5
    assert min(found["ratios"]) <= found["ratio"] <= max(found["ratios"])
    assert set(found["versions"]) == {"torch", "transformers"}
    for side in ("ours", "theirs"):
        tokens = found[side]["tokens_per_second"] * found[side]["step_ms"] / 1e3
        assert tokens == pytest.approx(8 * 32)


@pytest.mark.torch
@pytest.mark.usefixtures("_torch_alone")
def test_packed_rows_are_refused() -> None:
    with pytest.raises(UserError, match="transformers has no packed rows"):
        TorchStep(dataclasses.replace(WORK, examples_per_row=2), compiled=False)
