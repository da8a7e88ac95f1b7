from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.model.activations import activation
from bert_jax.model.sizes import SIZES, BertConfig

PLAIN = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}


@pytest.mark.parametrize("name", PLAIN)
def test_derivatives_are_those_of_automatic_differentiation(name: str) -> None:
    f = activation(BertConfig(vocab_size=50, **SIZES["tiny"], activation=name))
    x = jnp.concatenate([jnp.linspace(-40, 40, 4001), jnp.array([0.0, -1e-30, 1e30, -1e30])])
    np.testing.assert_array_equal(f(x), PLAIN[name](x))
    ours, theirs = (jax.grad(lambda x, g=g: g(x).sum())(x) for g in (f, PLAIN[name]))
    finite = np.isfinite(theirs)  # tanh's own derivative is NaN where x³ overflows
    np.testing.assert_allclose(ours[finite], theirs[finite], atol=2e-6)
    narrow = jax.grad(lambda x: f(x).astype(jnp.float32).sum())(x[:4001].astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    exact = jax.grad(lambda x: PLAIN[name](x).sum())(
        x[:4001].astype(jnp.bfloat16).astype("float32")
    )
    np.testing.assert_allclose(narrow.astype(np.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_the_input_alone_is_kept(name: str) -> None:
    f = activation(BertConfig(vocab_size=50, **SIZES["tiny"], activation=name))
    x = jnp.ones((8, 16), jnp.bfloat16)
    _, backward = jax.vjp(f, x)
    assert [leaf.dtype for leaf in jax.tree.leaves(backward)] == [jnp.bfloat16]
