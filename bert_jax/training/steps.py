"""What happens in a step, as pure functions of their arguments.

Nothing here knows how many devices there are: `Collectives` says what a step does
with them, and `bert_jax.training.parallel` how.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Key, PyTree

from bert_jax.model.heads import BertForPreTraining
from bert_jax.training.losses import mean
from bert_jax.training.objectives import DeviceBatch, Objective, Sums, real_shares
from bert_jax.training.rng import step_key

TreeMap = Callable[[Any], Any]
Rate = Callable[[Any, Any], Any]
"""The learning rate, of the number of updates made and the share of the time budget spent."""


class Collectives(NamedTuple):
    """What a step does with the other devices. By default there are none.

    Attributes:
      shard: which one this is.
      all_sum: adds a tree of arrays up over the devices.
      reduce: gradients to their sum over the devices, or to this device's part of it.
      part: parameters to those that this device updates.
      whole: the updated parts to all parameters, of the shapes of its second argument.
      sum_parts: adds up over devices what each computed of its parts.
    """

    shard: Array | int = 0
    all_sum: TreeMap = lambda tree: tree
    reduce: TreeMap = lambda gradients: gradients
    part: TreeMap = lambda params: params
    whole: Callable[[Any, Any], Any] = lambda parts, like: parts  # noqa: ARG005
    sum_parts: TreeMap = lambda tree: tree


ALONE = Collectives()


class Notes(NamedTuple):
    """What hosts tell one another by way of a step: all read the same, of the same step.

    Attributes:
      stop: how many processes were asked to stop.
      elapsed: share of the time budget spent, by the first process's clock.
    """

    stop: PyTree
    elapsed: PyTree


class Vitals(NamedTuple):
    """What the host looks at after every step.

    Attributes:
      loss: the first of the mean losses of the batch.
      is_finite: whether the update was made; not if a loss or the gradient was not finite.
      notes: as all hosts read them.
    """

    loss: PyTree
    is_finite: PyTree
    notes: Notes


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


TrainStep = Callable[..., tuple[TrainState, Sums, Vitals]]
EvalStep = Callable[..., Sums]


def init_params(model: BertForPreTraining, key: Key[Array, ""]) -> PyTree:
    """Fresh parameters; the same for any batch size and number of devices."""
    ids = jnp.zeros((1, 2), "int32")
    return model.init(key, ids, ids, ids[:, 0], ids[:, :1])["params"]


def init_state(
    model: BertForPreTraining,
    optimizer: optax.GradientTransformationExtraArgs,
    key: Key[Array, ""],
) -> TrainState:
    """The state before the first step. Call it under `jit`: eagerly, arrays would be shared."""
    return state_of(init_params(model, key), optimizer)


def state_of(params: PyTree, optimizer: optax.GradientTransformationExtraArgs) -> TrainState:
    """The state before the first step from given parameters."""
    return TrainState(jnp.zeros((), "int32"), params, optimizer.init(params))


def loss_share(
    params: PyTree,
    objective: Objective,
    batch: DeviceBatch,
    dropout_key: Key[Array, ""],
    weights: dict[str, Array],
) -> tuple[Array, Sums]:
    """What is differentiated: these rows' part of the whole batch's mean losses, and their sums.

    It divides by the weights of the whole batch, so that the gradients of its parts, on
    whatever device and in whatever order, add up to the gradient of its mean, however
    unevenly the masked tokens are spread.
    """
    sums = objective.sums(params, batch, dropout_key)
    losses = [mean((sums[name][0], weight)) for name, weight in weights.items()]
    return sum(losses[1:], losses[0]), sums


def _num_blocks(rows: int, micro_batch_size: int) -> int:
    """How often a device goes through the model for one update."""
    return max(1, rows // micro_batch_size) if micro_batch_size else 1


def _accumulated_gradients(
    objective: Objective,
    params: PyTree,
    batch: DeviceBatch,
    key: Key[Array, ""],
    *,
    step: Array,
    first_block: Array | int,
    micro_batch_size: int,
    weights: dict[str, Array],
) -> tuple[PyTree, Sums]:
    """Gradients and sums of a device's rows, `micro_batch_size` at a time."""
    rows = batch["lengths"].shape[0]
    num_blocks = _num_blocks(rows, micro_batch_size)
    blocks = jax.tree.map(lambda x: x.reshape(num_blocks, -1, *x.shape[1:]), batch)
    gradient = jax.grad(loss_share, has_aux=True)

    def of_block(number: Array | int) -> tuple[PyTree, Sums]:
        block = jax.tree.map(lambda x: x[number], blocks)
        of_dropout = step_key(key, step, first_block + number)
        return gradient(params, objective, block, of_dropout, weights)

    if num_blocks == 1:  # no loop, and no second set of gradients
        return of_block(0)

    def add(total: PyTree, number: Array) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, of_block(number)), None

    shapes = jax.eval_shape(of_block, 0)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, jnp.arange(num_blocks))[0]


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformationExtraArgs,
    rate: Rate,
    *,
    micro_batch_size: int = 0,
) -> TrainStep:
    """The update of one batch.

    Args:
      objective: what is learnt.
      optimizer: gives the direction; `rate` says how far to go.
      rate: the learning rate.
      micro_batch_size: rows that a device takes at a time, 0 for all of its rows.
    """

    def train_step(
        state: TrainState,
        batch: DeviceBatch,
        notes: Notes,
        key: Key[Array, ""],
        collectives: Collectives = ALONE,
    ) -> tuple[TrainState, Sums, Vitals]:
        """Returns the next state, and of the batch before the update its sums and vitals.

        Args:
          state: the state before.
          batch: this device's rows.
          notes: this device's.
          key: root key of the dropout stream.
          collectives: the other devices.
        """
        to = collectives
        rows = batch["lengths"].shape[0]
        # Blocks of rows are numbered through the global batch: who computes one, and when, does
        # not matter to its dropout.
        weights = to.all_sum(objective.weights(batch))
        gradients, sums = _accumulated_gradients(
            objective,
            state.params,
            batch,
            key,
            step=state.step,
            first_block=to.shard * _num_blocks(rows, micro_batch_size),
            micro_batch_size=micro_batch_size,
            weights=weights,
        )
        sums, notes = to.all_sum((sums | real_shares(objective.config, batch), notes))
        gradients = to.reduce(gradients)
        squares = to.sum_parts(optax.tree.norm(gradients, squared=True))
        losses = [mean(sums[name]) for name in weights]
        is_finite = jnp.isfinite(sum(losses, squares))

        with jax.named_scope("optimizer"):
            parts = to.part(state.params)
            direction, opt_state = optimizer.update(
                gradients, state.opt_state, parts, sum_parts=to.sum_parts
            )
            step_rate = rate(state.step, notes.elapsed)
            parts = jax.tree.map(lambda p, d: p - step_rate * d, parts, direction)

            # An update that is not finite is not made: the state stays what can be saved.
            def if_finite(new: PyTree, old: PyTree) -> PyTree:
                return jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), new, old)

            opt_state = if_finite(opt_state, state.opt_state)
            params = to.whole(if_finite(parts, to.part(state.params)), state.params)

        one = jnp.ones(())
        vitals = Vitals(losses[0], is_finite, notes)
        sums["gradient_norm"] = (jnp.sqrt(squares), one)
        sums["learning_rate"] = (step_rate * one, one)
        sums = if_finite(sums, jax.tree.map(jnp.zeros_like, sums))
        return TrainState(state.step + 1, params, opt_state), sums, vitals

    return train_step


def make_eval_step(objective: Objective) -> EvalStep:
    """The sums of one batch, without dropout."""

    def eval_step(params: PyTree, batch: DeviceBatch, collectives: Collectives = ALONE) -> Sums:
        return collectives.all_sum(objective.sums(params, batch))

    return eval_step
