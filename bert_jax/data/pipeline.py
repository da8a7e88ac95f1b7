"""The input pipeline: batches built ahead of the step by tf.data.

Order is decided in `bert_jax.data.batches`; tf.data adds the threads, the
prefetching and the hand-over. Whole batches go through NumPy, which releases
the interpreter lock in its inner loops, and never a single example through a
graph.
"""

from collections.abc import Callable, Iterator

import numpy as np

from bert_jax.data.batches import Batch
from bert_jax.data.tensorflow_setup import hide_accelerators, tf

_PREFETCH = 4  # batches ready or in the making, against uneven steps


def make_dataset(build: Callable[[int], Batch], start: int, stop: int) -> Iterator[Batch]:
    """Yields `build(t)` for t in `start … stop − 1`, in order, computed ahead.

    Args:
      build: makes batch t; called from several threads.
      start: first batch. Starting late costs nothing: no batch before it is made.
      stop: one past the last.
    """
    if start >= stop:
        return iter(())
    hide_accelerators()
    signature = build(start)
    names = sorted(signature)

    def build_arrays(step: np.integer) -> list[np.ndarray]:
        batch = build(int(step))
        return [batch[name] for name in names]

    @tf.autograph.experimental.do_not_convert
    def build_tensors(step: tf.Tensor) -> dict[str, tf.Tensor]:
        arrays = tf.numpy_function(
            build_arrays, [step], [signature[name].dtype for name in names], stateful=False
        )
        for array, name in zip(arrays, names, strict=True):
            array.set_shape(signature[name].shape)
        return dict(zip(names, arrays, strict=True))

    dataset = tf.data.Dataset.range(start, stop)
    dataset = dataset.map(build_tensors, num_parallel_calls=2, deterministic=True)
    return dataset.prefetch(_PREFETCH).as_numpy_iterator()
