"""The words and pairs that the merge engine works on, and the compiled code that changes them.

All words lie in one array of nodes; each pair has a linked list of the nodes
where it begins, so a merge touches these and their neighbours only. The best
pair comes from a heap in which a score that rose moves up at once, and one that
fell is put right when it surfaces.

Compiled functions take the arrays one by one: as fields of a tuple, each use of
one would count references, at ten times the time.
"""

from typing import no_type_check

import numpy as np
from numba import njit

# A symbol of a word. All lists are linked by index, -1 at their end.
NODE = np.dtype(
    [
        ("symbol", np.int32),  # -1 once it is part of the node before it
        ("before", np.int32),
        ("after", np.int32),
        ("weight", np.int64),  # how often the word occurs
        ("pair", np.int32),  # the pair that begins here, and the other places where it does
        ("previous_place", np.int32),
        ("next_place", np.int32),
    ]
)
PAIR = np.dtype(
    [
        ("left", np.int32),
        ("right", np.int32),
        ("frequency", np.int64),
        ("num_places", np.int32),
        ("first_place", np.int32),
        ("rank", np.float64),  # the score by which it stands in the heap, never below the true one
        ("entry", np.int32),  # where it stands there, -1 if it does not
        ("next_in_row", np.int32),
        ("next_in_column", np.int32),
    ]
)
# A row are the pairs with one left symbol, a column those with one right symbol.
SYMBOL = np.dtype([("frequency", np.int64), ("row", np.int32), ("column", np.int32)])


@njit(cache=True)
@no_type_check
def _slot(pairs, slots, left, right):
    """The slot that holds a pair, or the free one where it belongs."""
    mask = len(slots) - 1
    # Fibonacci hashing of both ids (Knuth, The Art of Computer Programming 3, 6.4).
    key = np.uint64(left) << np.uint64(32) | np.uint64(right)
    slot = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while True:
        pair = slots[slot]
        if pair < 0 or (pairs[pair].left == left and pairs[pair].right == right):
            return slot
        slot = (slot + 1) & mask


@njit(cache=True)
@no_type_check
def index_pairs(pairs, slots, num_pairs):
    """Enters all pairs in new slots."""
    for pair in range(num_pairs[0]):
        slots[_slot(pairs, slots, pairs[pair].left, pairs[pair].right)] = pair


@njit(cache=True)
@no_type_check
def _add_place(nodes, symbols, pairs, slots, num_pairs, node):
    """Enters the pair that begins at a node."""
    left, right = nodes[node].symbol, nodes[nodes[node].after].symbol
    slot = _slot(pairs, slots, left, right)
    number = slots[slot]
    if number < 0:
        number = num_pairs[0]
        num_pairs[0] += 1
        slots[slot] = number
        pair = pairs[number]
        pair.left, pair.right = left, right
        pair.first_place = pair.entry = -1
        pair.next_in_row = symbols[left].row
        pair.next_in_column = symbols[right].column
        symbols[left].row = symbols[right].column = number
    pair = pairs[number]
    nodes[node].pair = number
    nodes[node].previous_place = -1
    nodes[node].next_place = pair.first_place
    if pair.first_place >= 0:
        nodes[pair.first_place].previous_place = node
    pair.first_place = node
    pair.frequency += nodes[node].weight
    pair.num_places += 1


@njit(cache=True)
@no_type_check
def _remove_place(nodes, pairs, node):
    """Forgets the pair that begins at a node."""
    pair = pairs[nodes[node].pair]
    previous, following = nodes[node].previous_place, nodes[node].next_place
    if previous >= 0:
        nodes[previous].next_place = following
    else:
        pair.first_place = following
    if following >= 0:
        nodes[following].previous_place = previous
    pair.frequency -= nodes[node].weight
    pair.num_places -= 1


@njit(cache=True)
@no_type_check
def count_pairs(nodes, symbols, pairs, slots, num_pairs, first, last):
    """Enters the pairs that begin at the nodes from `first` to `last`."""
    for node in range(first, last):
        if nodes[node].after >= 0:
            _add_place(nodes, symbols, pairs, slots, num_pairs, node)


