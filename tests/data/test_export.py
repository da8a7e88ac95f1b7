"""Exported files hold what training sees, as Google's run_pretraining.py parses it."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from batch_cases import assert_same, concatenated, make_batches, make_documents, unmasked

from bert_jax.console import Console
from bert_jax.data.batches import Batch, Batches
from bert_jax.data.export import export_tfrecord
from bert_jax.errors import UserError

QUIET = Console(quiet=True)


def export(folder: Path, batches: Batches, *, epochs: int = 1, per_file: int = 100) -> list[Path]:
    count = export_tfrecord(
        folder, batches, epochs=epochs, console=QUIET, examples_per_file=per_file
    )
    assert count == epochs * batches.num_examples
    return sorted(folder.iterdir())


def read(paths: list[Path], batches: Batches) -> Batch:
    """All examples, by the parsing of `input_fn_builder` (run_pretraining.py L338-355)."""
    seq_len = batches.pairs.seq_len
    num_predictions = batches.masking.max_predictions(seq_len)
    name_to_features = {
        "input_ids": tf.io.FixedLenFeature([seq_len], tf.int64),
        "input_mask": tf.io.FixedLenFeature([seq_len], tf.int64),
        "segment_ids": tf.io.FixedLenFeature([seq_len], tf.int64),
        "masked_lm_positions": tf.io.FixedLenFeature([num_predictions], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([num_predictions], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([num_predictions], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }
    dataset = tf.data.TFRecordDataset([str(path) for path in paths])
    rows = [tf.io.parse_single_example(record, name_to_features) for record in dataset]
    return {name: np.stack([row[name].numpy() for row in rows]) for name in name_to_features}


def as_batch(found: Batch) -> Batch:
    """The same under our names."""
    mask = found["input_mask"]
    lengths = mask.sum(axis=1)
    np.testing.assert_array_equal(mask, np.arange(mask.shape[1]) < lengths[:, None])
    return {
        "input_ids": found["input_ids"].astype(np.int32),
        "segment_ids": found["segment_ids"].astype(np.int32),
        "lengths": lengths.astype(np.int32),
        "mlm_positions": found["masked_lm_positions"].astype(np.int32),
        "mlm_ids": found["masked_lm_ids"].astype(np.int32),
        "mlm_weights": found["masked_lm_weights"],
        "nsp_labels": found["next_sentence_labels"][:, 0].astype(np.int32),
    }


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    return make_batches(tmp_path / "corpus", make_documents(), batch_size=9)


def test_the_files_are_the_batches_of_training_in_order(batches: Batches, tmp_path: Path) -> None:
    total = 2 * batches.num_examples
    assert total % batches.batch_size, "the last batch must be cut"
    paths = export(tmp_path / "out", batches, epochs=2, per_file=30)
    assert [path.name for path in paths] == [
        f"train-{number:05}.tfrecord" for number in range(-(-total // 30))
    ]
    trained_on = concatenated([batches.batch(t) for t in range(-(-total // batches.batch_size))])
    expected = {name: array[:total] for name, array in trained_on.items()}
    assert_same(as_batch(read(paths, batches)), expected)


def test_rows_are_what_google_s_trainer_expects(batches: Batches, tmp_path: Path) -> None:
    found = as_batch(read(export(tmp_path / "out", batches), batches))
    tokenizer, rows = batches.tokenizer, np.arange(batches.num_examples)
    original = unmasked(found)
    assert (original[:, 0] == tokenizer.cls_id).all()
    assert (original[rows, found["lengths"] - 1] == tokenizer.sep_id).all()
    assert ((original == tokenizer.sep_id).sum(axis=1) == 2).all()
    padding = np.arange(original.shape[1]) >= found["lengths"][:, None]
    assert (original[padding] == tokenizer.pad_id).all()
    assert (found["segment_ids"][padding] == 0).all()
    assert set(found["nsp_labels"].tolist()) == {0, 1}

    counts = found["mlm_weights"].sum(axis=1).astype(int)
    assert (counts == batches.masking.budget(found["lengths"])).all()
    for positions, ids, weights, count in zip(
        found["mlm_positions"], found["mlm_ids"], found["mlm_weights"], counts, strict=True
    ):
        assert (np.diff(positions[:count]) > 0).all()
        assert weights.tolist() == [1.0] * count + [0.0] * (len(weights) - count)
        assert not positions[count:].any()
        assert not ids[count:].any()


def test_every_epoch_has_new_pairs_and_masks(batches: Batches, tmp_path: Path) -> None:
    found = as_batch(read(export(tmp_path / "out", batches, epochs=2), batches))
    halves = (slice(batches.num_examples), slice(batches.num_examples, None))
    texts = [{row.tobytes() for row in unmasked(found)[half]} for half in halves]
    masked = [{row.tobytes() for row in found["input_ids"][half]} for half in halves]
    assert len(texts[0] & texts[1]) < 0.5 * batches.num_examples
    assert len(masked[0] & masked[1]) < 0.1 * batches.num_examples


def test_without_pairs_labels_are_0(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents(), nsp=False)
    found = read(export(tmp_path / "out", batches), batches)
    assert not found["next_sentence_labels"].any()
    assert not found["segment_ids"].any()


def test_a_batch_may_be_larger_than_all_there_is(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents(), batch_size=10_000)
    paths = export(tmp_path / "out", batches)
    assert len(read(paths, batches)["input_ids"]) == batches.num_examples


def test_a_folder_that_exists_is_kept_and_one_that_failed_is_not_made(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match=r"mine exists; remove it or export to another folder"):
        export(tmp_path / "mine", batches)
    with pytest.raises(UserError, match="0 epochs would export nothing"):
        export(tmp_path / "out", batches, epochs=0)

    def fail(step: int, rows: slice = slice(None)) -> Batch:
        raise RuntimeError(f"batch {step}, {rows}")

    monkeypatch.setattr(batches, "batch", fail)
    with pytest.raises(RuntimeError, match="batch 0"):
        export(tmp_path / "out", batches)
    assert not (tmp_path / "out").exists()
