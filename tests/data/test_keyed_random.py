"""Random numbers named by integers: the right mixer, no state, no correlation, no drift."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.keyed_random import Stream, permutation, random_bits, uniform

KEY = st.integers(-(2**63), 2**64 - 1)


def splitmix(bits: int) -> int:
    """One step of SplitMix64 on Python's unbounded integers, Steele, Lea & Flood 2014."""
    bits = (bits + 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


def literal_bits(*keys: int) -> int:
    gamma = 0x9E3779B97F4A7C15
    bits = 0
    for key in keys:
        folded = ((bits + gamma) % 2**64) ^ splitmix(key % 2**64)
        bits = splitmix((folded - gamma) % 2**64)
    return bits


def test_the_literal_mixer_gives_the_published_numbers() -> None:
    gamma = 0x9E3779B97F4A7C15
    assert [splitmix(1234567 + n * gamma) for n in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(KEY, min_size=1, max_size=5))
def test_bits_are_those_of_the_literal_mixer(keys: list[int]) -> None:
    assert int(random_bits(*keys)) == literal_bits(*keys)


def test_golden_values_never_change() -> None:
    """The data order of every run that was ever started hangs on these."""
    assert {stream.name: int(stream) for stream in Stream} == {
        "PAIRS": 1,
        "ORDER": 2,
        "MASKS": 3,
        "MIXTURE": 4,
        "ROWS": 5,
        "SAMPLE": 6,
    }
    assert random_bits(0, Stream.PAIRS, 0, np.arange(3)).tolist() == [
        13202541901669973565,
        1288437620147154945,
        11381751403552207106,
    ]
    assert random_bits(42, Stream.MASKS, 7, np.arange(3)).tolist() == [
        7686309144666306104,
        2073944085361882641,
        8611078622343125210,
    ]
    assert uniform(np.arange(3), 1).tolist() == [
        0.0891349912075412,
        0.17340366889211323,
        0.9343878336333031,
    ]
    assert permutation(10, 0, Stream.ORDER, 0).tolist() == [1, 0, 4, 3, 5, 6, 2, 7, 9, 8]
    assert permutation(10, 1, Stream.ORDER, 3).tolist() == [9, 8, 1, 3, 0, 6, 2, 5, 7, 4]


def test_draws_depend_on_nothing_drawn_before() -> None:
    first = random_bits(1, 2, np.arange(100))
    random_bits(3, np.arange(1000))
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(random_bits(1, 2, np.arange(100)), first)


def test_keys_broadcast_like_numpy() -> None:
    table = random_bits(5, np.arange(3)[:, None], np.arange(4))
    assert table.shape == (3, 4)
    assert table.dtype == np.uint64
    for row, column in np.ndindex(3, 4):
        assert table[row, column] == random_bits(5, np.array([row]), column)[0]


def test_the_order_and_the_number_of_keys_matter() -> None:
    zero, one = np.array([0]), np.array([1])
    draws = [(zero,), (zero, zero), (zero, one), (one, zero), (one,), (one, one)]
    assert len({random_bits(*keys)[0] for keys in draws}) == len(draws)


def test_a_million_draws_are_all_different() -> None:
    """Two of 10^6 words of 64 bits collide with probability 3e-8."""
    assert len(np.unique(random_bits(0, np.arange(1000)[:, None], np.arange(1000)))) == 10**6


def test_every_bit_is_a_fair_coin() -> None:
    num = 100_000
    bits = random_bits(0, Stream.MASKS, np.arange(num))
    ones = [int(((bits >> np.uint64(bit)) & np.uint64(1)).sum()) for bit in range(64)]
    assert np.abs(np.array(ones) - num / 2).max() < 4 * np.sqrt(num / 4)


def test_uniform_fills_the_unit_interval() -> None:
    num = 100_000
    draws = uniform(0, Stream.PAIRS, np.arange(num))
    assert draws.min() >= 0
    assert draws.max() < 1
    tenths = np.bincount((draws * 10).astype(int), minlength=10)
    assert np.abs(tenths - num / 10).max() < 4 * np.sqrt(num * 0.1 * 0.9)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


@pytest.mark.parametrize(("one", "other"), list(combinations(Stream, 2)))
def test_streams_are_independent(one: Stream, other: Stream) -> None:
    place = np.arange(100_000)
    r = correlation(uniform(0, one, 0, place), uniform(0, other, 0, place))
    assert abs(r) < 4 / np.sqrt(len(place))


def test_neighbouring_seeds_epochs_and_examples_are_independent() -> None:
    place = np.arange(100_000)
    draws = uniform(0, Stream.MASKS, 0, place)
    for other in (
        uniform(1, Stream.MASKS, 0, place),
        uniform(0, Stream.MASKS, 1, place),
        uniform(0, Stream.MASKS, 0, place + 1),
    ):
        assert abs(correlation(draws, other)) < 4 / np.sqrt(len(place))


@pytest.mark.parametrize("size", [0, 1, 2, 1000])
def test_a_permutation_holds_every_number_once(size: int) -> None:
    order = permutation(size, 0, Stream.ORDER, 5)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_permutations_of_other_epochs_and_seeds_differ() -> None:
    orders = [permutation(50, seed, Stream.ORDER, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_every_permutation_is_equally_likely() -> None:
    num = 6000
    orders = [tuple(permutation(3, 0, Stream.ORDER, epoch).tolist()) for epoch in range(num)]
    counts = [orders.count(order) for order in permutations(range(3))]
    assert sum(counts) == num
    assert max(abs(count - num / 6) for count in counts) < 4 * np.sqrt(num * (1 / 6) * (5 / 6))
