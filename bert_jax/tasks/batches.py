"""The batches of fine-tuning: batch t is a pure function of the rows, the seed and t.

Rows of like length go together, so that little of a batch is padding: the rows of an
epoch are in a random order, so many of these at a time are sorted by length and cut
into batches, and the batches of an epoch follow one another in a random order.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Int

from bert_jax.data.keyed_random import Stream, permutation
from bert_jax.errors import UserError
from bert_jax.tasks.task import TrainingRow

# A batch is padded to one of these; each is compiled, 3 to 6 seconds for 6 layers on a CPU.
_LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512)
# Batches whose rows are sorted together. With 32 of them, batches of 32 rows of SST-2, 4 to 66
# tokens long, are padded by 26 %, with 1 by 72 %; with 128 by 22 %, but in a less random order.
_SORTED_TOGETHER = 32


class TaskBatches:
    """Rows in batches.

    Attributes:
      batch_size: B.
      num_rows: of an epoch.
      steps_per_epoch: the last batch of an epoch may be filled up with rows of length 0.
    """

    def __init__(
        self,
        rows: Sequence[TrainingRow],
        *,
        batch_size: int,
        max_length: int,
        seed: int,
        pad_id: int,
    ):
        """Takes the rows.

        Args:
          rows: of tokens, with their targets.
          batch_size: B.
          max_length: tokens of a row at most; no batch is padded beyond.
          seed: of their order.
          pad_id: of padding.

        Raises:
          UserError: there are none.
        """
        if not rows:
            raise UserError("there is no example to train on")
        self.batch_size = batch_size
        self.num_rows = len(rows)
        self.steps_per_epoch = -(-len(rows) // batch_size)
        self._rows = rows
        self._max_length = max_length
        self._sizes = np.array([len(row.row.ids) for row in rows])
        self._seed = seed
        self._pad_id = pad_id

    def batch(self, step: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """Batch `step`, or these rows of it: `input_ids`, `segment_ids`, `lengths`, targets.

        Returns:
          int32 [B T], [B T], [B]; a target is [B], or [B T] if it has a value for each token,
          float32 if its values are. T is that of the whole batch, whatever the rows.
        """
        epoch, number = divmod(step, self.steps_per_epoch)
        members = self._plan(epoch)[number]
        length = self._padded(int(self._sizes[members[members >= 0]].max()))
        members = members[rows]
        batch = {
            "input_ids": np.full((len(members), length), self._pad_id, np.int32),
            "segment_ids": np.zeros((len(members), length), np.int32),
            "lengths": np.zeros(len(members), np.int32),
        }
        for name, example in self._rows[0].targets.items():
            per_token = isinstance(example, Sequence)
            first = example[0] if isinstance(example, Sequence) else example
            dtype = np.float32 if isinstance(first, float) else np.int32
            batch[name] = np.zeros((len(members), length) if per_token else len(members), dtype)
        for place, member in enumerate(members):
            if member < 0:
                continue
            row, targets = self._rows[member]
            size = len(row.ids)
            batch["input_ids"][place, :size] = row.ids
            batch["segment_ids"][place, :size] = row.segment_ids
            batch["lengths"][place] = size
            for name, value in targets.items():
                if isinstance(value, Sequence):
                    batch[name][place, :size] = value
                else:
                    batch[name][place] = value
        return batch

    @cached_property
    def hash(self) -> str:
        """sha256 of all rows with their targets, in their order."""
        digest = hashlib.sha256()
        for row, targets in self._rows:
            digest.update(repr((list(row.ids), list(row.segment_ids), dict(targets))).encode())
        return digest.hexdigest()

    @lru_cache(maxsize=2)  # noqa: B019 (lives as long as the run)
    def _plan(self, epoch: int) -> Int[np.ndarray, "steps B"]:
        """The rows of each batch of an epoch, −1 for none."""
        order = permutation(len(self._rows), self._seed, Stream.ORDER, epoch)
        pool = _SORTED_TOGETHER * self.batch_size
        by_length = [
            part[np.argsort(self._sizes[part], kind="stable")]
            for part in np.split(order, range(pool, len(order), pool))
        ]
        places = np.full(self.steps_per_epoch * self.batch_size, -1)
        places[: len(order)] = np.concatenate(by_length)
        batches = places.reshape(self.steps_per_epoch, self.batch_size)
        return batches[permutation(self.steps_per_epoch, self._seed, Stream.ROWS, epoch)]

    def padding_share(self) -> float:
        """The share of the tokens of the first epoch that are padding."""
        plan = self._plan(0)
        sizes = np.where(plan >= 0, self._sizes[plan], 0)
        padded = [self._padded(size) for size in sizes.max(axis=1).tolist()]
        return 1 - float(sizes.sum()) / (self.batch_size * sum(padded))

    def _padded(self, length: int) -> int:
        fit = next((each for each in _LENGTHS if length <= each), -(-length // 128) * 128)
        return min(fit, self._max_length)
