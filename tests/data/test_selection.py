"""Which words are chosen: the literal algorithm row by row, shares over many rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masking_cases import apply, chosen_places, make_rows, within_four_sigma

from bert_jax.data.keyed_random import random_bits, uniform
from bert_jax.data.masking import Masking
from bert_jax.data.selection import RUN_LENGTH, SELECT

WEIGHTS = {
    "harmonic": lambda n: 1 / n,  # Lan et al. 2020, section 4.1
    "geometric": lambda n: 0.8 ** (n - 1),  # Joshi et al. 2020, section 3.1
}


def shares_of(masking: Masking) -> np.ndarray:
    """How likely each length of a run is, from 1 word on."""
    weights = [WEIGHTS[masking.ngram_weights](n) for n in range(1, masking.max_ngram + 1)]
    return np.array(weights) / sum(weights)


def words_of(candidates: np.ndarray, continues: np.ndarray) -> list[list[int]]:
    """The places of each word; a word ends where its segment does."""
    words: list[list[int]] = []
    for place in np.flatnonzero(candidates).tolist():
        if words and continues[place] and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words


def literal_choice(masking: Masking, rows: dict[str, np.ndarray], row: int) -> list[int]:
    """`create_masked_lm_predictions`, token by token.

    Google's (create_pretraining_data.py L359-407) with words that end where their
    segment does, and ALBERT's runs, shortened to what fits and is free.
    """
    words = words_of(rows["candidates"][row], rows["continues"][row] & masking.whole_word)
    budget = max(1, round(int(rows["lengths"][row]) * masking.rate))
    key, numbers = np.array(rows["keys"][row]), np.arange(len(words))
    draws = uniform(key, SELECT, numbers)
    lengths = 1 + np.searchsorted(
        np.cumsum(shares_of(masking))[:-1], 1 - uniform(key, RUN_LENGTH, numbers)
    )
    chosen: list[int] = []
    for first in sorted(numbers, key=lambda word: draws[word]):
        if len(chosen) >= budget:
            break
        for num_words in range(int(lengths[first]), 0, -1):
            run = [place for word in words[first : first + num_words] for place in word]
            unbroken = run[-1] - run[0] == len(run) - 1
            is_whole = first + num_words <= len(words) or num_words == 1
            fits = len(chosen) + len(run) <= budget and not set(run) & set(chosen)
            if unbroken and is_whole and fits:
                chosen += run
                break
    return sorted(chosen)


maskings = st.builds(
    lambda runs, **rest: Masking(max_ngram=runs[0], ngram_weights=runs[1], **rest),
    runs=st.sampled_from(
        [(1, "harmonic"), (3, "harmonic"), (10, "harmonic"), (3, "geometric"), (10, "geometric")]
    ),
    rate=st.sampled_from([0.05, 0.15, 0.3, 0.6, 0.95]),
    whole_word=st.booleans(),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=6),
    masking=maskings,
    seed=st.integers(0, 2**32),
)
def test_choice_is_that_of_the_literal_algorithm(
    lengths: list[tuple[int, int]], masking: Masking, seed: int
) -> None:
    rows = make_rows(*zip(*lengths, strict=True), 64, seed)
    masked = apply(masking, rows)
    for row in range(len(lengths)):
        assert chosen_places(masked, row) == literal_choice(masking, rows, row)


def test_a_run_never_changes() -> None:
    rows = make_rows([18] * 3, [0] * 3, 21)
    rows["keys"] = random_bits(0, np.array([6, 12, 13]))
    rows["continues"] = np.tile(np.arange(21) % 3 == 0, (3, 1))
    masked = apply(Masking(rate=0.3, whole_word=True, max_ngram=3), rows)
    assert [chosen_places(masked, row) for row in range(3)] == [
        [5, 6, 7, 8, 9, 10],
        [4, 5, 6, 7, 17, 18],
        [5, 6, 8, 9, 17, 18],
    ]


@pytest.mark.parametrize(
    ("max_ngram", "ngram_weights"), [(3, "harmonic"), (10, "harmonic"), (10, "geometric")]
)
def test_lengths_of_runs_have_their_shares(max_ngram: int, ngram_weights: str) -> None:
    """By the first run of each row, which nothing shortens: the budget is 10 words, the row long.

    A later run begins where the first one ends in one row of 400 at most.
    """
    num, seq_len = 8000, 1003
    rows = make_rows([1000] * num, [0] * num, seq_len)
    rows["continues"][:] = False
    masking = Masking(rate=0.01, max_ngram=max_ngram, ngram_weights=ngram_weights)
    masked = apply(masking, rows)
    assert (masked["mlm_weights"].sum(axis=1) == 10).all()
    chosen = np.zeros((num, seq_len + 1), bool)
    np.put_along_axis(chosen, masked["mlm_positions"], True, axis=1)
    first = 1 + uniform(rows["keys"][:, None], SELECT, np.arange(1000)).argmin(axis=1)
    far = first <= 990  # from the end of the row
    following = chosen[np.arange(num)[:, None], np.minimum(first[:, None] + range(12), seq_len)]
    lengths = following.argmin(axis=1)[far]
    counts = np.bincount(lengths, minlength=max_ngram + 1)
    for count, share in zip(counts[1:], shares_of(masking), strict=False):
        assert within_four_sigma(count, far.sum(), share)


def test_spanbert_s_runs_have_3_8_words_on_average() -> None:
    shares = shares_of(Masking(max_ngram=10, ngram_weights="geometric"))
    assert shares @ np.arange(1, 11) == pytest.approx(3.8, abs=0.01)


@pytest.mark.parametrize("max_ngram", [1, 3, 10])
def test_words_in_runs_are_hidden_whole_and_the_budget_holds(max_ngram: int) -> None:
    rng = np.random.default_rng(3)
    rows = make_rows(rng.integers(1, 250, 2000), rng.integers(0, 250, 2000), 512)
    masking = Masking(whole_word=True, max_ngram=max_ngram)
    masked = apply(masking, rows)
    chosen = np.zeros((2000, 512), bool)
    row, column = np.nonzero(masked["mlm_weights"])
    chosen[row, masked["mlm_positions"][row, column]] = True
    one_word = rows["candidates"][:, 1:] & rows["candidates"][:, :-1] & rows["continues"][:, 1:]
    assert (chosen[:, 1:] == chosen[:, :-1])[one_word].all()
    assert (chosen[:, 1:] & one_word).sum() > 10_000  # there was something to see
    assert not (chosen & ~rows["candidates"]).any()
    assert (chosen.sum(axis=1) <= masking.budget(rows["lengths"])).all()


def test_a_run_ends_with_its_segment() -> None:
    """`[CLS] a b [SEP] c d [SEP]`: a run that begins with b or d is that word alone."""
    num = 1000
    rows = make_rows([2] * num, [2] * num, 7)
    rows["continues"][:] = False
    masked = apply(Masking(rate=0.3, max_ngram=2), rows)  # budget 2
    order = uniform(rows["keys"][:, None], SELECT, np.arange(4)).argsort(axis=1)
    (alone,) = np.nonzero(order[:, 0] % 2)
    expected = np.sort(np.array([1, 2, 4, 5])[order[alone, :2]])
    np.testing.assert_array_equal(masked["mlm_positions"][alone], expected)


def test_runs_make_neighbours() -> None:
    """The same rows under the same keys: whole budgets, but in fewer pieces."""
    rows = make_rows([255] * 500, [254] * 500, 512)
    pieces = []
    for max_ngram in (1, 3, 10):
        masked = apply(Masking(max_ngram=max_ngram), rows)
        assert (masked["mlm_weights"] == 1).all()
        pieces.append((np.diff(masked["mlm_positions"], axis=1) > 1).mean())
    assert pieces[0] > pieces[1] + 0.2 > pieces[2] + 0.3


def test_runs_do_not_depend_on_the_other_rows() -> None:
    rng = np.random.default_rng(2)
    rows = make_rows(rng.integers(1, 40, 64), rng.integers(1, 20, 64), 64)
    masking = Masking(whole_word=True, max_ngram=3)
    together = apply(masking, rows)
    some = rng.permutation(64)[:20]
    apart = apply(masking, {name: value[some] for name, value in rows.items()})
    for name, value in apart.items():
        np.testing.assert_array_equal(value, together[name][some])
