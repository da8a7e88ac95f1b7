from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.training.optimizer import clip_by_global_norm, decay_mask, make_optimizer
from bert_jax.training.steps import init_params

RATE = 0.01
PARAMS = {
    "dense": {"kernel": jnp.array([[0.5, -2.0]]), "bias": jnp.array([0.1, 0.2])},
    "LayerNorm": {"scale": jnp.array([1.0, 0.9]), "bias": jnp.array([0.0, 0.0])},
    "embedding": {"embedding": jnp.zeros((3, 1))},
}
# Decays whose powers float32 holds exactly: of 1 − 0.999ᵗ it loses three digits.
EXACT = {"b1": 0.5, "b2": 0.75}
EXCLUDED = [("dense", "bias"), ("LayerNorm", "scale"), ("LayerNorm", "bias")]


def run(optimizer: optax.GradientTransformation, gradients: list) -> dict:
    """The parameters after a step of `RATE` for each gradient."""
    params, state = PARAMS, optimizer.init(PARAMS)
    for gradient in gradients:
        direction, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(lambda p, d: p - RATE * d, params, direction)
    return params


def make_gradients(count: int = 5, scale: float = 0.1) -> list:
    random = np.random.default_rng(0)
    return [
        jax.tree.map(lambda leaf: jnp.array(random.normal(size=leaf.shape) * scale), PARAMS)
        for _ in range(count)
    ]


def assert_close(a: Any, b: Any, atol: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=atol), a, b)


def test_with_bias_correction_it_is_adamw() -> None:
    theirs = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(**EXACT, eps=1e-6),
        optax.add_decayed_weights(0.01, mask=decay_mask),
    )
    for scale in (0.1, 10.0):  # shorter than the clipping norm, and longer
        gradients = make_gradients(scale=scale)
        assert_close(run(make_optimizer(**EXACT), gradients), run(theirs, gradients), atol=1e-8)


def test_without_it_the_update_is_googles() -> None:
    """Optimization.py L119-150, for one weight: m and v from zero, no correction."""
    kernel, m, v = 0.5, 0.0, 0.0
    gradients = make_gradients()
    for gradient in gradients:
        g = float(gradient["dense"]["kernel"][0, 0])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        kernel -= RATE * (m / (np.sqrt(v) + 1e-6) + 0.01 * kernel)
    trained = run(make_optimizer(bias_correction=False), gradients)
    assert trained["dense"]["kernel"][0, 0] == pytest.approx(kernel, rel=1e-5)


def test_the_first_uncorrected_direction_is_root_ten_times_as_long() -> None:
    gradient = make_gradients(1)
    lengths = []
    for switch in (False, True):
        optimizer = make_optimizer(bias_correction=switch, eps=1e-12)
        direction, _ = optimizer.update(gradient[0], optimizer.init(PARAMS), PARAMS)
        lengths.append(np.abs(direction["dense"]["bias"]))  # not decayed
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


@pytest.mark.parametrize("scale", [1e-3, 0.5, 100.0])
def test_clipping_is_by_global_norm(scale: float) -> None:
    gradient = make_gradients(1, scale)[0]
    ours, theirs = (
        clip.update(gradient, optax.EmptyState())[0]
        for clip in (clip_by_global_norm(1.0), optax.clip_by_global_norm(1.0))
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert optax.tree.norm(ours) <= 1 + 1e-6


def numpy_lamb(gradients: list, *, b1: float, b2: float) -> dict:
    """You et al. 2019, algorithm 2, of clipped gradients; tensors by path."""
    as_numpy = partial(jax.tree.map, lambda x: np.asarray(x, np.float64))
    params = {(a, b): x for a, part in as_numpy(PARAMS).items() for b, x in part.items()}
    m = {path: 0.0 for path in params}
    v = {path: 0.0 for path in params}
    for t, gradient in enumerate(gradients, 1):
        norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(as_numpy(gradient))))
        for path, w in params.items():
            g = as_numpy(gradient)[path[0]][path[1]] / max(1.0, norm)
            m[path] = b1 * m[path] + (1 - b1) * g
            v[path] = b2 * v[path] + (1 - b2) * g**2
            u = m[path] / (1 - b1**t) / (np.sqrt(v[path] / (1 - b2**t)) + 1e-6)
            ratio = 1.0
            if path not in EXCLUDED:
                u = u + 0.01 * w
                lengths = np.linalg.norm(w), np.linalg.norm(u)
                ratio = lengths[0] / lengths[1] if min(lengths) > 0 else 1.0
            params[path] = w - RATE * ratio * u
    return params


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_lamb_is_the_papers(scale: float) -> None:
    gradients = make_gradients(scale=scale)
    trained = run(make_optimizer(algorithm="lamb", **EXACT), gradients)
    for (first, second), expected in numpy_lamb(gradients, **EXACT).items():
        np.testing.assert_allclose(trained[first][second], expected, rtol=1e-6, atol=1e-8)


