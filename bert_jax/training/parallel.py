"""Data parallelism: the only place that knows of devices, axes and process indices.

Every device holds all parameters and a part of the batch. They go in and come out
replicated (`in_axes=None`, `out_axes=None`), which is right only because every
device ends up with the same sums: `pmap` does not check it, tests/training do.
With `shard_optimizer` each device keeps a part of the moments, has the sum of that
part of the gradients only, updates that part of the parameters, and gets the rest
from the others (Rajbhandari et al. 2020, ZeRO stage 1).

Arrays are those of this process: [its devices …] where there is a device axis.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bert_jax.errors import UserError
from bert_jax.training.steps import Collectives, EvalStep, Notes, TrainState, TrainStep

_AXIS = "data"
Devices = Sequence[jax.Device]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parallelism:
    """How the work of an update is spread over devices and time.

    Attributes:
      micro_batch_size: the most rows that a device takes at a time, 0 for all of its rows;
        fewer need less memory. Rows that are taken together draw dropout together: where all
        devices have at least so many, it is the same on any number of them.
      shard_optimizer: spreads the moments over the devices, see above.
      reduce_dtype: of gradients on their way between devices; bfloat16 halves the bytes and
        keeps 8 bits of each device's share.
    """

    micro_batch_size: int = 0
    shard_optimizer: bool = False
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.micro_batch_size < 0:
            raise UserError(
                f"parallelism.micro_batch_size is {self.micro_batch_size}; it must be positive, "
                "or 0 for all rows of a device at once"
            )


def all_devices() -> list[jax.Device]:
    """Those of all processes, one process's side by side."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def _cut(array: jax.Array, num_parts: int) -> jax.Array:
    """A tensor as [parts K]: flat, with zeros at the end so that the parts are equal."""
    size = -(-array.size // num_parts)
    return jnp.pad(array.reshape(-1), (0, num_parts * size - array.size)).reshape(num_parts, size)


def _collectives(num_devices: int, parallelism: Parallelism) -> Collectives:
    """What steps do with the devices of a `pmap`."""
    all_sum = partial(jax.lax.psum, axis_name=_AXIS)
    shard = jax.lax.axis_index(_AXIS)

    def narrow(gradients: PyTree) -> PyTree:
        return jax.tree.map(lambda g: g.astype(parallelism.reduce_dtype), gradients)

    def widen(gradients: PyTree) -> PyTree:
        return jax.tree.map(lambda g: g.astype(jnp.float32), gradients)

    if not parallelism.shard_optimizer:
        return Collectives(shard, all_sum, reduce=lambda g: widen(all_sum(narrow(g))))

    def reduce(gradients: PyTree) -> PyTree:
        return widen(
            jax.tree.map(
                lambda g: jax.lax.psum_scatter(_cut(g, num_devices), _AXIS), narrow(gradients)
            )
        )

    def part(params: PyTree) -> PyTree:
        return jax.tree.map(lambda p: _cut(p, num_devices)[shard], params)

    def whole(parts: PyTree, like: PyTree) -> PyTree:
        return jax.tree.map(
            lambda p, w: jax.lax.all_gather(p, _AXIS).reshape(-1)[: w.size].reshape(w.shape),
            parts,
            like,
        )

    return Collectives(shard, all_sum, reduce, part, whole, sum_parts=all_sum)


def parallel_train_step(
    step: TrainStep, devices: Devices, state: TrainState, parallelism: Parallelism
) -> Callable:
    """`step(state, batch, notes, key)` over all devices; the old state's memory is reused.

    Args:
      step: the step of a device.
      devices: of all processes.
      state: as `place` gives it.
      parallelism: as for `place`.
    """
    leaves, shape = jax.tree.flatten(state.opt_state)
    sharded = parallelism.shard_optimizer
    # Of the moments the leaves alone go in and out: `pmap` wants axes that can be hashed.
    axes = (None, None, tuple(0 if sharded and leaf.ndim else None for leaf in leaves))

    def state_of(step: PyTree, params: PyTree, leaves: PyTree) -> TrainState:
        return TrainState(step, params, jax.tree.unflatten(shape, leaves))

    def on_device(flat: PyTree, batch: PyTree, notes: PyTree, key: PyTree) -> PyTree:
        to = _collectives(len(devices), parallelism)
        state, sums, vitals = step(state_of(*flat), batch, notes, key, to)
        return _flat(state), sums, vitals

    mapped = jax.pmap(
        on_device,
        axis_name=_AXIS,
        in_axes=(axes, 0, 0, None),
        out_axes=(axes, None, None),
        donate_argnums=0,
        devices=devices,
    )

    def parallel_step(state: TrainState, batch: PyTree, notes: Notes, key: PyTree) -> PyTree:
        flat, sums, vitals = mapped(_flat(state), batch, notes, key)
        return state_of(*flat), sums, vitals

    return parallel_step


def _flat(state: TrainState) -> tuple:
    return state.step, state.params, tuple(jax.tree.leaves(state.opt_state))


def parallel_eval_step(step: EvalStep, devices: Devices) -> Callable:
    """`step(params, batch)` over all devices."""

    def on_device(params: PyTree, batch: PyTree) -> PyTree:
        return step(params, batch, _collectives(len(devices), Parallelism()))

    return jax.pmap(on_device, axis_name=_AXIS, in_axes=(None, 0), out_axes=None, devices=devices)


def replicate(tree: PyTree, devices: Devices) -> PyTree:
    """The tree on every device of this process, placed as the steps return it.

    So nothing compiles twice. May share memory with its argument, which the first step
    then donates: drop it.
    """
    return jax.device_put(tree, _sharding(devices, jax.sharding.PartitionSpec()))


def place(state: TrainState, devices: Devices, parallelism: Parallelism) -> TrainState:
    """A whole state on the devices, as the steps take it. Drop the argument, see `replicate`."""
    local = _local(devices)
    first = devices.index(local[0])

    def spread(leaf: np.ndarray | jax.Array) -> jax.Array:
        size = -(-leaf.size // len(devices))
        flat = np.zeros((len(devices), size), leaf.dtype)
        flat.reshape(-1)[: leaf.size] = np.asarray(leaf).reshape(-1)
        spec = jax.sharding.PartitionSpec(_AXIS)
        return jax.device_put(flat[first : first + len(local)], _sharding(devices, spec))

    if not parallelism.shard_optimizer:
        return replicate(state, devices)
    opt_state = jax.tree.map(
        lambda leaf: spread(leaf) if leaf.ndim else replicate(leaf, devices), state.opt_state
    )
    step, params = replicate((state.step, state.params), devices)
    return TrainState(step, params, opt_state)


def whole(
    state: TrainState, like: TrainState, devices: Devices, parallelism: Parallelism
) -> TrainState:
    """The reverse of `place`: moments in one piece, in the memory of the host.

    All processes must call it.

    Args:
      state: as the steps return it.
      like: the shapes of a whole state.
      devices: of all processes.
      parallelism: as for `place`.
    """
    if not parallelism.shard_optimizer:
        return state
    gather = _gather(tuple(devices))

    def join(leaf: jax.Array, shape: jax.ShapeDtypeStruct) -> jax.Array | np.ndarray:
        # One after the other, so that a device never holds more than one of them whole.
        flat = np.asarray(gather(leaf)) if leaf.ndim else leaf
        return flat.reshape(-1)[: shape.size].reshape(shape.shape)

    opt_state = jax.tree.map(join, state.opt_state, like.opt_state)
    return TrainState(state.step, state.params, opt_state)


@cache  # or every save would compile it anew
def _gather(devices: tuple[jax.Device, ...]) -> Callable[[jax.Array], jax.Array]:
    return jax.pmap(
        lambda leaf: jax.lax.all_gather(leaf, _AXIS),
        axis_name=_AXIS,
        out_axes=None,
        devices=devices,
    )


def on_one_device(tree: PyTree) -> PyTree:
    """A replicated tree as arrays of this process's first device, without a copy."""
    return jax.tree.map(
        lambda leaf: leaf.addressable_shards[0].data if isinstance(leaf, jax.Array) else leaf, tree
    )


def bytes_per_device(tree: PyTree) -> int:
    """What a placed tree takes of one device's memory."""
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


def _local(devices: Devices) -> list[jax.Device]:
    return [device for device in devices if device.process_index == jax.process_index()]


def _sharding(devices: Devices, spec: jax.sharding.PartitionSpec) -> jax.sharding.NamedSharding:
    """Over this process's devices: `pmap` takes and returns a process's own part."""
    return jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(_local(devices)), (_AXIS,)), spec)


