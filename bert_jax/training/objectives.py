"""What a model learns from a batch: its losses, and the figures that go with them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, PyTree

from bert_jax.model.heads import BertForPreTraining, BertForTask
from bert_jax.model.sizes import BertConfig, training_flops, training_flops_per_token
from bert_jax.training.losses import (
    SumAndWeight,
    classification_sums,
    pretraining_sums,
    pretraining_weights,
    regression_sums,
    span_sums,
    tagging_sums,
)

DeviceBatch = Mapping[str, Array]
Sums = dict[str, SumAndWeight]


class Objective(NamedTuple):
    """What a step makes smaller.

    Attributes:
      config: of the model.
      sums: `sums(params, batch, dropout_key=None)`: every figure of a batch; without a key there
        is no dropout.
      weights: of those figures that are losses, from the batch alone. Their means are added up,
        and the first of them stands for the batch.
    """

    config: BertConfig
    sums: Callable[..., Sums]
    weights: Callable[[DeviceBatch], dict[str, Array]]


def pretraining(model: BertForPreTraining) -> Objective:
    """Masked words, and next sentences if the batches have these."""

    def sums(params: PyTree, batch: DeviceBatch, dropout_key: Array | None = None) -> Sums:
        scores = _apply(model, params, batch, dropout_key, batch["mlm_positions"])
        with jax.named_scope("losses"):
            return pretraining_sums(scores[0], scores[1], batch)

    return Objective(model.config, sums, pretraining_weights)


def fine_tuning(model: BertForTask) -> Objective:
    """The classes of sentences or tokens, a number, or the ends of a span."""
    of_task = {"sentence": classification_sums, "tokens": tagging_sums, "spans": span_sums}
    is_regression = model.labels.is_regression
    loss_sums = regression_sums if is_regression else of_task[model.labels.task]

    def sums(params: PyTree, batch: DeviceBatch, dropout_key: Array | None = None) -> Sums:
        scores = _apply(model, params, batch, dropout_key)
        with jax.named_scope("losses"):
            return loss_sums(scores, batch)

    def weights(batch: DeviceBatch) -> dict[str, Array]:
        if model.labels.task == "tokens":
            return {"loss": jnp.sum(batch["label_weights"])}
        num_rows = jnp.sum((batch["lengths"] > 0).astype(jnp.float32))
        return {"loss": 2 * num_rows if model.labels.task == "spans" else num_rows}

    return Objective(model.config, sums, weights)


def _apply(
    model: nn.Module,
    params: PyTree,
    batch: DeviceBatch,
    dropout_key: Array | None,
    *more: Array,
) -> Any:
    return model.apply(
        {"params": params},
        batch["input_ids"],
        batch["segment_ids"],
        batch["lengths"],
        *more,
        deterministic=dropout_key is None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )


def real_shares(config: BertConfig, batch: DeviceBatch) -> Sums:
    """How much of a padded batch is real.

    Returns:
      `real_tokens`, of its tokens; `real_flops`, of its arithmetic: each token looks at those of
      its own sequence, and the head is computed for real predictions.
    """
    lengths = batch["lengths"].astype(jnp.float32)
    rows, seq_len = batch["input_ids"].shape
    # Without masked words there is no head over the vocabulary; others are too small to count.
    mlm_weights = batch.get("mlm_weights", jnp.zeros((rows, 0)))
    flops = training_flops(
        config,
        tokens=jnp.sum(lengths),
        views=jnp.sum(lengths**2),
        predictions=jnp.sum(mlm_weights),
    )
    of_token = training_flops_per_token(
        config, seq_len=seq_len, num_predictions=mlm_weights.shape[1]
    )
    tokens = jnp.float32(rows * seq_len)
    return {"real_tokens": (jnp.sum(lengths), tokens), "real_flops": (flops, tokens * of_token)}
