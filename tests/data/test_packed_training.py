"""Examples that share rows are learnt as if each had a row of its own."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batch_cases import make_batches, make_documents

from bert_jax.data.batches import Batches
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.training.losses import pretraining_weights
from bert_jax.training.objectives import pretraining
from bert_jax.training.steps import init_params, loss_share, make_eval_step

SEQ_LEN = 48


def epoch(batches: Batches) -> list[dict[str, jax.Array]]:
    steps = range(batches.num_batches_once)
    return [jax.tree.map(jnp.asarray, batches.once(step)) for step in steps]


@pytest.mark.parametrize("nsp", [True, False])
def test_an_epoch_packed_and_not(tmp_path: Path, nsp: bool) -> None:
    """The same sums of losses, weights and right answers, and the same gradient of them."""
    ways = [
        make_batches(
            tmp_path / "corpus",
            make_documents(),
            nsp=nsp,
            seq_len=SEQ_LEN,
            short_seq_prob=0.9,
            examples_per_row=examples_per_row,
        )
        for examples_per_row in (1, 4)
    ]
    config = BertConfig(
        vocab_size=ways[0].tokenizer.vocab_size,
        num_layers=2,
        num_heads=2,
        width=16,
        max_positions=SEQ_LEN,
        dropout=0.0,
        attention_dropout=0.0,
    )
    model = BertForPreTraining(config)
    params = init_params(model, jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf * 10 if leaf.ndim > 1 else leaf, params)
    eval_step = jax.jit(make_eval_step(pretraining(model)))

    @jax.jit
    def gradient(params: Any, batch: Any, weights: Any) -> Any:
        key = jax.random.key(0)
        loss = partial(
            loss_share,
            objective=pretraining(model),
            batch=batch,
            dropout_key=key,
            weights=weights,
        )
        return jax.grad(lambda params: loss(params)[0])(params)

    found = []
    for batches in ways:
        rows = epoch(batches)
        sums = [eval_step(params, batch) for batch in rows]
        total = jax.tree.map(lambda *parts: float(sum(parts)), *sums)
        weights = jax.tree.map(lambda *parts: sum(parts), *map(pretraining_weights, rows))
        parts = [gradient(params, batch, weights) for batch in rows]
        found.append((total, jax.tree.map(lambda *parts: sum(parts), *parts)))
    (alone, gradient_alone), (packed, gradient_packed) = found
    assert ways[1].num_rows < 0.7 * ways[0].num_rows
    assert alone.keys() == packed.keys()
    for name, pair in alone.items():
        assert packed[name] == pytest.approx(pair, rel=1e-5), name
    size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient_alone))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * size),
        gradient_alone,
        gradient_packed,
    )