def test_lamb_takes_excluded_tensors_as_adam_does() -> None:
    """And a tensor of zeros, for the first step."""
    gradient = make_gradients(1)
    adam, lamb = run(make_optimizer(), gradient), run(make_optimizer(algorithm="lamb"), gradient)
    for first, second in [*EXCLUDED, ("embedding", "embedding")]:
        np.testing.assert_array_equal(lamb[first][second], adam[first][second])
    assert np.any(lamb["dense"]["kernel"] != adam["dense"]["kernel"])


def test_a_direction_of_length_0_stays_0() -> None:
    """A tensor without a gradient and without decay, though it has a length."""
    optimizer = make_optimizer(algorithm="lamb", weight_decay=0.0)
    nothing = jax.tree.map(jnp.zeros_like, PARAMS)
    direction, _ = optimizer.update(nothing, optimizer.init(PARAMS), PARAMS)
    jax.tree.map(np.testing.assert_array_equal, direction, nothing)


@pytest.mark.parametrize("algorithm", ["adamw", "lamb"])
def test_shards_take_the_step_of_the_whole(algorithm: Any) -> None:
    """Three devices with a third of each tensor: flat, filled up with zeros."""
    optimizer = make_optimizer(algorithm=algorithm, **EXACT)
    model = BertForPreTraining(BertConfig(vocab_size=50, num_layers=1, num_heads=1, width=8))
    params = init_params(model, jax.random.key(0))

    def cut(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.pad(x.reshape(-1), (0, -x.size % 3)).reshape(3, -1), tree)

    def update(gradients: Any, state: Any, params: Any) -> Any:
        sum_parts = partial(jax.lax.psum, axis_name="shard")
        return optimizer.update(gradients, state, params, sum_parts=sum_parts)

    state, shards = optimizer.init(params), cut(params)
    shard_state = jax.vmap(optimizer.init)(shards)
    for step in range(3):
        keys = iter(jax.random.split(jax.random.key(step), 100))
        gradients = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), params)  # noqa: B023
        assert optax.tree.norm(gradients) > 1  # it is clipped
        whole, state = optimizer.update(gradients, state, params)
        parts, shard_state = jax.vmap(update, axis_name="shard")(
            cut(gradients), shard_state, shards
        )
        assert_close(parts, cut(whole), atol=1e-6)  # where gradients cancel out
        params = jax.tree.map(lambda p, d: p - RATE * d, params, whole)
        shards = jax.tree.map(lambda p, d: p - RATE * d, shards, parts)
    assert_close(shards, cut(params), atol=1e-7)


def test_its_state_is_adams() -> None:
    state = [x for x in make_optimizer().init(PARAMS) if isinstance(x, optax.ScaleByAdamState)]
    assert len(state) == 1
    assert len(jax.tree.leaves(make_optimizer().init(PARAMS))) == 1 + 2 * len(
        jax.tree.leaves(PARAMS)
    )


def test_impossible_values_are_refused() -> None:
    with pytest.raises(UserError, match="clip_norm"):
        make_optimizer(clip_norm=0.0)
