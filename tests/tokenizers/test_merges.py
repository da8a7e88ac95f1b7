"""The merge engine against the specification and against counting everything again."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.tokenizers.merges import Learned, Score, learn_merges

# Few letters, so that ties, repeats (`aaa`) and pairs that spell the same text are common.
WORDS = st.dictionaries(
    st.text("abc", min_size=1, max_size=12), st.integers(1, 5), min_size=1, max_size=12
)
SPECIFIED = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}


def letters(words: dict[str, int]) -> list[str]:
    return sorted(set("".join(words)))


def recount(
    words: dict[str, int], num_symbols: int, score: Score = "frequency", min_frequency: int = 1
) -> Learned:
    """Byte-pair encoding as its paper has it: all pairs are counted anew for each merge."""
    symbols = letters(words)
    merges: list[tuple[str, str]] = []
    spelled = {word: list(word) for word in words}
    while len(symbols) < num_symbols:
        parts: Counter[str] = Counter()
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for part in spelled[word]:
                parts[part] += count
            for pair in pairwise(spelled[word]):
                counts[pair] += count
        scores = {
            pair: Fraction(count, parts[pair[0]] * parts[pair[1]])
            if score == "likelihood"
            else count
            for pair, count in counts.items()
            if count >= min_frequency
        }
        if not scores:
            break
        # The newest left symbol, then the newest right one, among the best.
        best = max(scores, key=lambda pair: (scores[pair], *map(symbols.index, pair)))
        merges.append(best)
        merged = "".join(best)
        if merged not in symbols:
            symbols.append(merged)
        for word, spelling in spelled.items():
            joined: list[str] = []
            position = 0
            while position < len(spelling):
                whole = tuple(spelling[position : position + 2]) == best
                joined.append(merged if whole else spelling[position])
                position += 2 if whole else 1
            spelled[word] = joined
    return Learned(symbols, merges)


def test_merges_are_those_of_the_specification() -> None:
    """Specification 3.10: size 14, the tie at the third merge included."""
    symbols, merges = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=14)
    assert symbols == [*"abcelmnostu", "st", "me", "men"]
    assert merges == [("s", "t"), ("m", "e"), ("me", "n")]


def test_the_likelihood_gain_prefers_what_occurs_only_together() -> None:
    """Specification 3.12: p(st) / (p(s) p(t)), not how often it occurs."""
    first = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=12, score="likelihood").merges
    gains = {("n", "u"): 1 / (2 * 1), ("s", "t"): 4 / (4 * 4), ("a", "m"): 1 / (1 * 3)}
    assert first == [max(gains, key=gains.__getitem__)]


@pytest.mark.parametrize("score", get_args(Score))
@settings(max_examples=300, deadline=None, derandomize=True)
@given(words=WORDS, num_symbols=st.integers(0, 40), min_frequency=st.integers(1, 4))
def test_merges_are_those_of_counting_again(
    words: dict[str, int], num_symbols: int, score: Score, min_frequency: int
) -> None:
    learned = learn_merges(
        words, letters(words), num_symbols=num_symbols, score=score, min_frequency=min_frequency
    )
    assert learned == recount(words, num_symbols, score, min_frequency)


@pytest.mark.parametrize("score", get_args(Score))
def test_many_words_make_more_pairs_than_there_was_room_for(score: Score) -> None:
    random = np.random.default_rng(0)
    words = {
        "".join(random.choice(list("abcdefgh"), size=random.integers(1, 15))): int(count)
        for count in random.integers(1, 30, size=400)
    }
    learned = learn_merges(words, letters(words), num_symbols=300, score=score)
    assert learned == recount(words, 300, score)


def test_a_word_of_a_million_letters_takes_no_quadratic_time() -> None:
    """Were all of the word touched by each merge, this would take hours."""
    random = np.random.default_rng(0)
    word = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), size=1_000_000))
    symbols, _ = learn_merges({word: 1}, letters({word: 1}), num_symbols=2_000)
    assert len(symbols) == 2_000


@settings(max_examples=50, deadline=None, derandomize=True)
@given(WORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(words: dict[str, int], random: object) -> None:
    shuffled = list(words.items())
    random.shuffle(shuffled)
    learned = learn_merges(words, letters(words), num_symbols=40)
    assert learn_merges(dict(shuffled), letters(words), num_symbols=40) == learned


def test_a_run_of_one_letter_is_joined_from_the_left() -> None:
    symbols, _ = learn_merges({"aaaaa": 1}, ["a"], num_symbols=9)
    assert symbols == ["a", "aa", "aaaa", "aaaaa"]


def test_a_text_made_in_two_ways_is_one_symbol() -> None:
    words = {("a", "b", "c"): 2, ("ab", "c"): 1}
    made: list[None] = []
    symbols, merges = learn_merges(
        words, ["a", "b", "c", "ab"], num_symbols=9, on_symbol=lambda: made.append(None)
    )
    # (b, c) and then (a, bc); afterwards (ab, c) spells the same.
    assert symbols == ["a", "b", "c", "ab", "bc", "abc"]
    assert merges == [("b", "c"), ("a", "bc"), ("ab", "c")]
    assert len(made) == 2


def test_learning_ends_when_every_word_is_one_symbol() -> None:
    symbols, _ = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=1000)
    assert set(SPECIFIED) < set(symbols)
    assert len(symbols) < 30


def test_without_room_there_is_the_alphabet_only() -> None:
    symbols, merges = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=11)
    assert symbols == letters(SPECIFIED)
    assert not merges


def test_words_may_be_spelled_in_symbols_with_a_join_of_their_own() -> None:
    words = {("a", "##b", "##b"): 3, ("b", "##b"): 1}
    symbols, _ = learn_merges(
        words,
        ["##b", "a", "b"],
        num_symbols=10,
        join=lambda left, right: left + right.removeprefix("##"),
    )
    # (##b, ##b) and (a, ##b) are tied at 3; the left symbol `a` is the newer one.
    assert symbols == ["##b", "a", "b", "ab", "abb", "bb"]


@pytest.mark.parametrize("num_symbols", [5, 12, 14, 1000])
def test_every_new_symbol_is_reported(num_symbols: int) -> None:
    made: list[None] = []
    symbols, _ = learn_merges(
        SPECIFIED,
        letters(SPECIFIED),
        num_symbols=num_symbols,
        on_symbol=lambda: made.append(None),
    )
    assert len(made) == len(symbols) - 11
