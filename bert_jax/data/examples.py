"""The examples of a corpus, by number: which run of its tokens each of them is."""

import dataclasses
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt64

from bert_jax.data.boundaries import Sentences
from bert_jax.data.keyed_random import Stream, permutation, random_bits
from bert_jax.data.pairs import Pairs, Plan
from bert_jax.errors import UserError

# Sources of a mixture are dealt out so many examples at a time.
_PERIOD = 1024

# An epoch has fewer examples than 2 to this.
_EPOCH_BITS = 48


class Mixture:
    """The examples of several sources, each as often as its weight says.

    Of every 1,024 examples as many are a source's as its weight says, in random
    places; each source goes round its own documents.

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
        """Of one epoch of every source."""
        return sum(source.num_examples for source in self.sources)

    def epochs(self, num_examples: int) -> list[float]:
        """How often the sources have been gone through after so many examples."""
        return [
            num_examples * share / _PERIOD / source.num_examples
            for share, source in zip(self._shares, self.sources, strict=True)
        ]

    @property
    def mean_tokens(self) -> float:
        """Tokens of an example that come from the text, on the average of first epochs."""
        return float(np.average([s.mean_tokens for s in self.sources], weights=self._shares))

    @property
    def negative_share(self) -> float:
        """Share of the examples that have label 1, in first epochs."""
        return float(np.average([s.negative_share for s in self.sources], weights=self._shares))

    def look_up(self, numbers: Int[np.ndarray, " B"]) -> tuple[Plan, UInt64[np.ndarray, " B"]]:
        """The examples with these numbers, counted over all epochs, and keys for their masks.

        −1 gives padding.
        """
        plan = np.zeros((len(dataclasses.fields(Plan)), len(numbers)), np.int64)
        keys = np.zeros(len(numbers), np.uint64)
        owners, numbers_there = self._deal(numbers)
        for owner, source in enumerate(self.sources):
            here = np.flatnonzero((owners == owner) & (numbers >= 0))
            plan[:, here], (epochs, places) = source.look_up(numbers_there[here])
            # Another source's example at the same place of the same epoch has other masks.
            places = places + (owner << _EPOCH_BITS)
            keys[here] = random_bits(self._seed, Stream.MASKS, epochs, places)
        return Plan(*plan), keys

    def _deal(
        self, numbers: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Which source each example is of, and its number among that source's."""
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
    """The examples of one source, by number: round and round, each epoch planned anew.

    Every epoch has as many examples as the plan of the first: a fixed length lets
    the epoch of an example be computed instead of counted. Plans of small corpora
    differ in length (by 8 % over six epochs of `python_docs` at 128 tokens, because
    short documents are drawn anew); a shorter plan is filled up with its own first
    examples under other masks, of a longer one a random rest is left out.
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
        # one needs the first epoch's plan for its length only, and never its order.
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._order = lru_cache(maxsize=2)(self._order_epoch)
        first = self._plan(0)
        self.num_examples = len(first)
        if not self.num_examples:
            raise UserError(
                "every document is a single token, which cannot be parted in two segments; train "
                "with --config.pairs.nsp=False"
            )
        self.mean_tokens = (first.a_length + first.b_length).mean()
        self.negative_share = first.label.mean()

    def look_up(
        self, numbers: Int[np.ndarray, " E"]
    ) -> tuple[Int[np.ndarray, "fields E"], Int[np.ndarray, "2 E"]]:
        """The fields of `Plan` of examples counted over all epochs; their epochs and places."""
        epochs, places = np.divmod(numbers, self.num_examples)
        fields = np.zeros((len(dataclasses.fields(Plan)), len(numbers)), np.int64)
        for epoch in np.unique(epochs).tolist():
            with self._lock:  # several threads build batches; one of them plans
                plan, order = self._plan(epoch), self._order(epoch)
            here = np.flatnonzero(epochs == epoch)
            example = order[places[here] % len(plan)]
            fields[:, here] = [
                getattr(plan, field.name)[example] for field in dataclasses.fields(Plan)
            ]
        return fields, np.stack([epochs, places])

    def _plan_epoch(self, epoch: int) -> Plan:
        return self._pairs.plan(self._sentences, self.documents, seed=self._seed, epoch=epoch)

    def _order_epoch(self, epoch: int) -> Int[np.ndarray, " E"]:
        return permutation(len(self._plan(epoch)), self._seed, Stream.ORDER, epoch)


def _shares(weights: Sequence[float]) -> list[int]:
    """How many examples of a period each source has; the largest remainders are rounded up."""
    exact = np.array(weights) * _PERIOD
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: _PERIOD - shares.sum()]] += 1
    if not shares.all():
        raise UserError(
            f"a source with a weight of {min(weights):g} would hardly be seen; give it at least "
            f"1/{_PERIOD} of the mixture, or leave it out"
        )
    return shares.tolist()
