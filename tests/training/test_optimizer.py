import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.training.optimizer import decay_mask, make_optimizer
from bert_jax.training.steps import init_params

PARAMS = {"dense": {"kernel": jnp.array([[0.5, -2.0]]), "bias": jnp.array([0.1, 0.2])}}


def run(optimizer: optax.GradientTransformation, gradients: list) -> dict:
    params, state = PARAMS, optimizer.init(PARAMS)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def make_gradients(count: int = 5) -> list:
    random = np.random.default_rng(0)
    return [
        jax.tree.map(lambda leaf: jnp.array(random.normal(size=leaf.shape) * 0.1), PARAMS)
        for _ in range(count)
    ]


def test_with_bias_correction_it_is_adamw() -> None:
    ours = make_optimizer(lambda _: 0.01)
    theirs = optax.adamw(0.01, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01, mask=decay_mask)
    gradients = make_gradients()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        run(ours, gradients),
        run(theirs, gradients),
    )


def test_without_it_the_update_is_googles() -> None:
    """Optimization.py L119-150, for one weight: m and v from zero, no correction."""
    kernel, m, v = 0.5, 0.0, 0.0
    gradients = make_gradients()
    for gradient in gradients:
        g = float(gradient["dense"]["kernel"][0, 0])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        kernel -= 0.01 * (m / (np.sqrt(v) + 1e-6) + 0.01 * kernel)
    trained = run(make_optimizer(lambda _: 0.01, bias_correction=False), gradients)
    assert trained["dense"]["kernel"][0, 0] == pytest.approx(kernel, rel=1e-5)


def test_the_first_uncorrected_update_is_root_ten_times_as_long() -> None:
    gradient = make_gradients(1)
    lengths = []
    for switch in (False, True):
        optimizer = make_optimizer(lambda _: 1.0, bias_correction=switch, eps=1e-12)
        updates, _ = optimizer.update(gradient[0], optimizer.init(PARAMS), PARAMS)
        lengths.append(np.abs(updates["dense"]["bias"]))  # not decayed
    np.testing.assert_allclose(lengths[0] / lengths[1], np.sqrt(10), rtol=1e-5)


def test_decay_spares_biases_and_layer_norms_only() -> None:
    model = BertForPreTraining(BertConfig(vocab_size=50, **SIZES["tiny"]))
    params = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    for (path, leaf), (_, decayed) in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree_util.tree_leaves_with_path(decay_mask(params)),
        strict=True,
    ):
        assert decayed == (leaf.ndim > 1), path


def test_clipping_is_by_global_norm() -> None:
    huge = jax.tree.map(lambda leaf: jnp.full_like(leaf, 100.0), PARAMS)
    unit = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), PARAMS)  # norm of four 0.5 is 1
    # eps as large as the gradient, or Adam would hide its length.
    optimizer = make_optimizer(lambda _: 0.01, eps=1.0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        run(optimizer, [huge]),
        run(optimizer, [unit]),
    )


def test_impossible_values_are_refused() -> None:
    with pytest.raises(UserError, match="clip_norm"):
        make_optimizer(lambda _: 0.01, clip_norm=0.0)
