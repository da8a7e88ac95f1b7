"""What happens in a step, as pure functions of their arguments.

Nothing here knows how many devices there are: `all_sum` adds up over the shards
of a batch, and `bert_jax.training.parallel` decides what that means.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax
from flax import struct
from jaxtyping import Array, Int, Key, PyTree

from bert_jax.model.heads import BertForPreTraining
from bert_jax.training.losses import SumAndWeight, mean, pretraining_sums
from bert_jax.training.rng import step_key

DeviceBatch = dict[str, Array]
Sums = dict[str, SumAndWeight]
AllSum = Callable[[Any], Any]


@struct.dataclass
class TrainState:
    """All that training changes. Leaves are arrays, or their shapes and types under `eval_shape`.

    Attributes:
      step: number of updates made, an int32 scalar.
      params: float32.
      opt_state: the optimizer's.
    """

    step: PyTree
    params: PyTree
    opt_state: PyTree


TrainStep = Callable[..., tuple[TrainState, Sums]]
EvalStep = Callable[..., Sums]


def init_params(model: BertForPreTraining, key: Key[Array, ""]) -> PyTree:
    """Fresh parameters; the same for any batch size and number of devices."""
    ids = jax.numpy.zeros((1, 2), "int32")
    return model.init(key, ids, ids, ids[:, 0], ids[:, :1])["params"]


def init_state(
    model: BertForPreTraining, optimizer: optax.GradientTransformation, key: Key[Array, ""]
) -> TrainState:
    """The state before the first step. Call it under `jit`: eagerly, arrays would be shared."""
    params = init_params(model, key)
    return TrainState(jax.numpy.zeros((), "int32"), params, optimizer.init(params))


def _sums(
    model: BertForPreTraining, params: PyTree, batch: DeviceBatch, dropout_key: Array | None = None
) -> Sums:
    """The sums of a batch; without a key there is no dropout."""
    logits: Any = model.apply(
        {"params": params},
        batch["input_ids"],
        batch["segment_ids"],
        batch["lengths"],
        batch["mlm_positions"],
        deterministic=dropout_key is None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )
    return pretraining_sums(logits[0], logits[1], batch)


def pretraining_loss(
    model: BertForPreTraining,
    params: PyTree,
    batch: DeviceBatch,
    dropout_key: Key[Array, ""],
    *,
    all_sum: AllSum,
) -> tuple[Array, Sums]:
    """What is differentiated: this shard's part of the batch's mean losses, and its sums.

    It divides by the weights of all shards, before differentiating: the gradients of
    the shards then add up to the gradient of the mean over the whole batch, however
    unevenly the masked tokens are spread.
    """
    sums = _sums(model, params, batch, dropout_key)
    losses = [
        mean((sums[name][0], all_sum(sums[name][1])))
        for name in ("mlm_loss", "nsp_loss")
        if name in sums
    ]
    return sum(losses[1:], losses[0]), sums


def make_train_step(
    model: BertForPreTraining, optimizer: optax.GradientTransformation, schedule: optax.Schedule
) -> TrainStep:
    """The update of one batch."""

    def train_step(
        state: TrainState,
        batch: DeviceBatch,
        key: Key[Array, ""],
        *,
        shard: Int[Array, ""] | int = 0,
        all_sum: AllSum = lambda tree: tree,
    ) -> tuple[TrainState, Sums]:
        """Returns the next state, and the sums of the batch before the update.

        Args:
          state: the state before.
          batch: this shard's rows.
          key: root key of the dropout stream.
          shard: which shard this is.
          all_sum: adds a tree of arrays up over the shards.
        """
        dropout_key = step_key(key, state.step, shard)
        loss = partial(pretraining_loss, model, all_sum=all_sum)
        grads, sums = jax.grad(loss, has_aux=True)(state.params, batch, dropout_key)
        grads, sums = all_sum((grads, sums))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        one = jax.numpy.ones(())
        sums["gradient_norm"] = (optax.tree.norm(grads), one)
        sums["learning_rate"] = (schedule(state.step) * one, one)
        return TrainState(state.step + 1, params, opt_state), sums

    return train_step


def make_eval_step(model: BertForPreTraining) -> EvalStep:
    """The sums of one batch, without dropout."""

    def eval_step(
        params: PyTree, batch: DeviceBatch, *, all_sum: AllSum = lambda tree: tree
    ) -> Sums:
        return all_sum(_sums(model, params, batch))

    return eval_step
