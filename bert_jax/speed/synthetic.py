"""Batches of random tokens, of the shapes and with the padding that a speed is asked for."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from bert_jax.errors import UserError
from bert_jax.model.sizes import BertConfig

_MASKED = 0.15  # of the real tokens, Devlin et al. 2018, section 3.1

Predictions = Literal["masked", "all"]
PREDICTIONS = get_args(Predictions)


def synthetic_batch(
    config: BertConfig,
    *,
    batch_size: int,
    seq_len: int,
    padding: float = 0.05,
    examples_per_row: int = 1,
    predictions: Predictions = "masked",
) -> dict[str, np.ndarray]:
    """A batch as `bert_jax.data.batches` makes them; the same for the same arguments.

    With several examples a row, they lie one after the other from the left, cut at random
    places; `lengths` and `nsp_labels` are then [B K], 0 where there is no example.

    Args:
      config: the model, for its vocabulary.
      batch_size: B.
      seq_len: T.
      padding: its mean share; the real tokens of a row are uniform in 1 − 2·padding to 1 of T.
      examples_per_row: K; fewer in a row that has not two tokens for each.
      predictions: "masked": of 15 % of a row's tokens, P = 15 % of T; "all": of every token, P = T.

    Raises:
      UserError: a padding or a number of examples that no row can have.
    """
    if not 0 <= padding <= 0.5:
        raise UserError(
            f"padding is {padding:g}; its mean share is 0 to 0.5, for rows are as often shorter "
            "than the mean as longer"
        )
    if not 1 <= examples_per_row <= seq_len // 2:
        raise UserError(
            f"examples_per_row is {examples_per_row}; rows of {seq_len} tokens hold 1 to "
            f"{seq_len // 2} examples of two tokens or more"
        )
    random = np.random.default_rng(0)
    shortest = max(2, round(seq_len * (1 - 2 * padding)))
    tokens = random.integers(shortest, seq_len + 1, batch_size)  # real ones of each row
    examples = np.stack([_cut(random, int(count), examples_per_row) for count in tokens])
    share = _MASKED if predictions == "masked" else 1.0
    num_predictions = max(1, round(share * seq_len))
    positions = np.zeros((batch_size, num_predictions), np.int32)
    weights = np.zeros((batch_size, num_predictions), np.float32)
    segments = np.zeros((batch_size, seq_len), np.int32)
    for row, count in enumerate(tokens):
        chosen = max(1, round(share * count))
        positions[row, :chosen] = np.sort(random.choice(count, chosen, replace=False))
        weights[row, :chosen] = 1
        for end, length in zip(np.cumsum(examples[row]), examples[row], strict=True):
            segments[row, end - length // 2 : end] = 1
    is_real = np.arange(seq_len) < tokens[:, None]  # [B T]
    labels = random.integers(0, 2, examples.shape, np.int32) * (examples > 0)
    alone = examples_per_row == 1
    return {
        "input_ids": random.integers(0, config.vocab_size, is_real.shape, np.int32) * is_real,
        "segment_ids": segments,
        "lengths": examples[:, 0] if alone else examples,
        "mlm_positions": positions,
        "mlm_ids": random.integers(0, config.vocab_size, positions.shape, np.int32),
        "mlm_weights": weights,
        "nsp_labels": (labels[:, 0] if alone else labels).astype(np.int32),
    }


def _cut(random: np.random.Generator, count: int, parts: int) -> Int[np.ndarray, " K"]:
    """Lengths of the examples that share so many tokens, at least two each; then zeros."""
    used = min(parts, count // 2)
    cuts = np.sort(random.choice(count - 2 * used + used - 1, used - 1, replace=False))
    lengths = np.zeros(parts, np.int32)
    # As many tokens over as lie between the cuts, which take a place each (stars and bars).
    lengths[:used] = 2 + np.diff(cuts, prepend=-1, append=count - used - 1) - 1
    return lengths
