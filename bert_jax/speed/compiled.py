"""The training step compiled from shapes alone, for a device that need not be there."""

import os
from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from jax.experimental import topologies
from jaxtyping import PyTree

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.speed.timing import RATE
from bert_jax.training.compilation import GPU_OPTIONS
from bert_jax.training.objectives import pretraining
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.steps import Notes, init_state, make_train_step

# What XLA must know of an H100 SXM to compile for it: NVIDIA's figures (H100 datasheet; CUDA C++
# Programming Guide, compute capability 9.0), as openxla/xla's
# xla/backends/gpu/target_config/specs/h100_sxm.txtpb has them, in XLA's own units.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84942979072
  l2_cache_size: 52428800
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
runtime_version { major: 13 }
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def h100() -> jax.Device:
    """An H100 to compile for; nothing can be run on it.

    Raises:
      UserError: JAX's CUDA plug-in is not installed.
    """
    # It would look for a driver, compare its version, and find none.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    try:
        topology = topologies.get_topology_desc(
            "", platform="cuda", target_config=_H100, topology="1x1x1"
        )
    except (NotImplementedError, RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise UserError(
            f'compiling for a GPU needs JAX\'s CUDA plug-in, pip install "jax[cuda13]" ({why})'
        ) from None
    return topology.devices[0]


def compiled_step(
    model: BertForPreTraining, batch: Mapping[str, np.ndarray], device: jax.Device
) -> jax.stages.Compiled:
    """The step of one device, its old state donated, with AdamW and a constant rate.

    Args:
      model: the model.
      batch: rows; only their shapes matter.
      device: to compile for.
    """
    optimizer = make_optimizer()
    key = jax.eval_shape(partial(jax.random.key, 0))
    state = jax.eval_shape(partial(init_state, model, optimizer), key)
    notes = Notes(stop=np.zeros((), np.int32), elapsed=np.zeros((), np.float32))
    step = make_train_step(pretraining(model), optimizer, lambda *_: RATE)
    options: dict[str, str | bool] = {}
    if device.platform != "cpu":
        options |= GPU_OPTIONS

    def on_device(leaf: PyTree) -> jax.ShapeDtypeStruct:
        sharding = jax.sharding.SingleDeviceSharding(device)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    shapes = jax.tree.map(on_device, (state, dict(batch), notes, key))
    return jax.jit(step, donate_argnums=0).lower(*shapes).compile(compiler_options=options)
