"""What is said of a step's memory, against real arrays and what the compiler takes."""

from functools import partial

import jax
import pytest

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.synthetic import synthetic_batch
from bert_jax.training.memory import step_memory
from bert_jax.training.objectives import pretraining
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.steps import Notes, init_state, make_train_step

OPTIMIZER = make_optimizer()


def make_model(dtype: str = "float32", dropout: float = 0.1) -> BertForPreTraining:
    config = BertConfig(
        vocab_size=4096, dtype=dtype, dropout=dropout, attention_dropout=dropout, **SIZES["tiny"]
    )
    return BertForPreTraining(config)


def test_the_state_is_exact() -> None:
    model = make_model()
    memory = step_memory(model, OPTIMIZER, synthetic_batch(model.config, batch_size=2, seq_len=16))
    state = jax.jit(partial(init_state, model, OPTIMIZER))(jax.random.key(0))
    real = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (state.params, state.opt_state)
    ]
    assert [memory.parameters, memory.optimizer] == real
    assert memory.gradients == memory.parameters


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "tokens", "dropout"), [(16, 128, 0.1), (32, 64, 0.0)])
def test_the_estimate_is_near_what_the_compiler_takes(
    rows: int, tokens: int, dropout: float, dtype: str
) -> None:
    """Within a factor of 1.5, of gradients and temporaries together."""
    model = make_model(dtype, dropout)
    batch = synthetic_batch(model.config, batch_size=rows, seq_len=tokens)
    memory = step_memory(model, OPTIMIZER, batch)
    state = jax.eval_shape(partial(init_state, model, OPTIMIZER), jax.random.key(0))
    train_step = make_train_step(pretraining(model), OPTIMIZER, lambda *_: 1e-4)
    step = jax.jit(train_step, donate_argnums=0)
    compiled = (
        step.lower(state, batch, Notes(0, 0.0), jax.random.key(0)).compile().memory_analysis()
    )
    factor = compiled.temp_size_in_bytes / (memory.gradients + memory.activations)
    print(f"compiled temporaries over the estimate, {rows} x {tokens}, {dtype}: {factor:.2f}")
    assert 1 / 1.5 < factor < 1.5


def test_activations_grow_with_the_rows_and_the_state_does_not() -> None:
    model = make_model()
    few, many = (
        step_memory(model, OPTIMIZER, synthetic_batch(model.config, batch_size=rows, seq_len=64))
        for rows in (8, 16)
    )
    assert few[:3] == many[:3]
    assert many.activations == pytest.approx(2 * few.activations, rel=0.01)
