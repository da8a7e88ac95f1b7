"""Examples with their pairs and masks fixed, as files for other people's trainers.

The schema is that of google-research/bert (create_pretraining_data.py,
`write_instance_to_example_files`): TFRecord files of `tf.train.Example`, every
list padded to its full length, which is what run_pretraining.py parses.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bert_jax.atomic import new_folder
from bert_jax.console import Console
from bert_jax.data.batches import Batch, Batches
from bert_jax.data.pipeline import make_dataset
from bert_jax.data.tensorflow_setup import tf
from bert_jax.errors import UserError

# 60 MB at 128 tokens, 200 MB at 512: enough files to shuffle, each long enough to stream.
_EXAMPLES_PER_FILE = 1 << 16


def export_tfrecord(
    folder: Path,
    batches: Batches,
    *,
    epochs: int,
    console: Console,
    examples_per_file: int = _EXAMPLES_PER_FILE,
) -> int:
    """Writes the first epochs of training, in its order, which is shuffled.

    A reader has to be told T and P. It also expects a `next_sentence_labels`, which
    is 0 throughout where examples are no pairs: its next-sentence loss then means
    nothing.

    Args:
      folder: made here, with `train-00000.tfrecord` and so on.
      batches: the examples, one a row: a reader knows no others.
      epochs: how many, each with new pairs and masks (Google's `dupe_factor`).
      console: shows progress.
      examples_per_file: of all files but the last.

    Returns:
      The number of examples.

    Raises:
      UserError: no epochs, or a folder that exists.
    """
    if epochs < 1:
        raise UserError(f"{epochs} epochs would export nothing; give at least 1")
    if folder.exists():
        raise UserError(f"{folder} exists; remove it or export to another folder")
    total = epochs * batches.num_examples
    examples = _examples(batches, total)
    with (
        new_folder(folder) as building,
        console.bar("exporting", total=total, unit=" examples") as bar,
    ):
        for number, first in enumerate(range(0, total, examples_per_file)):
            path = building / f"train-{number:05}.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as file:
                for _ in range(min(examples_per_file, total - first)):
                    file.write(next(examples))
                    bar.update()
            with path.open("rb") as written:
                os.fsync(written.fileno())
    return total


def _examples(batches: Batches, total: int) -> Iterator[bytes]:
    """The first examples of training, serialised."""
    whole, rest = divmod(total, batches.batch_size)
    for batch in make_dataset(batches.batch, 0, whole):
        yield from _serialised(batch)
    if rest:  # only these rows: others would need the plan of a further epoch
        yield from _serialised(batches.batch(whole, slice(rest)))


def _serialised(batch: Batch) -> Iterator[bytes]:
    """A `tf.train.Example` a row."""
    num_rows, seq_len = batch["input_ids"].shape
    labels = batch.get("nsp_labels", np.zeros(num_rows, np.int32))
    features = {
        "input_ids": batch["input_ids"],
        "input_mask": (np.arange(seq_len) < batch["lengths"][:, None]).astype(np.int32),
        "segment_ids": batch["segment_ids"],
        "masked_lm_positions": batch["mlm_positions"],
        "masked_lm_ids": batch["mlm_ids"],
        "masked_lm_weights": batch["mlm_weights"],
        "next_sentence_labels": labels[:, None],
    }
    # Lists of Python numbers: the protocol buffers take those of NumPy one by one.
    for row in zip(*(array.tolist() for array in features.values()), strict=True):
        feature = {name: _feature(values) for name, values in zip(features, row, strict=True)}
        yield tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _feature(values: list) -> tf.train.Feature:
    """The list as Google's schema types it: weights are floats, all else is whole numbers."""
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
