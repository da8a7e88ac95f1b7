"""The losses of tasks, against NumPy, and that padding weighs nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from bert_jax.model.heads import BertForTask
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.training.losses import mean
from bert_jax.training.objectives import fine_tuning

CONFIG = BertConfig(vocab_size=40, num_layers=2, num_heads=2, width=16, max_positions=16)
LENGTHS = np.array([5, 9, 0, 3], np.int32)  # the third row only fills up
TASKS = {
    "classes": Labels("sentence", ("a", "b", "c")),
    "number": Labels("sentence", ("score",), "regression"),
    "tokens": Labels("tokens", ("O", "B-X", "I-X")),
    "spans": Labels("spans", ("start", "end")),
}


def make_batch(kind: str, num_tokens: int) -> dict[str, jax.Array]:
    random = np.random.default_rng(0)
    rows = len(LENGTHS)
    inside = np.arange(16)[None] < LENGTHS[:, None]
    ids = np.where(inside, random.integers(1, 40, (rows, 16)), 0)
    targets = {
        "classes": {"labels": np.array([0, 2, 1, 1], np.int32)},
        "number": {"labels": np.array([0.5, -1.0, 9.0, 2.0], np.float32)},
        "tokens": {
            "labels": random.integers(0, 3, (rows, 16)).astype(np.int32)[:, :num_tokens],
            "label_weights": (inside & (random.random((rows, 16)) < 0.5)).astype(np.float32)[
                :, :num_tokens
            ],
        },
        "spans": {
            "starts": np.array([1, 4, 0, 0], np.int32),
            "ends": np.array([2, 8, 0, 2], np.int32),
        },
    }[kind]
    batch = {"input_ids": ids[:, :num_tokens].astype(np.int32), "lengths": LENGTHS, **targets}
    batch["segment_ids"] = np.zeros_like(batch["input_ids"])
    return {name: jnp.asarray(array) for name, array in batch.items()}


def make_model(kind: str) -> tuple[BertForTask, dict]:
    model = BertForTask(CONFIG, TASKS[kind], classifier_dropout=0.1)
    batch = make_batch(kind, 12)
    inputs = (batch["input_ids"], batch["segment_ids"], batch["lengths"])
    params = model.init(jax.random.key(0), *inputs)["params"]
    return model, jax.tree.map(lambda leaf: leaf * (8 if leaf.ndim == 2 else 1), params)


def by_hand(kind: str, scores: np.ndarray, batch: dict[str, np.ndarray]) -> float:
    """The mean loss, row by row."""
    losses = []
    for row, length in enumerate(LENGTHS):
        if not length:
            continue
        if kind == "classes":
            losses.append(-log_softmax(scores[row])[batch["labels"][row]])
        elif kind == "number":
            losses.append((scores[row, 0] - batch["labels"][row]) ** 2)
        elif kind == "tokens":
            for place in np.flatnonzero(batch["label_weights"][row]):
                losses.append(-log_softmax(scores[row, place])[batch["labels"][row, place]])
        else:
            for column, name in enumerate(("starts", "ends")):
                chances = log_softmax(scores[row, :length, column])
                losses.append(-chances[batch[name][row]])
    return float(np.mean(losses))


@pytest.mark.parametrize("kind", TASKS)
def test_losses_are_those_of_the_rows_by_hand(kind: str) -> None:
    model, params = make_model(kind)
    objective = fine_tuning(model)
    batch = make_batch(kind, 12)
    sums = objective.sums(params, batch)
    scores = model.apply(
        {"params": params}, batch["input_ids"], batch["segment_ids"], batch["lengths"]
    )
    plain = {name: np.asarray(array) for name, array in batch.items()}
    assert float(mean(sums["loss"])) == pytest.approx(
        by_hand(kind, np.asarray(scores, np.float64), plain), rel=1e-5
    )
    assert float(objective.weights(batch)["loss"]) == float(sums["loss"][1])
    for name, (total, weight) in sums.items():
        assert np.isfinite(float(total)), name
        assert float(weight) > 0, name


@pytest.mark.parametrize("kind", TASKS)
def test_more_padding_changes_no_loss_and_no_gradient(kind: str) -> None:
    model, params = make_model(kind)
    objective = fine_tuning(model)

    def loss(params: dict, num_tokens: int) -> jax.Array:
        return objective.sums(params, make_batch(kind, num_tokens))["loss"][0]

    for first, second in zip(
        jax.tree.leaves(jax.grad(loss)(params, 9)),
        jax.tree.leaves(jax.grad(loss)(params, 16)),
        strict=True,
    ):
        np.testing.assert_allclose(first, second, rtol=2e-4, atol=2e-5)


def test_dropout_draws_by_its_key() -> None:
    model, params = make_model("classes")
    objective, batch = fine_tuning(model), make_batch("classes", 12)

    def loss(key: jax.Array | None) -> float:
        return float(objective.sums(params, batch, key)["loss"][0])

    assert loss(jax.random.key(1)) == loss(jax.random.key(1))
    assert loss(jax.random.key(1)) != loss(jax.random.key(2))
    assert loss(None) == loss(None)
