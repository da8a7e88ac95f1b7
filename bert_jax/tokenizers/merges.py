"""The merge engine: join the most frequent adjacent pair of symbols, again and again.

Sennrich, Haddow & Birch, "Neural machine translation of rare words with
subword units", 2016, with counts kept up to date instead of counted again: an
index from each pair to the words that hold it, and a heap whose stale entries
are thrown away when they surface.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

Pair = tuple[int, int]


def learn_merges(
    words: Mapping[str, int] | Mapping[tuple[str, ...], int],
    alphabet: Sequence[str],
    *,
    num_symbols: int,
    join: Callable[[str, str], str] = str.__add__,
    on_symbol: Callable[[], object] = lambda: None,
) -> list[str]:
    """Symbols in the order in which they were made, the alphabet first.

    Ties are broken in favour of the pair whose left symbol is newest, then whose
    right symbol is; so the result depends on nothing but the arguments.

    Args:
      words: each word as its symbols, and how often it occurs.
      alphabet: the symbols to start from, all those in `words`; without repeats.
      num_symbols: how many symbols to return, fewer if nothing is left to merge.
      join: the text of a merged symbol, from the texts of its two parts.
      on_symbol: called for each symbol made.

    >>> words = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}
    >>> learn_merges(words, sorted(set("".join(words))), num_symbols=14)[11:]
    ['st', 'me', 'men']
    """
    symbols = list(alphabet)
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    spelled = [[ids[symbol] for symbol in word] for word in words]
    counts = list(words.values())

    pair_counts: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)
    for word, (spelling, count) in enumerate(zip(spelled, counts, strict=True)):
        for pair in pairwise(spelling):
            pair_counts[pair] += count
            holders[pair].add(word)
    heap = [_entry(pair, count) for pair, count in pair_counts.items()]
    heapq.heapify(heap)

    while len(symbols) < num_symbols and heap:
        negative_count, left, right = heapq.heappop(heap)
        pair = (-left, -right)
        count = pair_counts[pair]
        if count <= 0:
            continue
        if count != -negative_count:  # stale; the true count may be lower than others now
            heapq.heappush(heap, _entry(pair, count))
            continue
        text = join(symbols[pair[0]], symbols[pair[1]])
        merged = ids.setdefault(text, len(symbols))
        if merged == len(symbols):  # another pair may have made the same text before
            symbols.append(text)
            on_symbol()
        changed: set[Pair] = set()
        for word in holders.pop(pair):
            before = spelled[word]
            after = _merge(before, pair, merged)
            for old in pairwise(before):
                pair_counts[old] -= counts[word]
            for new in pairwise(after):
                pair_counts[new] += counts[word]
                if merged in new:
                    holders[new].add(word)
                    changed.add(new)
            spelled[word] = after
        del pair_counts[pair]
        for new in changed:
            heapq.heappush(heap, _entry(new, pair_counts[new]))
    return symbols


def _entry(pair: Pair, count: int) -> tuple[int, int, int]:
    return -count, -pair[0], -pair[1]


def _merge(spelling: list[int], pair: Pair, merged: int) -> list[int]:
    """The spelling with the pair joined wherever it occurs, from the left."""
    joined = []
    position = 0
    while position < len(spelling):
        if tuple(spelling[position : position + 2]) == pair:
            joined.append(merged)
            position += 2
        else:
            joined.append(spelling[position])
            position += 1
    return joined
