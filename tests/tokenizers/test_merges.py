"""The merge engine against the specification and against counting everything again."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.tokenizers.merges import learn_merges

# Few letters, so that ties, repeats (`aaa`) and pairs that spell the same text are common.
WORDS = st.dictionaries(
    st.text("abc", min_size=1, max_size=12), st.integers(1, 5), min_size=1, max_size=12
)
SPECIFIED = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}


def letters(words: dict[str, int]) -> list[str]:
    return sorted(set("".join(words)))


def recount(words: dict[str, int], num_symbols: int) -> list[str]:
    """Byte-pair encoding as its paper has it: all pairs are counted anew for each merge."""
    symbols = letters(words)
    spelled = {word: list(word) for word in words}
    while len(symbols) < num_symbols:
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(spelled[word]):
                counts[pair] += count
        if not counts:
            break
        # The newest left symbol, then the newest right one, among the most frequent.
        best = max(counts, key=lambda pair: (counts[pair], *map(symbols.index, pair)))
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
    return symbols


def test_merges_are_those_of_the_specification() -> None:
    """Specification 3.10: size 14, the tie at the third merge included."""
    symbols = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=14)
    assert symbols == [*"abcelmnostu", "st", "me", "men"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(WORDS, st.integers(0, 40))
def test_merges_are_those_of_counting_again(words: dict[str, int], num_symbols: int) -> None:
    symbols = learn_merges(words, letters(words), num_symbols=num_symbols)
    assert symbols == recount(words, num_symbols)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(WORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(words: dict[str, int], random: object) -> None:
    shuffled = list(words.items())
    random.shuffle(shuffled)
    symbols = learn_merges(words, letters(words), num_symbols=40)
    assert learn_merges(dict(shuffled), letters(words), num_symbols=40) == symbols


def test_a_run_of_one_letter_is_joined_from_the_left() -> None:
    assert learn_merges({"aaaaa": 1}, ["a"], num_symbols=9) == ["a", "aa", "aaaa", "aaaaa"]


def test_a_text_made_in_two_ways_is_one_symbol() -> None:
    words = {("a", "b", "c"): 2, ("ab", "c"): 1}
    made: list[None] = []
    symbols = learn_merges(
        words, ["a", "b", "c", "ab"], num_symbols=9, on_symbol=lambda: made.append(None)
    )
    # (b, c) and then (a, bc); afterwards (ab, c) spells the same.
    assert symbols == ["a", "b", "c", "ab", "bc", "abc"]
    assert len(made) == 2


def test_learning_ends_when_every_word_is_one_symbol() -> None:
    symbols = learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=1000)
    assert set(SPECIFIED) < set(symbols)
    assert len(symbols) < 30


def test_without_room_there_is_the_alphabet_only() -> None:
    assert learn_merges(SPECIFIED, letters(SPECIFIED), num_symbols=11) == letters(SPECIFIED)


def test_words_may_be_spelled_in_symbols_with_a_join_of_their_own() -> None:
    words = {("a", "##b", "##b"): 3, ("b", "##b"): 1}
    symbols = learn_merges(
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
    symbols = learn_merges(
        SPECIFIED,
        letters(SPECIFIED),
        num_symbols=num_symbols,
        on_symbol=lambda: made.append(None),
    )
    assert len(made) == len(symbols) - 11
