import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bert_jax.model.dropout import Dropout, drop, keep_mask


def seeds_of(number: int, rows: int) -> jax.Array:
    return jax.random.bits(jax.random.key(number), (rows, 2), "uint32")


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_every_row_and_every_place_is_dropped_as_often(rate: float) -> None:
    rows, width = 512, 2048
    kept = np.asarray(keep_mask(seeds_of(0, rows), (rows, width), rate))
    spread = np.sqrt(rate * (1 - rate))
    for axis, count in ((0, rows), (1, width)):
        z = (kept.mean(axis=axis) - (1 - rate)) / (spread / np.sqrt(count))
        assert np.abs(z).max() < 5
        assert z.std() == pytest.approx(1.0, abs=0.15)


def test_masks_have_nothing_to_do_with_one_another() -> None:
    """Neighbours, rows, powers of two apart, calls: correlations as of independent draws."""
    rows, shape = 64, (64, 64, 128)
    here = np.asarray(keep_mask(seeds_of(1, rows), shape, 0.3)).reshape(rows, -1) - 0.7
    there = np.asarray(keep_mask(seeds_of(2, rows), shape, 0.3)).reshape(rows, -1) - 0.7

    def z(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum() / (0.21 * np.sqrt(a.size)))

    assert abs(z(here, there)) < 4
    for distance in (1, 2, 3, 64, 128, 4096):
        assert abs(z(here[:, distance:], here[:, :-distance])) < 4
    between = here @ here.T / (0.21 * np.sqrt(here.shape[1]))
    between -= np.diag(np.diag(between))
    assert np.abs(between).max() < 5


def test_no_row_repeats_a_part_of_another() -> None:
    rows, width = 1024, 4096
    kept = np.asarray(keep_mask(seeds_of(3, rows), (rows, width), 0.5))
    words = np.lib.stride_tricks.sliding_window_view(np.packbits(kept, axis=1), 8, axis=1)
    found = np.ascontiguousarray(words[:, ::8]).view(np.uint64)
    assert len(np.unique(found)) == found.size


def test_the_backward_pass_draws_the_same_mask_and_keeps_none() -> None:
    x, seeds = jax.random.normal(jax.random.key(0), (4, 8, 16)), seeds_of(4, 4)
    y, backward = jax.vjp(lambda x: drop(x, seeds, 0.25), x)
    (gradient,) = backward(jnp.ones_like(x))
    kept = np.asarray(keep_mask(seeds, x.shape, 0.25))
    np.testing.assert_allclose(y, np.where(kept, x / 0.75, 0), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.where(kept, 1 / 0.75, 0), rtol=1e-6)
    assert sum(leaf.size for leaf in jax.tree.leaves(backward)) == seeds.size


def test_bfloat16_keeps_the_mean() -> None:
    """Scaled by the nearest bfloat16 to 1/0.9 it would be 0.16 % smaller."""
    x = jnp.abs(jax.random.normal(jax.random.key(0), (256, 4096))).astype(jnp.bfloat16)
    y = drop(x, seeds_of(5, 256), 0.1)
    assert y.dtype == jnp.bfloat16
    kept = np.asarray(keep_mask(seeds_of(5, 256), x.shape, 0.1))
    np.testing.assert_array_equal(np.asarray(y) != 0, kept & (np.asarray(x) != 0))
    before, after = (np.asarray(a, np.float64)[kept].sum() for a in (x, y))
    assert after / before == pytest.approx(1 / 0.9, rel=2e-4)


def test_nearly_everything_may_be_dropped() -> None:
    assert not keep_mask(seeds_of(6, 4), (4, 64), 1 - 1e-12).any()


def test_calls_of_a_module_differ_and_repeat() -> None:
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            first = Dropout(0.5, name="a")(x, deterministic=False)
            return first, Dropout(0.5, name="b")(x, deterministic=False)

    x = jnp.ones((2, 64))
    a, b = Twice().apply({}, x, rngs={"dropout": jax.random.key(0)})
    c, _ = Twice().apply({}, x, rngs={"dropout": jax.random.key(1)})
    again, _ = Twice().apply({}, x, rngs={"dropout": jax.random.key(0)})
    assert (a != b).any() and (a != c).any() and (a[0] != a[1]).any()
    np.testing.assert_array_equal(a, again)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, deterministic=True), x)
