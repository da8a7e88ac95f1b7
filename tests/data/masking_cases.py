"""Rows to mask, for the tests of masking and selection."""

from collections.abc import Sequence

import numpy as np

from bert_jax.data.keyed_random import random_bits
from bert_jax.data.masking import Masking

PAD, UNK, CLS, SEP, MASK = range(5)
ORDINARY = np.arange(10, 1010)  # 5 … 9 stand for [unusedN]


def make_rows(
    a_lengths: Sequence[int], b_lengths: Sequence[int], seq_len: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Rows `[CLS] A [SEP] B [SEP] [PAD]…` of random text, in the arguments of `Masking.apply`.

    Two tokens in five continue a word, wherever they are: at the start of a
    segment too, as after a cut at its front, and even on special tokens.
    """
    rng = np.random.default_rng(seed)
    a, b = np.array(a_lengths)[:, None], np.array(b_lengths)[:, None]
    place = np.arange(seq_len)
    in_a = (place >= 1) & (place <= a)
    in_b = (place > a + 1) & (place <= a + 1 + b)
    lengths = a + b + 3
    special = np.select([place == 0, place < lengths], [CLS, SEP], PAD)
    text = in_a | in_b
    return {
        "input_ids": np.where(text, rng.choice(ORDINARY, (len(a), seq_len)), special),
        "lengths": lengths[:, 0],
        "candidates": text,
        "continues": rng.random((len(a), seq_len)) < 0.4,
        "keys": random_bits(seed, np.arange(len(a))),
    }


def apply(masking: Masking, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rest = {name: value for name, value in rows.items() if name != "input_ids"}
    return masking.apply(rows["input_ids"], **rest, mask_id=MASK, random_ids=ORDINARY)


def chosen_places(masked: dict[str, np.ndarray], row: int) -> list[int]:
    return masked["mlm_positions"][row][masked["mlm_weights"][row] > 0].tolist()


def within_four_sigma(count: int, num: int, share: float) -> bool:
    return abs(count - num * share) < 4 * np.sqrt(num * share * (1 - share))
