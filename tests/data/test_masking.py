"""80-10-10 and whole words: exact rules row by row, shares over a million tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masking_cases import (
    CLS,
    MASK,
    ORDINARY,
    PAD,
    SEP,
    apply,
    chosen_places,
    make_rows,
    within_four_sigma,
)

from bert_jax.data.keyed_random import random_bits
from bert_jax.data.masking import Masking
from bert_jax.errors import UserError

# 2**20 tokens of text and special tokens: 154 thousand of them are chosen at 15 %.
NUM_ROWS, SEQ_LEN = 2048, 512


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    half = (SEQ_LEN - 3) // 2
    return make_rows([half] * NUM_ROWS, [SEQ_LEN - 3 - half] * NUM_ROWS, SEQ_LEN)


@pytest.fixture(scope="module")
def masked(many: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return apply(Masking(), many)


def before_and_after(
    many: dict[str, np.ndarray], masked: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The chosen tokens of all rows: what was there, what is there now."""
    originals = np.take_along_axis(many["input_ids"], masked["mlm_positions"], axis=1)
    replaced = np.take_along_axis(masked["input_ids"], masked["mlm_positions"], axis=1)
    return originals.ravel(), replaced.ravel()


@pytest.mark.parametrize(
    ("length", "budget"),
    [
        (3, 1),
        (5, 1),
        (10, 2),
        (30, 4),
        (50, 8),
        (70, 10),
        (128, 19),
        (256, 38),
        (384, 58),
        (512, 77),
    ],
)
def test_budget_is_google_s(length: int, budget: int) -> None:
    assert Masking().max_predictions(length) == budget
    assert Masking().budget(np.array([length])).tolist() == [budget]


def test_budget_rounds_as_python_does() -> None:
    lengths = np.arange(3, 2000)
    expected = [max(1, round(length * 0.15)) for length in lengths.tolist()]
    assert Masking().budget(lengths).tolist() == expected


