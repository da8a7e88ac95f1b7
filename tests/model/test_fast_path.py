"""The model as it is computed against the same written down plainly, dropout off."""

from functools import partial
from typing import Any

import faithful
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.attention import dot_product_attention
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.packing import first_tokens, positions, sequence_numbers
from bert_jax.model.sizes import BertConfig
from bert_jax.training.losses import pretraining_sums
from bert_jax.training.steps import init_params

LENGTHS = (9, 5, 24, 7, 1, 16, 3)
SMALL = {"vocab_size": 50, "num_layers": 2, "num_heads": 2, "width": 16, "max_positions": 24}


def make_batch(num_tokens: int = 24, predictions: int = 4) -> dict[str, np.ndarray]:
    """Rows of one pair each."""
    random = np.random.default_rng(0)
    rows, lengths = len(LENGTHS), np.array(LENGTHS, np.int32)
    place = np.arange(num_tokens)
    real = place < lengths[:, None]
    positions = np.sort(random.integers(0, lengths[:, None], (rows, predictions)), axis=1)
    return {
        "input_ids": np.where(real, random.integers(5, 50, (rows, num_tokens)), 0).astype(np.int32),
        "segment_ids": (real & (place >= lengths[:, None] // 2)).astype(np.int32),
        "lengths": lengths,
        "mlm_positions": positions.astype(np.int32),
        "mlm_ids": random.integers(0, 50, (rows, predictions), np.int32),
        "mlm_weights": (random.random((rows, predictions)) < 0.7).astype(np.float32),
        "nsp_labels": random.integers(0, 2, rows, np.int32),
    }


def pack(batch: dict[str, np.ndarray], rows: list[list[int]], most: int) -> dict[str, np.ndarray]:
    """The same pairs, several in a row."""
    num_tokens, predictions = batch["input_ids"].shape[1], batch["mlm_ids"].shape[1]
    shapes = {"input_ids": num_tokens, "segment_ids": num_tokens, "lengths": most}
    shapes |= dict.fromkeys(("mlm_positions", "mlm_ids", "mlm_weights"), most * predictions)
    shapes["nsp_labels"] = most
    packed = {name: np.zeros((len(rows), n), batch[name].dtype) for name, n in shapes.items()}
    for row, members in enumerate(rows):
        begin = 0
        for place, member in enumerate(members):
            end = begin + batch["lengths"][member]
            here = slice(place * predictions, (place + 1) * predictions)
            for name in ("input_ids", "segment_ids"):
                packed[name][row, begin:end] = batch[name][member, : end - begin]
            for name in ("mlm_ids", "mlm_weights"):
                packed[name][row, here] = batch[name][member]
            packed["mlm_positions"][row, here] = batch["mlm_positions"][member] + begin
            for name in ("lengths", "nsp_labels"):
                packed[name][row, place] = batch[name][member]
            begin = end
    return packed


ROWS = [[2], [0, 1, 3, 6], [5, 4], []]


@partial(jax.jit, static_argnums=1)
def losses(params: Any, config: BertConfig, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    logits = BertForPreTraining(config).apply(
        {"params": params},
        batch["input_ids"],
        batch["segment_ids"],
        batch["lengths"],
        batch["mlm_positions"],
    )
    sums = pretraining_sums(*logits, batch)
    return {name: pair[0] for name, pair in sums.items() if name.endswith("_loss")}


def with_gradient(function: Any, params: Any) -> tuple[dict[str, jax.Array], Any]:
    def total(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        found = function(params)
        return found["mlm_loss"] + found["nsp_loss"], found

    gradient, found = jax.grad(total, has_aux=True)(params)
    return found, gradient


def make_params(config: BertConfig) -> Any:
    """Ten times as large as BERT's, or gradients would be next to nothing."""
    params = init_params(BertForPreTraining(config), jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf * 10 if leaf.ndim > 1 else leaf + 0.1, params)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("packed", [False, True])
def test_loss_and_gradients_are_the_plain_ones(activation: str, packed: bool) -> None:
    config = BertConfig(**SMALL, activation=activation)
    params, batch = make_params(config), make_batch()
    expected, gradient = with_gradient(lambda p: faithful.sums(p, config, batch), params)
    given = pack(batch, ROWS, most=4) if packed else batch
    found, ours = with_gradient(lambda p: losses(p, config, given), params)
    for name, loss in expected.items():
        assert float(found[name]) == pytest.approx(float(loss), rel=2e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), ours, gradient
    )


@pytest.mark.parametrize("packed", [False, True])
def test_bfloat16_is_as_near_as_its_digits(packed: bool) -> None:
    """With LayerNorm's fast variance; 8 bits are 0.4 % of a number."""
    config = BertConfig(**SMALL, dtype="bfloat16")
    params, batch = make_params(config), make_batch()
    expected, gradient = with_gradient(lambda p: faithful.sums(p, config, batch), params)
    given = pack(batch, ROWS, most=4) if packed else batch
    found, ours = with_gradient(lambda p: losses(p, config, given), params)
    for name, loss in expected.items():
        assert float(found[name]) == pytest.approx(float(loss), rel=5e-3)
    difference = optax.tree.norm(jax.tree.map(jnp.subtract, ours, gradient))
    assert difference < 0.02 * optax.tree.norm(gradient)


def test_sequences_of_a_row() -> None:
    lengths = jnp.array([[3, 2, 0], [4, 0, 0], [0, 0, 0], [3, 2, 1]])
    numbers = [[0, 0, 0, 1, 1, 3], [0, 0, 0, 0, 3, 3], [3] * 6, [0, 0, 0, 1, 1, 2]]
    np.testing.assert_array_equal(sequence_numbers(6, lengths), numbers)
    np.testing.assert_array_equal(
        first_tokens(lengths), [[0, 3, 5], [0, 4, 4], [0, 0, 0], [0, 3, 5]]
    )
    places = [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1], [0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 0]]
    np.testing.assert_array_equal(positions(6, lengths), places)


@pytest.mark.parametrize("packed", [False, True])
def test_attention_is_that_of_a_library(packed: bool) -> None:
    random = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (3, 12, 2, 8)) for key in random)
    lengths = jnp.array([[5, 7], [3, 0], [4, 4]]) if packed else jnp.array([12, 5, 1])
    ours = dot_product_attention(q, k, v, lengths, implementation="auto", dropout=None)
    if packed:
        numbers = sequence_numbers(12, lengths)
        mask = (numbers[:, :, None] == numbers[:, None, :])[:, None]
        theirs = jax.nn.dot_product_attention(q, k, v, mask=mask)
        real = np.asarray(numbers) < 2
    else:
        theirs = jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths)
        real = np.arange(12) < np.asarray(lengths)[:, None]
    np.testing.assert_allclose(ours[real], theirs[real], atol=2e-6)


def test_flash_attention_where_there_is_none_is_said_in_a_line() -> None:
    q = jnp.ones((2, 8, 2, 8), jnp.bfloat16)
    if "cuda" in jax.devices()[0].client.platform_version:
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"use model\.attention=auto"):
        dot_product_attention(q, q, q, jnp.array([8, 3]), implementation="cudnn", dropout=None)


@pytest.mark.skipif(not any(d.platform == "gpu" for d in jax.devices()), reason="needs a GPU")
@pytest.mark.parametrize("packed", [False, True])
def test_flash_attention_agrees_with_einsum(packed: bool) -> None:
    batch, config = (
        make_batch(),
        BertConfig(**SMALL | {"width": 128}, dtype="bfloat16", attention_dropout=0.0),
    )
    given, params = pack(batch, ROWS, most=4) if packed else batch, make_params(config)
    if not packed:
        given["lengths"][0] = 0  # no key at all
    found = {}
    for attention in ("einsum", "cudnn"):
        named = BertConfig(**vars(config) | {"attention": attention})
        found[attention] = with_gradient(lambda p, named=named: losses(p, named, given), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02), *found.values()
    )
