"""BERT's pretraining loss written down plainly, in float32, to compare the fast path with.

Nothing of the package is used but the names of the parameters: every row is computed alone and
cut to its length, so that there is neither mask nor padding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.model.sizes import BertConfig


def dense(p: dict[str, Any], x: jax.Array) -> jax.Array:
    return x @ p["kernel"] + p["bias"][None]


def layer_norm(p: dict[str, Any], x: jax.Array) -> jax.Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + 1e-12) * p["scale"][None] + p["bias"][None]


def gelu(x: jax.Array, name: str) -> jax.Array:
    if name == "gelu_tanh":
        return 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * jax.scipy.stats.norm.cdf(x)


def layer(p: dict[str, Any], x: jax.Array, config: BertConfig) -> jax.Array:
    width = config.head_width
    q, k, v = (dense(p["attention"]["self"][name], x) for name in ("query", "key", "value"))
    heads = []
    for n in range(config.num_heads):
        here = slice(n * width, (n + 1) * width)
        probabilities = jax.nn.softmax(q[:, here] @ k[:, here].T / np.sqrt(width), axis=-1)
        heads.append(probabilities @ v[:, here])
    output = p["attention"]["output"]
    x = layer_norm(output["LayerNorm"], x + dense(output["dense"], jnp.concatenate(heads, axis=1)))
    wide = gelu(dense(p["intermediate"]["dense"], x), config.activation)
    return layer_norm(p["output"]["LayerNorm"], x + dense(p["output"]["dense"], wide))


def sums(params: Any, config: BertConfig, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Summed losses of a batch of one pair a row, by name."""
    bert, head = params["bert"], params["predictions"]
    words = bert["embeddings"]["word_embeddings"]
    total = {"mlm_loss": jnp.zeros(()), "nsp_loss": jnp.zeros(())}
    for row, length in enumerate(batch["lengths"].tolist()):
        tables = bert["embeddings"]
        x = words[batch["input_ids"][row, :length]] + tables["position_embeddings"][:length]
        x = x + tables["token_type_embeddings"][batch["segment_ids"][row, :length]]
        x = layer_norm(tables["LayerNorm"], x)
        for number in range(config.num_layers):
            x = layer(bert["encoder"][f"layer_{number}"], x, config)
        is_real = batch["mlm_weights"][row] > 0
        predicted = x[batch["mlm_positions"][row, is_real]]
        y = layer_norm(head["LayerNorm"], gelu(dense(head["dense"], predicted), config.activation))
        scores = jax.nn.log_softmax(y @ words.T + head["bias"][None])
        ids = batch["mlm_ids"][row, is_real]
        total["mlm_loss"] -= scores[np.arange(len(ids)), ids].sum()
        pooled = jnp.tanh(dense(bert["pooler"]["dense"], x[:1]))
        nsp = jax.nn.log_softmax(dense(params["seq_relationship"]["dense"], pooled))
        total["nsp_loss"] -= nsp[0, batch["nsp_labels"][row]]
    return total