def most_predictions(masking: Masking, seq_len: int, most: int) -> int:
    """The largest sum of budgets of so many examples of 3 tokens or more, by trying all."""
    budget = [0] * 3 + masking.budget(np.arange(3, seq_len + 1)).tolist()
    best = [0] * (seq_len + 1)  # by tokens
    for _ in range(min(most, seq_len // 3)):
        best = [
            max([best[room], *(budget[n] + best[room - n] for n in range(3, room + 1))])
            for room in range(seq_len + 1)
        ]
    return best[-1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(5, 60), st.integers(2, 30), st.floats(0.001, 0.999))
def test_no_row_can_have_more_predictions(seq_len: int, most: int, rate: float) -> None:
    masking = Masking(rate=rate)
    assert most_predictions(masking, seq_len, most) <= masking.max_predictions(seq_len, most)


@pytest.mark.parametrize(
    ("seq_len", "most", "rate"), [(512, 8, 0.15), (128, 99, 0.15), (128, 4, 0.15), (60, 9, 0.01)]
)
def test_the_bound_is_reached(seq_len: int, most: int, rate: float) -> None:
    masking = Masking(rate=rate)
    assert masking.max_predictions(seq_len, most) == most_predictions(masking, seq_len, most)


def test_every_row_spends_its_whole_budget(masked: dict[str, np.ndarray]) -> None:
    assert masked["mlm_weights"].shape == (NUM_ROWS, 77)
    assert (masked["mlm_weights"] == 1).all()


def test_80_10_10(many: dict[str, np.ndarray], masked: dict[str, np.ndarray]) -> None:
    originals, replaced = before_and_after(many, masked)
    num = originals.size
    # A random token is the original one time in a thousand.
    kept = 0.1 + 0.1 / len(ORDINARY)
    assert within_four_sigma((replaced == MASK).sum(), num, 0.8)
    assert within_four_sigma((replaced == originals).sum(), num, kept)
    assert within_four_sigma(((replaced != MASK) & (replaced != originals)).sum(), num, 0.2 - kept)


@pytest.mark.parametrize(("mask_share", "random_share"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_shares_can_be_all_or_nothing(
    many: dict[str, np.ndarray], mask_share: float, random_share: float
) -> None:
    masking = Masking(mask_share=mask_share, random_share=random_share)
    originals, replaced = before_and_after(many, apply(masking, many))
    assert (replaced == MASK).all() == (mask_share == 1)
    assert (replaced == originals).all() == (mask_share + random_share == 0)


def test_random_tokens_are_ordinary_and_all_equally_likely(
    many: dict[str, np.ndarray], masked: dict[str, np.ndarray]
) -> None:
    originals, replaced = before_and_after(many, masked)
    drawn = replaced[(replaced != MASK) & (replaced != originals)]
    counts = np.bincount(drawn, minlength=ORDINARY[-1] + 1)
    assert counts[: ORDINARY[0]].sum() == 0
    assert len(counts) == ORDINARY[-1] + 1
    expected = len(drawn) / len(ORDINARY)
    freedom = len(ORDINARY) - 1
    chi_square = ((counts[ORDINARY] - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_every_place_in_the_text_is_chosen_equally_often(
    many: dict[str, np.ndarray], masked: dict[str, np.ndarray]
) -> None:
    counts = np.bincount(masked["mlm_positions"].ravel(), minlength=SEQ_LEN)
    text = many["candidates"][0]
    assert counts[~text].sum() == 0
    share = 77 / text.sum()
    # Draws without replacement: squared deviations add up to one term less.
    freedom = text.sum() - 1
    variance = NUM_ROWS * share * (1 - share) * text.sum() / freedom
    chi_square = ((counts[text] - NUM_ROWS * share) ** 2 / variance).sum()
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_the_replacement_is_drawn_for_each_token_alone(masked: dict[str, np.ndarray]) -> None:
    """The next chosen token of a row is [MASK] as often after [MASK] as after another."""
    is_mask = np.take_along_axis(masked["input_ids"], masked["mlm_positions"], axis=1) == MASK
    first, second = is_mask[:, ::2][:, :38].ravel(), is_mask[:, 1::2].ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(first.size)


@pytest.mark.parametrize("whole_word", [False, True])
def test_positions_ascend_and_labels_are_the_originals(whole_word: bool) -> None:
    rng = np.random.default_rng(1)
    rows = make_rows(rng.integers(1, 40, 500), rng.integers(1, 20, 500), 64)
    masked = apply(Masking(whole_word=whole_word), rows)
    for row, original in enumerate(rows["input_ids"]):
        places = chosen_places(masked, row)
        num, left = len(places), masked["mlm_positions"].shape[1] - len(places)
        assert num >= 1 or whole_word
        assert places == sorted(set(places))
        assert rows["candidates"][row, places].all()
        assert masked["mlm_ids"][row, :num].tolist() == original[places].tolist()
        assert masked["mlm_weights"][row].tolist() == [1] * num + [0] * left
        assert masked["mlm_positions"][row, num:].tolist() == [0] * left
        assert masked["mlm_ids"][row, num:].tolist() == [0] * left
        untouched = np.setdiff1d(np.arange(64), places)
        assert (masked["input_ids"][row, untouched] == original[untouched]).all()


def test_the_given_rows_are_not_written_to() -> None:
    rows = make_rows([20], [10], 40)
    before = rows["input_ids"].copy()
    apply(Masking(), rows)
    np.testing.assert_array_equal(rows["input_ids"], before)


@pytest.mark.parametrize("whole_word", [False, True])
def test_masks_do_not_depend_on_the_other_rows(whole_word: bool) -> None:
    rng = np.random.default_rng(2)
    rows = make_rows(rng.integers(1, 40, 64), rng.integers(1, 20, 64), 64)
    masking = Masking(whole_word=whole_word)
    together = apply(masking, rows)
    some = rng.permutation(64)[:20]
    apart = apply(masking, {name: value[some] for name, value in rows.items()})
    for name, value in apart.items():
        np.testing.assert_array_equal(value, together[name][some])


def test_masks_do_not_depend_on_the_padding() -> None:
    short, long = (make_rows([20, 9], [10, 3], seq_len) for seq_len in (33, 60))
    for name in ("input_ids", "continues"):
        long[name][:, :33] = short[name]
    masked = [apply(Masking(whole_word=True), rows) for rows in (short, long)]
    for row in range(2):
        assert chosen_places(masked[0], row) == chosen_places(masked[1], row)
    np.testing.assert_array_equal(masked[0]["input_ids"], masked[1]["input_ids"][:, :33])


def test_equal_keys_give_equal_masks_and_others_other_masks() -> None:
    rows = make_rows([40], [20], 64)
    rows = {name: np.repeat(value, 3, axis=0) for name, value in rows.items()}
    rows["keys"] = random_bits(0, np.array([1, 2, 1]))
    masked = apply(Masking(), rows)
    np.testing.assert_array_equal(masked["input_ids"][0], masked["input_ids"][2])
    assert chosen_places(masked, 0) == chosen_places(masked, 2) != chosen_places(masked, 1)


def test_a_mask_never_changes() -> None:
    rows = {
        "input_ids": np.array([[CLS, *range(500, 518), SEP]] * 2),
        "lengths": np.array([20, 20]),
        "candidates": np.array([[False, *[True] * 18, False]] * 2),
        "continues": np.tile(np.arange(20) % 3 == 0, (2, 1)),
        "keys": random_bits(0, np.array([6, 12])),
    }
    masked = apply(Masking(rate=0.3, whole_word=True), rows)
    assert masked["mlm_positions"].tolist() == [[4, 5, 6, 7, 10, 13], [4, 5, 6, 7, 17, 18]]
    hidden = np.take_along_axis(masked["input_ids"], masked["mlm_positions"], axis=1)
    assert hidden.tolist() == [[4, 4, 4, 4, 4, 4], [4, 4, 4, 4, 565, 4]]


def test_a_row_of_padding_has_no_predictions() -> None:
    rows = make_rows([10, 10], [5, 5], 20)
    rows["lengths"][0], rows["candidates"][0], rows["input_ids"][0] = 0, False, PAD
    masked = apply(Masking(), rows)
    assert (masked["input_ids"][0] == PAD).all()
    assert masked["mlm_weights"].sum(axis=1).tolist() == [0, 3]


def test_words_are_hidden_whole_or_not_at_all() -> None:
    rng = np.random.default_rng(3)
    rows = make_rows(rng.integers(1, 250, 2000), rng.integers(0, 250, 2000), 512)
    masking = Masking(whole_word=True)
    masked = apply(masking, rows)
    chosen = np.zeros((2000, 512), bool)
    row, column = np.nonzero(masked["mlm_weights"])
    chosen[row, masked["mlm_positions"][row, column]] = True
    one_word = rows["candidates"][:, 1:] & rows["candidates"][:, :-1] & rows["continues"][:, 1:]
    assert (chosen[:, 1:] == chosen[:, :-1])[one_word].all()
    assert (chosen[:, 1:] & one_word).sum() > 10_000  # there was something to see
    assert (chosen.sum(axis=1) <= masking.budget(rows["lengths"])).all()


def test_a_segment_that_starts_inside_a_word_is_no_part_of_the_one_before() -> None:
    """`[CLS] w0 w1 [SEP] ##x ##y [SEP]`: Google's glues x and y to w1."""
    num = 1000
    rows = make_rows([2] * num, [2] * num, 7)
    rows["continues"][:] = [False, False, False, False, True, True, False]
    masked = apply(Masking(rate=0.3, whole_word=True), rows)  # budget 2
    seen = {tuple(chosen_places(masked, row)) for row in range(num)}
    assert seen == {(1, 2), (4, 5)}


def test_all_pieces_of_pretraining_are_hidden_or_none() -> None:
    """Specification 2.6: `[CLS] let us start pre ##train ##ing the model [SEP]`."""
    num = 1000
    word = [0, 1, 2, 3, 4, 4, 4, 5, 6, 7]
    rows = {
        "input_ids": np.tile([CLS, *range(10, 18), SEP], (num, 1)),
        "lengths": np.full(num, 10),
        "candidates": np.tile(np.array([0, *[1] * 8, 0], bool), (num, 1)),
        "continues": np.tile(np.diff(word, prepend=-1) == 0, (num, 1)),
        "keys": random_bits(0, np.arange(num)),
    }
    pretraining = {4, 5, 6}
    three = apply(Masking(rate=0.3, whole_word=True), rows)
    seen = [set(chosen_places(three, row)) for row in range(num)]
    assert all(len(places) == 3 for places in seen)  # 0.3 of 10 tokens
    # Chosen first, it fills the budget and `let` stays; after another word it does not fit.
    assert all(places == pretraining or not places & pretraining for places in seen)
    assert within_four_sigma(sum(places == pretraining for places in seen), num, 1 / 6)

    two = apply(Masking(rate=0.15, whole_word=True), rows)
    assert all(
        len(chosen_places(two, row)) == 2 and not pretraining & set(chosen_places(two, row))
        for row in range(num)
    )


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 15.0])
def test_a_rate_outside_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match=r"masking\.rate"):
        Masking(rate=rate)


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (0.1, -0.1), (0.8, 0.3)])
def test_shares_must_be_shares(shares: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"masking.mask_share .* masking.random_share"):
        Masking(mask_share=shares[0], random_share=shares[1])


@pytest.mark.parametrize("mask_share", [0.8, 0.9, 0.85, 0.7])
def test_shares_may_add_up_to_one(mask_share: float) -> None:
    Masking(mask_share=mask_share, random_share=1 - mask_share)


@pytest.mark.parametrize("max_ngram", [-1, 0, 101])
def test_a_run_has_at_least_a_word_and_no_hundreds(max_ngram: int) -> None:
    with pytest.raises(UserError, match=rf"masking\.max_ngram is {max_ngram}; .* 1 and 100"):
        Masking(max_ngram=max_ngram)


def test_weights_of_runs_need_runs() -> None:
    with pytest.raises(UserError, match=r"ngram_weights=geometric needs .* masking\.max_ngram"):
        Masking(ngram_weights="geometric")
