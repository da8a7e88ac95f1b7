"""The merge engine: join the best adjacent pair of symbols, again and again.

Sennrich, Haddow & Birch, "Neural machine translation of rare words with
subword units", 2016, under two scores: how often a pair occurs (BPE), or how
much joining it raises the likelihood of the text, p(ab) / (p(a) p(b))
(WordPiece; Schuster & Nakajima, "Japanese and Korean voice search", 2012).

Nothing is ever counted again; `bert_jax.tokenizers.pair_index` has the means.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bert_jax.tokenizers.pair_index import (
    NODE,
    PAIR,
    SYMBOL,
    count_pairs,
    index_pairs,
    merge,
    pop_best,
    queue,
)

Score = Literal["frequency", "likelihood"]


class Learned(NamedTuple):
    """What merging made of an alphabet.

    Attributes:
      symbols: the alphabet, then the merged symbols in the order in which they were made.
      merges: the pairs joined, in order; two of them may make the same symbol.
    """

    symbols: list[str]
    merges: list[tuple[str, str]]


def learn_merges(
    words: Mapping[str, int] | Mapping[tuple[str, ...], int],
    alphabet: Sequence[str],
    *,
    num_symbols: int,
    score: Score = "frequency",
    min_frequency: int = 1,
    join: Callable[[str, str], str] = str.__add__,
    on_symbol: Callable[[], object] = lambda: None,
) -> Learned:
    """Joins the pair with the highest score until there are enough symbols.

    Ties are broken in favour of the pair whose left symbol is newest, then whose
    right symbol is; so the result depends on nothing but the arguments. Scores
    are compared as doubles.

    Args:
      words: each word as its symbols, and how often it occurs.
      alphabet: the symbols to start from, all those in `words`; without repeats.
      num_symbols: how many symbols to end with, fewer if nothing is left to merge.
      score: `frequency`, or `likelihood`: occurrences of the pair divided by
        those of its left and of its right symbol.
      min_frequency: a pair that occurs less often is never joined.
      join: the text of a merged symbol, from the texts of its two parts.
      on_symbol: called for each symbol made.

    >>> words = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}
    >>> learn_merges(words, sorted(set("".join(words))), num_symbols=14).merges
    [('s', 't'), ('m', 'e'), ('me', 'n')]
    """
    symbols = list(alphabet)
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    merges: list[tuple[str, str]] = []
    by_likelihood = score == "likelihood"
    state = _initial_state(words, ids, num_symbols, by_likelihood)
    while len(symbols) < num_symbols:
        pair = pop_best(state.pairs, state.symbols, state.heap, by_likelihood, min_frequency)
        if pair < 0:
            break
        left, right = (symbols[state.pairs[pair][side]] for side in ("left", "right"))
        text = join(left, right)
        merges.append((left, right))
        merged = ids.setdefault(text, len(symbols))
        if merged == len(symbols):  # another pair may have made the same text before
            symbols.append(text)
            on_symbol()
        state = _with_room(state, 2 * int(state.pairs[pair]["num_places"]))
        merge(*state, pair, merged, by_likelihood)
    return Learned(symbols, merges)


_BLOCK = 1 << 16  # nodes counted at a time


class _State(NamedTuple):
    """All words and pairs: arrays that the compiled functions change in place."""

    nodes: np.ndarray
    symbols: np.ndarray
    pairs: np.ndarray
    slots: np.ndarray  # where a pair is, by its symbols: open addressing, at most half full
    num_pairs: np.ndarray  # one number
    heap: np.ndarray  # how many pairs it has, then these, the best first


def _initial_state(
    words: Mapping[str, int] | Mapping[tuple[str, ...], int],
    ids: Mapping[str, int],
    num_symbols: int,
    by_likelihood: bool,
) -> _State:
    """The words as they are spelled, and every pair counted once."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    ends = np.cumsum(lengths)
    nodes = np.zeros(int(lengths.sum()), NODE)
    nodes["symbol"] = [ids[symbol] for word in words for symbol in word]
    nodes["weight"] = np.repeat(np.fromiter(words.values(), np.int64, len(words)), lengths)
    nodes["before"] = np.arange(len(nodes)) - 1
    nodes["after"] = np.arange(len(nodes)) + 1
    nodes["before"][(ends - lengths)[lengths > 0]] = -1
    nodes["after"][ends[lengths > 0] - 1] = -1
    # Each merge takes a node away, so there are no more symbols than that, whatever is asked for.
    symbols = np.full(min(max(num_symbols, len(ids)), len(ids) + len(nodes)), -1, SYMBOL)
    symbols["frequency"] = np.bincount(nodes["symbol"], nodes["weight"], len(symbols))
    none = np.zeros(0, np.int32)
    state = _State(nodes, symbols, np.zeros(0, PAIR), none, np.zeros(1, np.int64), none)
    for first in range(0, len(nodes), _BLOCK):
        last = min(first + _BLOCK, len(nodes))
        state = _with_room(state, last - first)
        count_pairs(nodes, symbols, state.pairs, state.slots, state.num_pairs, first, last)
    for pair in range(int(state.num_pairs[0])):
        queue(state.pairs, symbols, state.heap, pair, by_likelihood)
    return state


def _with_room(state: _State, num_new: int) -> _State:
    """The state with room for so many more pairs."""
    needed = int(state.num_pairs[0] + num_new)
    if needed <= len(state.pairs):
        return state
    pairs = np.zeros(2 * needed, PAIR)
    pairs[: len(state.pairs)] = state.pairs
    heap = np.zeros(2 * needed + 1, np.int32)
    heap[: len(state.heap)] = state.heap
    slots = np.full(1 << (4 * needed).bit_length(), -1, np.int32)
    index_pairs(pairs, slots, state.num_pairs)
    return state._replace(pairs=pairs, slots=slots, heap=heap)
