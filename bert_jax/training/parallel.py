"""Data parallelism: the only place that knows of devices, axes and processes.

The state has no device axis. It goes in and comes out replicated
(`in_axes=None`, `out_axes=None`), which is right only because every shard ends
up with the same sums: `pmap` does not check it, tests/training do.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import PyTree

from bert_jax.errors import UserError
from bert_jax.training.steps import EvalStep, TrainStep

_AXIS = "data"

all_sum = partial(jax.lax.psum, axis_name=_AXIS)


def parallel_train_step(step: TrainStep, devices: Sequence[jax.Device]) -> Callable:
    """`step(state, batch, key)` over all devices; the old state's memory is reused."""

    def on_device(state: PyTree, batch: PyTree, key: PyTree) -> PyTree:
        return step(state, batch, key, shard=jax.lax.axis_index(_AXIS), all_sum=all_sum)

    return jax.pmap(
        on_device,
        axis_name=_AXIS,
        in_axes=(None, 0, None),
        out_axes=(None, None),
        donate_argnums=0,
        devices=devices,
    )


def parallel_eval_step(step: EvalStep, devices: Sequence[jax.Device]) -> Callable:
    """`step(params, batch)` over all devices."""

    def on_device(params: PyTree, batch: PyTree) -> PyTree:
        return step(params, batch, all_sum=all_sum)

    return jax.pmap(on_device, axis_name=_AXIS, in_axes=(None, 0), out_axes=None, devices=devices)


def replicate(tree: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """The tree on every device, placed as the steps return it, so that nothing compiles twice.

    May share memory with its argument, which the first step then donates: drop it.
    """
    mesh = jax.sharding.Mesh(np.array(devices), (_AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def shard_batch(
    batch: dict[str, np.ndarray], devices: Sequence[jax.Device]
) -> dict[str, np.ndarray]:
    """This host's rows, [B …], as [devices B/devices …]."""
    return {
        name: array.reshape(len(devices), -1, *array.shape[1:]) for name, array in batch.items()
    }


def local_rows(batch_size: int) -> slice:
    """Which rows of a global batch this host builds.

    Raises:
      UserError: the batch cannot be shared out evenly.
    """
    if batch_size % jax.device_count():
        raise UserError(
            f"batch_size {batch_size} cannot be split over {jax.device_count()} devices; "
            f"use a multiple of {jax.device_count()}"
        )
    rows = batch_size // jax.process_count()
    return slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)


def round_up_to_devices(batch_size: int) -> int:
    """The next batch size that can be shared out evenly."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def describe_devices() -> str:
    """Such as "4 × NVIDIA H100 80GB HBM3"."""
    return f"{jax.device_count()} × {jax.devices()[0].device_kind}"
