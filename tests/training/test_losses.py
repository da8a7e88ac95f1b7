import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.training.losses import accuracy, cross_entropy, mean, pretraining_sums


def make_batch(labels: bool = True) -> dict[str, jnp.ndarray]:
    batch = {
        "lengths": jnp.array([5, 0]),
        "mlm_ids": jnp.array([[2, 0], [1, 1]]),
        "mlm_weights": jnp.array([[1.0, 0.0], [0.0, 0.0]]),
    }
    return batch | ({"nsp_labels": jnp.array([1, 1])} if labels else {})


def test_cross_entropy_sums_over_the_rows_that_count() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    labels, weights = np.array([[0, 1, 2], [3, 4, 0]]), np.array([[1, 0, 1], [1, 1, 0]], np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = sum(
        -np.log(probabilities[row, place, labels[row, place]])
        for row in range(2)
        for place in range(3)
        if weights[row, place]
    )
    total, weight = cross_entropy(jnp.array(logits), jnp.array(labels), jnp.array(weights))
    assert total == pytest.approx(expected, rel=1e-6)
    assert weight == 4


def test_large_logits_give_numbers() -> None:
    total, _ = cross_entropy(jnp.array([[1e5, -1e5]]), jnp.array([0]), jnp.array([1.0]))
    assert total == 0


def test_padding_counts_nowhere() -> None:
    logits = jnp.zeros((2, 2, 3)).at[0, 0, 2].set(1.0)
    sums = pretraining_sums(logits, jnp.array([[0.0, 1.0], [1.0, 0.0]]), make_batch())
    assert {name: (float(total), float(weight)) for name, (total, weight) in sums.items()} == {
        "mlm_loss": (pytest.approx(np.log(np.e + 2) - 1), 1),
        "mlm_accuracy": (1, 1),
        "nsp_loss": (pytest.approx(np.log(1 + np.exp(-1))), 1),
        "nsp_accuracy": (1, 1),
        "nsp_is_random": (1, 1),
    }


def test_without_labels_there_is_no_nsp() -> None:
    sums = pretraining_sums(jnp.zeros((2, 2, 3)), jnp.zeros((2, 2)), make_batch(labels=False))
    assert sums.keys() == {"mlm_loss", "mlm_accuracy"}


def test_accuracy_counts_the_highest_score() -> None:
    logits = jnp.array([[0.0, 2.0], [3.0, 1.0], [0.0, 1.0]])
    total, weight = accuracy(logits, jnp.array([1, 1, 1]), jnp.array([1.0, 1.0, 0.0]))
    assert (total, weight) == (1, 2)


def test_the_mean_of_nothing_is_zero() -> None:
    assert mean((jnp.array(0.0), jnp.array(0.0))) == 0
    assert mean((jnp.array(6.0), jnp.array(4.0))) == 1.5
