"""Several examples in a row: which of an epoch share one, and how they lie in it.

Rows are filled by best fit: the examples come in the random order of the epoch, and
each goes to the fullest open row that has room for it (Johnson et al., "Worst-case
performance bounds for simple one-dimensional packing algorithms", SIAM J. Comput. 3,
1974). Who shares a row is so a pure function of the epoch's plan and order.
"""

import dataclasses
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped
from numba import njit

from bert_jax.data.keyed_random import Keys, permutation


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of an epoch, in the order in which they are seen.

    Attributes:
      places: of the examples in the order of the epoch, row after row.
      firsts: where each row begins in these, and where the last one ends.
    """

    places: Int[np.ndarray, " E"]
    firsts: Int[np.ndarray, " row_bounds"]

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def members(
        self, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """The examples of some rows: which of `numbers` each belongs to, and its place."""
        starts = self.firsts[numbers]
        counts = self.firsts[numbers + 1] - starts
        row = np.repeat(np.arange(len(numbers)), counts)
        return row, self.places[starts[row] + _within(row)]


def fill_rows(
    lengths: Integer[np.ndarray, " E"],
    *,
    seq_len: int,
    examples_per_row: int,
    keys: tuple[Keys, ...],
) -> Rows:
    """Puts the examples of an epoch into rows, and these into a random order.

    The last rows to be opened are the emptiest, so they may not come last.

    Args:
      lengths: tokens of each example with its [CLS] and [SEP]s, in the order of the epoch.
      seq_len: T, tokens of a row.
      examples_per_row: K, the most that a row may hold.
      keys: decide the order of the rows.
    """
    row_of, num_rows = _best_fit(lengths, seq_len, examples_per_row)
    number_of = np.empty(num_rows, np.int64)
    number_of[permutation(num_rows, *keys)] = np.arange(num_rows)
    return Rows(*_grouped(row_of, number_of))


@njit(cache=True, nogil=True)
@no_type_check
def _best_fit(lengths, seq_len, most):
    """The row of each example, int64 [E], and how many rows there are."""
    row_of = np.empty(len(lengths), np.int64)
    num_held = np.zeros(len(lengths), np.int32)  # examples in each row
    # The open rows with so much room lie in a stack, the one opened last on top.
    top = np.full(seq_len + 1, -1)
    below = np.empty(len(lengths), np.int64)
    num_rows = 0
    for place in range(len(lengths)):
        room = lengths[place]
        while room <= seq_len and top[room] < 0:
            room += 1
        if room <= seq_len:
            row = top[room]
            top[room] = below[row]
        else:
            row, room = num_rows, seq_len
            num_rows += 1
        row_of[place] = row
        num_held[row] += 1
        if num_held[row] < most:
            room -= lengths[place]
            below[row] = top[room]
            top[room] = row
    return row_of, num_rows


@njit(cache=True, nogil=True)
@no_type_check
def _grouped(row_of, number_of):
    """`places` and `firsts` of `Rows`, of rows that get other numbers."""
    firsts = np.zeros(len(number_of) + 1, np.int64)
    for row in row_of:
        firsts[number_of[row] + 1] += 1
    firsts = np.cumsum(firsts)
    places = np.empty(len(row_of), np.int64)
    free = firsts[:-1].copy()
    for place in range(len(row_of)):
        number = number_of[row_of[place]]
        places[free[number]] = place
        free[number] += 1
    return places, firsts


def _within(rows: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E"]:
    """The number of each example among those of its row; `rows` are ascending."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


class Seats:
    """Where the examples of a batch lie in its rows: one after the other, from the left.

    Attributes:
      lengths: real tokens of each row's examples, [B K], 0 where there are fewer than K.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, " E"],
        lengths: Int[np.ndarray, " E"],
        *,
        num_rows: int,
        seq_len: int,
        examples_per_row: int,
    ):
        """Seats the examples.

        Args:
          rows: of each example, ascending.
          lengths: its real tokens.
          num_rows: B.
          seq_len: T.
          examples_per_row: K.
        """
        self._seats = rows, _within(rows)
        self._shape = num_rows, examples_per_row
        self.lengths = self.numbers(lengths)
        ends = np.cumsum(self.lengths, axis=1)
        self._starts = (ends - self.lengths)[self._seats]
        # The tokens of the examples and those of the rows are the same ones in the same order.
        place = np.arange(seq_len)
        self._from, self._to = place < lengths[:, None], place < ends[:, -1:]

    def numbers(self, values: Shaped[np.ndarray, " E"]) -> Shaped[np.ndarray, "B K"]:
        """A number of each example, and 0 where there is none."""
        packed = np.zeros(self._shape, values.dtype)
        packed[self._seats] = values
        return packed

    def tokens(self, values: Shaped[np.ndarray, "E T"], padding: int) -> Shaped[np.ndarray, "B T"]:
        """A value of each token."""
        packed = np.full(self._to.shape, padding, values.dtype)
        packed[self._to] = values[self._from]
        return packed

    def predictions(
        self,
        positions: Int[np.ndarray, "E P1"],
        ids: Int[np.ndarray, "E P1"],
        weights: Float[np.ndarray, "E P1"],
        *,
        num_places: int,
    ) -> dict[str, np.ndarray]:
        """The `mlm_positions`, `mlm_ids` and `mlm_weights` of the rows, [B P] each.

        Args:
          positions: those of examples in rows of their own.
          ids: likewise.
          weights: likewise.
          num_places: P; no row has more predictions.
        """
        real = weights > 0
        counts = np.zeros(self._shape[0], np.int64)
        np.add.at(counts, self._seats[0], real.sum(axis=1))
        into = np.arange(num_places) < counts[:, None]
        moved = positions + self._starts[:, None].astype(positions.dtype)

        def placed(values: np.ndarray) -> np.ndarray:
            packed = np.zeros(into.shape, values.dtype)
            packed[into] = values[real]
            return packed

        return {
            "mlm_positions": placed(moved),
            "mlm_ids": placed(ids),
            "mlm_weights": placed(weights),
        }
