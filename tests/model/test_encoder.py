import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.model.activations import activation
from bert_jax.model.dropout import Dropout
from bert_jax.model.encoder import initializer, layer_norm
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.training.steps import init_params

SMALL = BertConfig(
    vocab_size=50, num_layers=2, num_heads=2, width=16, max_positions=12, dropout=0.5
)


def make_inputs(rows: int = 2, tokens: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "input_ids": random.integers(0, 50, (rows, tokens), np.int32),
        "segment_ids": np.tile(np.arange(tokens) >= tokens // 2, (rows, 1)).astype(np.int32),
        "lengths": np.array([tokens, tokens - 3], np.int32)[:rows],
        "mlm_positions": np.array([[1, 2], [2, 3]], np.int32)[:rows],
    }


def run(config: BertConfig, params: dict, inputs: dict[str, np.ndarray], **options: object):  # type: ignore[no-untyped-def]
    """The model's two outputs."""
    params, inputs = jax.tree.map(jnp.asarray, (params, inputs))
    return BertForPreTraining(config).apply({"params": params}, **inputs, **options)


@functools.cache
def make_params(config: BertConfig = SMALL) -> dict:
    return jax.jit(functools.partial(init_params, BertForPreTraining(config)))(jax.random.key(0))


def test_parameter_paths_are_an_api() -> None:
    layer = [
        *(f"attention/self/{name}/{part}" for name in ("query", "key", "value") for part in "bk"),
        *(f"{name}/dense/{part}" for name in ("attention/output", "intermediate") for part in "bk"),
        *(f"{name}/LayerNorm/{part}" for name in ("attention/output", "output") for part in "bs"),
        *(f"output/dense/{part}" for part in "bk"),
    ]
    full = {"b": "bias", "k": "kernel", "s": "scale"}
    expected = {
        *(f"bert/embeddings/{name}_embeddings" for name in ("word", "position", "token_type")),
        *(f"bert/embeddings/LayerNorm/{part}" for part in ("bias", "scale")),
        *(
            f"bert/encoder/layer_{number}/{path[:-1]}{full[path[-1]]}"
            for number in range(2)
            for path in layer
        ),
        *(f"bert/pooler/dense/{part}" for part in ("bias", "kernel")),
        *(f"predictions/dense/{part}" for part in ("bias", "kernel")),
        *(f"predictions/LayerNorm/{part}" for part in ("bias", "scale")),
        "predictions/bias",
        *(f"seq_relationship/dense/{part}" for part in ("bias", "kernel")),
    }
    assert set(flatten_dict(make_params(), sep="/")) == expected


def test_initial_values_are_berts() -> None:
    config = BertConfig(vocab_size=2_000, **SIZES["tiny"])
    for path, value in flatten_dict(make_params(config), sep="/").items():
        if path.endswith("bias"):
            assert not value.any(), path
        elif path.endswith("scale"):
            assert (value == 1).all(), path
        else:
            assert np.abs(value).max() <= 0.04, path  # cut at two deviations of 0.02
            # A normal cut there has 0.8796 of its deviation; 4 sigma of a sample's deviation.
            tolerance = 4 / math.sqrt(2 * value.size)
            assert np.std(value) == pytest.approx(0.8796 * 0.02, rel=tolerance), path


def test_layer_norm_is_berts_and_not_flaxs() -> None:
    x = jnp.array([[1e-4, -1e-4, 3e-4, 0.0]])
    normal = layer_norm(SMALL, "n").apply(
        {"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}, x
    )
    expected = (x - x.mean()) / np.sqrt(np.var(x) + 1e-12)
    np.testing.assert_allclose(normal, expected, rtol=1e-5)
    flax_default = nn.LayerNorm().apply({"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}, x)
    assert np.abs(flax_default - expected).max() > 0.1  # what epsilon 1e-6 would give
    layer = layer_norm(SMALL, "n")
    assert (layer.epsilon, layer.use_fast_variance, layer.dtype) == (1e-12, False, jnp.float32)


def test_gelu_is_exact_unless_asked_otherwise() -> None:
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    tanh = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(activation(SMALL)(jnp.asarray(x)), exact, atol=2e-6)
    config = BertConfig(vocab_size=50, **SIZES["tiny"], activation="gelu_tanh")
    np.testing.assert_allclose(activation(config)(jnp.asarray(x)), tanh, atol=2e-6)
    assert 4e-4 < np.abs(exact - tanh).max() < 5e-4


def test_padding_changes_nothing() -> None:
    params, inputs = make_params(), make_inputs()
    before = run(SMALL, params, inputs)
    inputs["input_ids"][1, 5:] = 7  # row 1 has 5 real tokens
    inputs["segment_ids"][1, 5:] = 0
    after = run(SMALL, params, inputs)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    shorter = {
        name: array[1:, :5] if array.ndim == 2 else array[1:] for name, array in inputs.items()
    }
    cut = run(SMALL, params, shorter)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1:], b, atol=1e-5), after, cut)


def test_rows_of_padding_give_numbers() -> None:
    inputs = make_inputs() | {"lengths": np.zeros(2, np.int32)}
    outputs = run(SMALL, make_params(), inputs)
    assert all(np.isfinite(output).all() for output in outputs)


def test_four_dropouts_and_no_more() -> None:
    """Embeddings, and in each layer attention probabilities, attention output, feed-forward."""
    masks = []

    def count(next_function, arguments, keywords, context):  # type: ignore[no-untyped-def]
        if isinstance(context.module, Dropout) and context.method_name == "__call__":
            masks.append(arguments[0].shape)
        return next_function(*arguments, **keywords)

    params, rngs = make_params(), {"dropout": jax.random.key(1)}
    with nn.intercept_methods(count):
        run(SMALL, params, make_inputs(), deterministic=False, rngs=rngs)
    # Probabilities [B N T S]: a mask of their own for every row and head.
    layer = [(2, 2, 8, 8), (2, 8, 16), (2, 8, 16)]
    assert masks == [(2, 8, 16), *layer, *layer]


def test_deterministic_means_no_dropout() -> None:
    params, inputs = make_params(), make_inputs()
    once = run(SMALL, params, inputs)
    again = run(SMALL, params, inputs, deterministic=True)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    rngs = {"dropout": jax.random.key(1)}
    dropped = run(SMALL, params, inputs, deterministic=False, rngs=rngs)
    assert np.abs(dropped[0] - once[0]).max() > 1e-3


def test_bfloat16_computes_in_it_but_keeps_float32_where_it_matters() -> None:
    config = BertConfig(
        vocab_size=50, num_layers=1, num_heads=2, width=16, max_positions=12, dtype="bfloat16"
    )
    params = make_params(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    text = str(jax.make_jaxpr(lambda p: run(config, p, make_inputs()))(params))
    lines = text.splitlines()
    products = [line for line in lines if " = dot_general" in line]
    assert sum("bf16" in line for line in products) >= 8
    for operation in (" exp ", " rsqrt ", " erf"):
        used = [line for line in lines if operation in line]
        assert used, operation
        if operation != " erf":  # softmax and LayerNorm
            assert all("f32" in line and "bf16" not in line for line in used), used
    outputs = run(config, params, make_inputs())
    assert {output.dtype for output in outputs} == {jnp.dtype("float32")}


def test_remat_changes_memory_and_nothing_else() -> None:
    """With dropout: the masks of the backward pass are those of the forward pass."""
    inputs, params = jax.tree.map(jnp.asarray, make_inputs()), make_params()
    results = []
    for config in (SMALL, dataclasses.replace(SMALL, remat=True)):
        model = BertForPreTraining(config)
        assert jax.tree.structure(make_params(config)) == jax.tree.structure(params)

        def loss(params: dict, model: BertForPreTraining = model) -> jax.Array:
            rngs = {"dropout": jax.random.key(3)}
            mlm, nsp = model.apply({"params": params}, **inputs, deterministic=False, rngs=rngs)
            return (mlm**2).sum() + (nsp**2).sum()

        results.append(jax.jit(jax.value_and_grad(loss))(params))
        kept = jax.make_jaxpr(lambda params, loss=loss: jax.vjp(loss, params)[1])(params)
        results[-1] += (len(kept.jaxpr.outvars),)
    plain, again = results
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain[:2], again[:2]
    )
    assert again[2] < plain[2]


def test_initializer_does_not_rescale() -> None:
    values = initializer(jax.random.key(0), (1000, 100), jnp.float32)
    assert np.std(values) == pytest.approx(0.0176, rel=0.01)


@pytest.mark.shared
def test_hidden_states_and_logits_equal_torchs_on_published_weights(shared_data: Path) -> None:
    """The 2×128 model with Google's LayerNorm names; reference by transformers in float32."""
    folder = shared_data / "weights" / "bert-tiny-splade-mlm"
    tensors = read_safetensors(folder / "model.safetensors")
    reference = np.load(shared_data / "reference" / "parity" / "bert-tiny-splade-mlm.npz")
    config = BertConfig(vocab_size=30_522, **SIZES["tiny"])
    params = flatten_dict(make_params(config), sep="/")
    for path in params:
        if (name := torch_name(path)) in tensors:
            value = tensors[name]
            params[path] = value.T if path.endswith("kernel") else value
    ids = reference["input_ids"].astype(np.int32)
    lengths = reference["attention_mask"].sum(axis=1).astype(np.int32)
    everywhere = np.tile(np.arange(ids.shape[1], dtype=np.int32), (len(ids), 1))
    with jax.default_matmul_precision("highest"):
        inputs = {
            "input_ids": ids,
            "segment_ids": reference["token_type_ids"].astype(np.int32),
            "lengths": lengths,
            "mlm_positions": everywhere,
        }
        logits, _ = run(config, unflatten_dict(params, sep="/"), inputs)
    real = reference["attention_mask"].astype(bool)
    # The reference keeps 64 scores of every position and the ten best, both float32.
    first = reference["logits_f16_first64"]
    np.testing.assert_allclose(logits[..., :64][real], first[real], atol=1e-4)
    best = np.take_along_axis(np.asarray(logits), reference["top10_ids"].astype(int), axis=-1)
    np.testing.assert_allclose(best[real], reference["top10"][real], atol=1e-4)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[start:][slice(*entry["data_offsets"])], np.float32).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
        if entry["dtype"] == "F32"
    }


def torch_name(path: str) -> str:
    """The name that tensors of 2018's checkpoints have."""
    path = path.replace("predictions/bias", "cls/predictions/bias")
    path = path.replace("predictions/dense", "cls/predictions/transform/dense")
    path = path.replace("predictions/LayerNorm", "cls/predictions/transform/LayerNorm")
    path = path.replace("layer_", "layer/").replace("LayerNorm/scale", "LayerNorm/gamma")
    path = path.replace("LayerNorm/bias", "LayerNorm/beta").replace("kernel", "weight")
    if path.endswith("_embeddings"):
        path += "/weight"
    return path.replace("/", ".")
