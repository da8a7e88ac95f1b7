"""The examples of a corpus, by the number of their row: which run of its tokens each of them is."""

import dataclasses
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from bert_jax.data.boundaries import Sentences
from bert_jax.data.keyed_random import Stream, permutation, random_bits
from bert_jax.data.packing import Rows, fill_rows
from bert_jax.data.pairs import Pairs, Plan
from bert_jax.errors import UserError

# Sources of a mixture are dealt out so many rows at a time.
_PERIOD = 1024

# An epoch has fewer examples than 2 to this.
_EPOCH_BITS = 48


class Drawn(NamedTuple):
    """The examples of some rows, in their order.

    Attributes:
      plan: which runs of tokens they are.
      keys: of their masks, one each.
      rows: which of the rows each is in, by its place among those asked for; ascending.
    """

    plan: Plan
    keys: UInt64[np.ndarray, " E"]
    rows: Int[np.ndarray, " E"]


class Mixture:
    """The examples of several sources, each as often as its weight says.

    Of every 1,024 rows as many are a source's as its weight says, in random places;
    each source goes round its own documents. The examples of a row are of one source.

    Attributes:
      sources: the examples of each.
    """

    def __init__(self, sources: Sequence["Examples"], weights: Sequence[float], *, seed: int):
        """Mixes sources by weights that sum to 1.

        Raises:
          UserError: a weight too small for its source to be seen.
        """
        self.sources = sources
        self._seed = seed
        self._shares = _shares(weights)

    @property
    def num_examples(self) -> int:
        """Of the first epoch of every source."""
        return sum(source.num_examples for source in self.sources)

    @property
    def num_rows(self) -> int:
        """Of one epoch of every source."""
        return sum(source.num_rows for source in self.sources)

    def epochs(self, num_rows: int) -> list[float]:
        """How often the sources have been gone through after so many rows."""
        return [
            num_rows * share / _PERIOD / source.num_rows
            for share, source in zip(self._shares, self.sources, strict=True)
        ]

    @property
    def tokens_per_row(self) -> float:
        """Real tokens of a row, on the average of first epochs."""
        return float(np.average([s.tokens_per_row for s in self.sources], weights=self._shares))

    @property
    def negative_share(self) -> float:
        """Share of the examples that have label 1, in first epochs."""
        weights = [
            share * source.num_examples / source.num_rows
            for share, source in zip(self._shares, self.sources, strict=True)
        ]
        return float(np.average([s.negative_share for s in self.sources], weights=weights))

    def look_up(self, numbers: Int[np.ndarray, " B"]) -> Drawn:
        """The examples of the rows with these numbers, counted over all epochs.

        −1 gives an example without tokens.
        """
        empty = np.flatnonzero(numbers < 0)
        fields = [np.zeros((len(dataclasses.fields(Plan)), len(empty)), np.int64)]
        keys, rows = [np.zeros(len(empty), np.uint64)], [empty]
        owners, numbers_there = self._deal(numbers)
        for owner, source in enumerate(self.sources):
            here = np.flatnonzero((owners == owner) & (numbers >= 0))
            fields_there, (epochs, places), rows_there = source.look_up(numbers_there[here])
            fields.append(fields_there)
            # Another source's example at the same place of the same epoch has other masks.
            places = places + (owner << _EPOCH_BITS)
            keys.append(random_bits(self._seed, Stream.MASKS, epochs, places))
            rows.append(here[rows_there])
        order = np.argsort(np.concatenate(rows), kind="stable")
        return Drawn(
            Plan(*np.concatenate(fields, axis=1)[:, order]),
            np.concatenate(keys)[order],
            np.concatenate(rows)[order],
        )

    def _deal(
        self, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Which source each row is of, and its number among that source's."""
        if len(self.sources) == 1:
            return np.zeros_like(numbers), numbers
        periods, places = np.divmod(numbers, _PERIOD)
        slots = np.zeros_like(numbers)
        for period in np.unique(periods):
            here = periods == period
            order = permutation(_PERIOD, self._seed, Stream.MIXTURE, period)
            slots[here] = order[places[here]]
        firsts = np.cumsum([0, *self._shares])  # slots of the sources
        owners = np.searchsorted(firsts, slots, side="right") - 1
        return owners, periods * np.array(self._shares)[owners] + slots - firsts[owners]


class Examples:
    """The examples of one source, by their rows: round and round, each epoch planned anew.

    Every epoch has as many rows as the first: a fixed length lets the epoch of a row
    be computed instead of counted. Plans of small corpora differ in length (by 8 %
    over six epochs of `python_docs` at 128 tokens, because short documents are drawn
    anew); an epoch with fewer rows is filled up with its own first ones under other
    masks, of one with more a random rest is left out.

    The masks of an example are keyed by its place in the order of its epoch, so they
    are the same whatever shares its row.

    Attributes:
      documents: of the source.
      num_examples: of the first epoch.
      num_rows: of every epoch.
      tokens_per_row: real ones, on the average of the first epoch.
      negative_share: share of its examples that have label 1.
    """

    def __init__(
        self,
        sentences: Sentences,
        pairs: Pairs,
        *,
        documents: Int[np.ndarray, " D"],
        seed: int,
    ):
        """Plans the first epoch.

        Raises:
          UserError: no text, or too little for pairs.
        """
        if not len(documents):
            raise UserError("the corpus is empty: its text holds no sentence")
        self.documents = documents
        self._sentences = sentences
        self._pairs = pairs
        self._seed = seed
        self._lock = threading.Lock()
        # Two of each, for batches straddle the border of epochs. A run that resumes in a later
        # one needs the first epoch for its number of rows only: if each holds one example, that
        # is the plan's length, and its order is never needed.
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._order = lru_cache(maxsize=2)(self._order_epoch)
        self._packed = lru_cache(maxsize=2)(self._pack_epoch)
        first = self._plan(0)
        self.num_examples = len(first)
        if not self.num_examples:
            raise UserError(
                "every document is a single token, which cannot be parted in two segments; train "
                "with --config.pairs.nsp=False"
            )
        self.num_rows = self._num_rows(0)
        tokens = (first.a_length + first.b_length + pairs.num_specials).sum()
        self.tokens_per_row = tokens / self.num_rows
        self.negative_share = first.label.mean()

    def look_up(
        self, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, "fields E"], Int[np.ndarray, "2 E"], Int[np.ndarray, " E"]]:
        """The examples of rows that are counted over all epochs.

        Returns:
          The fields of `Plan`; their epochs and places, which no other examples share; and which
          of `numbers` each belongs to, those of a row in their order.
        """
        epochs, places = np.divmod(numbers, self.num_rows)
        # One for each epoch; an empty one first, for there may be no numbers.
        fields = [np.zeros((len(dataclasses.fields(Plan)), 0), np.int64)]
        found, rows = [np.zeros((2, 0), np.int64)], [np.zeros(0, np.int64)]
        for epoch in np.unique(epochs).tolist():
            here = np.flatnonzero(epochs == epoch)
            with self._lock:  # several threads build batches; one of them plans
                plan, order = self._plan(epoch), self._order(epoch)
                rounds, row = np.divmod(places[here], self._num_rows(epoch))
                which, place = self._members(epoch, row)
            example = order[place]
            fields.append(
                np.stack([getattr(plan, field.name)[example] for field in dataclasses.fields(Plan)])
            )
            place = place + rounds[which] * len(plan)
            found.append(np.stack([np.full_like(place, epoch), place]))
            rows.append(here[which])
        return np.hstack(fields), np.hstack(found), np.hstack(rows)

    def _num_rows(self, epoch: int) -> int:
        """How many an epoch fills by itself."""
        one_each = self._pairs.examples_per_row == 1
        return len(self._plan(epoch) if one_each else self._packed(epoch))

    def _members(
        self, epoch: int, rows: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
        """The examples of some rows: whose each is, and its place in the order of the epoch."""
        if self._pairs.examples_per_row == 1:
            return np.arange(len(rows)), rows
        return self._packed(epoch).members(rows)

    def _plan_epoch(self, epoch: int) -> Plan:
        return self._pairs.plan(self._sentences, self.documents, seed=self._seed, epoch=epoch)

    def _order_epoch(self, epoch: int) -> Int[np.ndarray, " E"]:
        return permutation(len(self._plan(epoch)), self._seed, Stream.ORDER, epoch)

    def _pack_epoch(self, epoch: int) -> Rows:
        plan, order = self._plan(epoch), self._order(epoch)
        return fill_rows(
            (plan.a_length + plan.b_length + self._pairs.num_specials)[order],
            seq_len=self._pairs.seq_len,
            examples_per_row=self._pairs.examples_per_row,
            keys=(self._seed, Stream.ROWS, epoch),
        )


def _shares(weights: Sequence[float]) -> list[int]:
    """How many rows of a period each source has; the largest remainders are rounded up."""
    exact = np.array(weights) * _PERIOD
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _PERIOD - shares.sum()]] += 1
    if not shares.all():
        raise UserError(
            f"a source with a weight of {min(weights):g} would hardly be seen; give it at least "
            f"1/{_PERIOD} of the mixture, or leave it out"
        )
    return shares.tolist()