@njit(cache=True)
@no_type_check
def merge(nodes, symbols, pairs, slots, num_pairs, heap, pair, merged, by_likelihood):
    """Joins a pair wherever it occurs, and moves up the pairs whose score rose."""
    left, right = pairs[pair].left, pairs[pair].right
    places = np.empty(pairs[pair].num_places, np.int32)
    node = pairs[pair].first_place
    for number in range(len(places)):
        places[number] = node
        node = nodes[node].next_place
    if left == right:
        places.sort()  # a run of one symbol is joined from the left
    for node in places:
        second = nodes[node].after
        # In a run, the node may have become part of the symbol before it.
        if nodes[node].symbol != left or second < 0 or nodes[second].symbol != right:
            continue
        first, last = nodes[node].before, nodes[second].after
        _remove_place(nodes, pairs, node)
        if first >= 0:
            _remove_place(nodes, pairs, first)
        if last >= 0:
            _remove_place(nodes, pairs, second)
            nodes[last].before = node
        nodes[node].symbol, nodes[second].symbol = merged, -1
        nodes[node].after = last
        if first >= 0:
            _add_place(nodes, symbols, pairs, slots, num_pairs, first)
        if last >= 0:
            _add_place(nodes, symbols, pairs, slots, num_pairs, node)
        weight = nodes[node].weight
        symbols[left].frequency -= weight
        symbols[right].frequency -= weight
        symbols[merged].frequency += weight
    _queue_symbol(pairs, symbols, heap, merged, by_likelihood)
    if by_likelihood:  # the parts became rarer, so their other pairs score higher
        _queue_symbol(pairs, symbols, heap, left, by_likelihood)
        _queue_symbol(pairs, symbols, heap, right, by_likelihood)


@njit(cache=True)
@no_type_check
def _queue_symbol(pairs, symbols, heap, symbol, by_likelihood):
    """Brings the pairs of a symbol up to where their scores belong."""
    pair = symbols[symbol].row
    while pair >= 0:
        if pairs[pair].frequency > 0:
            queue(pairs, symbols, heap, pair, by_likelihood)
        pair = pairs[pair].next_in_row
    pair = symbols[symbol].column
    while pair >= 0:
        if pairs[pair].frequency > 0:
            queue(pairs, symbols, heap, pair, by_likelihood)
        pair = pairs[pair].next_in_column


@njit(cache=True)
@no_type_check
def _score(pairs, symbols, pair, by_likelihood):
    score = np.float64(pairs[pair].frequency)
    if by_likelihood and score > 0:
        left = np.float64(symbols[pairs[pair].left].frequency)
        score /= left * np.float64(symbols[pairs[pair].right].frequency)
    return score


# The heap: heap[1] is its first entry, 2i and 2i + 1 lie below i, heap[0] is how many there are.


@njit(cache=True)
@no_type_check
def queue(pairs, symbols, heap, pair, by_likelihood):
    """Enters a pair in the heap, or moves it up if its score rose."""
    score = _score(pairs, symbols, pair, by_likelihood)
    entry = pairs[pair].entry
    if entry < 0:
        heap[0] += 1
        entry = heap[0]
    elif score <= pairs[pair].rank:
        return
    pairs[pair].rank = score
    while entry > 1 and _goes_first(pairs, pair, heap[entry // 2]):
        _place(pairs, heap, heap[entry // 2], entry)
        entry //= 2
    _place(pairs, heap, pair, entry)


@njit(cache=True)
@no_type_check
def pop_best(pairs, symbols, heap, by_likelihood, min_frequency):
    """Takes the best pair from the heap; -1 if there is none left to join."""
    while heap[0] > 0:
        pair = heap[1]
        frequent = pairs[pair].frequency >= min_frequency
        score = _score(pairs, symbols, pair, by_likelihood)
        if frequent and score < pairs[pair].rank:
            pairs[pair].rank = score  # it fell; others may be above it now
            _sink(pairs, heap, pair)
            continue
        pairs[pair].entry = -1
        heap[0] -= 1
        if heap[0] > 0:
            _sink(pairs, heap, heap[heap[0] + 1])
        if frequent:
            return pair
    return -1


@njit(cache=True)
@no_type_check
def _goes_first(pairs, pair, other):
    """Whether a pair ranks above another: by score, then by its newest symbols."""
    if pairs[pair].rank != pairs[other].rank:
        return pairs[pair].rank > pairs[other].rank
    if pairs[pair].left != pairs[other].left:
        return pairs[pair].left > pairs[other].left
    return pairs[pair].right > pairs[other].right


@njit(cache=True)
@no_type_check
def _place(pairs, heap, pair, entry):
    heap[entry] = pair
    pairs[pair].entry = entry


@njit(cache=True)
@no_type_check
def _sink(pairs, heap, pair):
    """Puts a pair at the top of the heap and lets it sink to where it belongs."""
    entry, size = 1, heap[0]
    while 2 * entry <= size:
        child = 2 * entry
        if child < size and _goes_first(pairs, heap[child + 1], heap[child]):
            child += 1
        if _goes_first(pairs, pair, heap[child]):
            break
        _place(pairs, heap, heap[child], entry)
        entry = child
    _place(pairs, heap, pair, entry)