def shard_batch(batch: dict[str, np.ndarray], devices: Devices) -> dict[str, np.ndarray]:
    """This process's rows, [B …], as [its devices, B/its devices …]."""
    num_devices = len(_local(devices))
    return {name: array.reshape(num_devices, -1, *array.shape[1:]) for name, array in batch.items()}


def make_notes(devices: Devices, *, stop: bool = False, elapsed: float = 0.0) -> Notes:
    """What this process tells the others: on its first device, so that it counts once.

    Args:
      devices: of all processes.
      stop: whether this process was asked to stop.
      elapsed: share of the time budget spent; only the first process's counts.
    """
    local = _local(devices)
    is_first = np.arange(len(local)) == 0
    keeps_time = is_first & (local[0] == devices[0])
    return Notes((is_first * stop).astype(np.int32), (keeps_time * elapsed).astype(np.float32))


def local_rows(batch_size: int, micro_batch_size: int = 0) -> slice:
    """Which rows of a global batch this process builds.

    Raises:
      UserError: the batch cannot be shared out evenly.
    """
    if jax.device_count() != jax.process_count() * jax.local_device_count():
        raise UserError(
            f"this process has {jax.local_device_count()} of {jax.device_count()} devices, others "
            f"have more or fewer; give each of the {jax.process_count()} processes as many"
        )
    rows_per_device, left = divmod(batch_size, jax.device_count())
    if left:
        raise UserError(
            f"batch_size {batch_size} cannot be split over {jax.device_count()} devices; "
            f"use a multiple of {jax.device_count()}"
        )
    if micro_batch_size and rows_per_device % min(micro_batch_size, rows_per_device):
        raise UserError(
            f"the {rows_per_device} rows of a device (batch_size {batch_size} over "
            f"{jax.device_count()} devices) are no multiple of parallelism.micro_batch_size "
            f"{micro_batch_size}; choose one that divides them"
        )
    rows = batch_size // jax.process_count()
    return slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)


def rows_at_once(batch_size: int, micro_batch_size: int) -> int:
    """Rows that all devices together take at a time, at least one each."""
    num_devices = jax.device_count()
    rows_per_device = -(-batch_size // num_devices)
    return num_devices * min(micro_batch_size or rows_per_device, rows_per_device)


def describe_devices() -> str:
    """Such as "4 × NVIDIA H100 80GB HBM3" or "8 × TPU v4 in 2 processes"."""
    described = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    processes = jax.process_count()
    return described if processes == 1 else f"{described} in {processes} processes"
