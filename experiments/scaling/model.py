"""Step time, bytes, memory and input of data-parallel BERT, from stated figures. Nothing runs here.

A step is arithmetic, the update of the parameters, and what of the communication does not
hide behind the backward pass:

  arithmetic     tokens of a device · FLOPs a token / (MFU · peak), and a fixed time for each
                 pass through the model (launches, small kernels)
  update         bytes that the optimizer reads and writes / memory bandwidth
  communication  of n devices and b bytes: 2·(n - 1)/n·b / bandwidth, and latencies

Rows are those of the padded batch. Times are seconds, sizes bytes, bandwidths bytes a second.
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig, training_flops_per_token
from bert_jax.training.steps import init_params

FLOAT32, BFLOAT16 = 4, 2

# Two thirds of the arithmetic: `training_flops_per_token` counts it twice the forward pass.
BACKWARD = 2 / 3

# Adam reads the gradient once for its norm, then gradient, parameter and both moments, and
# writes the last three.
UPDATE_BYTES = 8 * FLOAT32
# Adding a block's gradients to the sum reads both and writes one.
ACCUMULATION_BYTES = 3 * FLOAT32

# By the estimate of `bert_jax.training.memory` gradients and activations may need 1.6 times as
# much in bfloat16 (its docstring; measured on a CPU).
COMPILER_SLACK = 1.6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Links:
    """What connects a device with its equals.

    Attributes:
      bandwidth: that a device sends with while it receives as much, over all its links.
      latency: of one message to a neighbour.
      dimensions: 1 for a ring, 2 or 3 for a torus, whose rings are shorter.
      by_halves: every pass takes log₂ n messages instead of n - 1 (recursive halving and
        doubling, Thakur et al. 2005), as between nodes that a switch connects.
    """

    bandwidth: float
    latency: float
    dimensions: int = 1
    by_halves: bool = False

    def messages(self, count: int) -> float:
        """One after the other in a reduce-scatter, or an all-gather, of so many."""
        if self.by_halves:
            return math.ceil(math.log2(count))
        return self.dimensions * (count ** (1 / self.dimensions) - 1)

    def seconds(self, num_bytes: float, count: int) -> float:
        """Of a reduce-scatter, or an all-gather, but for latency; an all-reduce is both."""
        return (count - 1) / count * num_bytes / self.bandwidth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """Devices in groups with fast links: nodes of NVLink, slices of ICI.

    Attributes:
      name: as people say it.
      peak_flops: of a device, dense bfloat16.
      memory: of a device.
      memory_bandwidth: of a device.
      group: devices of a group.
      inside: links within a group.
      between: links between groups, a device's share of them.
      devices_per_host: that one input pipeline feeds.
      fixed_seconds: of a pass through the model, whatever its rows.
    """

    name: str
    peak_flops: float
    memory: float
    memory_bandwidth: float
    group: int
    inside: Links
    between: Links
    devices_per_host: int
    fixed_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A BERT at a length of rows.

    Attributes:
      seq_len: T.
      flops_per_token: of training.
      sizes: of all parameter tensors, in elements.
      late: elements whose gradient is complete only when the backward pass is: the
        embeddings. Their reduction hides behind nothing.
    """

    seq_len: int
    flops_per_token: float
    sizes: tuple[int, ...]
    late: int

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors."""
        return sum(self.sizes)


def describe(config: BertConfig, *, seq_len: int, num_predictions: int) -> Network:
    """The network of a configuration, from shapes alone."""
    key = jax.eval_shape(partial(jax.random.key, 0))
    shapes = jax.eval_shape(partial(init_params, BertForPreTraining(config)), key)
    embeddings = jax.tree.leaves(shapes["bert"]["embeddings"])
    return Network(
        seq_len=seq_len,
        flops_per_token=training_flops_per_token(
            config, seq_len=seq_len, num_predictions=num_predictions
        ),
        sizes=tuple(leaf.size for leaf in jax.tree.leaves(shapes)),
        late=sum(leaf.size for leaf in embeddings),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How a batch is spread.

    Attributes:
      devices: n.
      rows: of the global batch; a multiple of n.
      micro_rows: rows that a device takes at a time, 0 for all of its own.
      reduce_bytes: of a gradient's element on its way, FLOAT32 or BFLOAT16.
      shard_optimizer: each device updates a part: reduce-scatter of gradients, all-gather of
        float32 parameters.
      mfu: share of the peak that arithmetic reaches while it runs.
      overlap: share of the backward pass behind which communication can hide, 0 or 1 or between.
        Nobody knows it before the run, so look at both ends. With several passes it is 0
        whatever is said here: the reduction follows their loop.
      message_bytes: gradients travel in pieces of so many bytes, each with its own latency.
    """

    devices: int
    rows: int
    micro_rows: int = 0
    reduce_bytes: int = FLOAT32
    shard_optimizer: bool = False
    mfu: float
    overlap: float
    message_bytes: float

    def __post_init__(self) -> None:
        if self.rows % self.devices:
            raise ValueError(f"{self.rows} rows cannot be shared by {self.devices} devices")

    @property
    def device_rows(self) -> int:
        """Rows of a device."""
        return self.rows // self.devices

    @property
    def passes(self) -> int:
        """How often a device goes through the model for an update."""
        return math.ceil(self.device_rows / (self.micro_rows or self.device_rows))


class StepTime(NamedTuple):
    """Where the time of a step goes.

    Attributes:
      arithmetic: forward and backward passes.
      update: of parameters and moments, and the sums of accumulated gradients.
      communication: as if alone.
      exposed: what of it does not hide.
    """

    arithmetic: float
    update: float
    communication: float
    exposed: float

    @property
    def total(self) -> float:
        """Of the step."""
        return self.arithmetic + self.update + self.exposed


class DeviceMemory(NamedTuple):
    """Bytes on a device, as `bert_jax.training.memory` counts them.

    Attributes:
      parameters: exact.
      optimizer: exact.
      gradients: of a pass, and their sum where there are several.
      activations: an estimate, see COMPILER_SLACK.
    """

    parameters: int
    optimizer: int
    gradients: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def sent_bytes(num_elements: int, devices: int, *, gather_bytes: int, reduce_bytes: int) -> float:
    """What a device sends in a step: a reduce-scatter, and an all-gather."""
    return (devices - 1) / devices * num_elements * (reduce_bytes + gather_bytes)


def pass_seconds(hardware: Hardware, num_bytes: float, devices: int, messages: float) -> float:
    """A reduce-scatter, or an all-gather, over all devices: the faster of two ways.

    One ring through all devices, which sends through all network cards of a node at
    once but has a latency for every device; or within each group, and then what each
    device holds between the groups.
    """
    if devices == 1:
        return 0.0
    inside, between = hardware.inside, hardware.between
    group = min(devices, hardware.group)
    groups = math.ceil(devices / group)
    if groups == 1:
        return inside.seconds(num_bytes, group) + messages * inside.messages(group) * inside.latency
    ring = dataclasses.replace(
        inside, bandwidth=min(inside.bandwidth, group * between.bandwidth)
    ).seconds(num_bytes, devices)
    hops = (devices - groups) * inside.latency + (groups - 1) * between.latency
    levels = inside.seconds(num_bytes, group) + between.seconds(num_bytes / group, groups)
    jumps = inside.messages(group) * inside.latency + between.messages(groups) * between.latency
    return min(ring + messages * hops, levels + messages * jumps)


def step_time(network: Network, hardware: Hardware, plan: Plan) -> StepTime:
    """The time of an update."""
    elements = network.num_parameters
    tokens = plan.device_rows * network.seq_len
    rate = plan.mfu * hardware.peak_flops
    arithmetic = tokens * network.flops_per_token / rate + plan.passes * hardware.fixed_seconds

    updated = elements / plan.devices if plan.shard_optimizer else elements
    moved = updated * UPDATE_BYTES
    if plan.passes > 1:
        moved += plan.passes * elements * ACCUMULATION_BYTES
    update = moved / hardware.memory_bandwidth

    def travel(element_bytes: int) -> float:
        size = elements * element_bytes
        messages = math.ceil(size / plan.message_bytes)
        return pass_seconds(hardware, size, plan.devices, messages)

    reduction = travel(plan.reduce_bytes)
    if plan.shard_optimizer:
        gather = travel(FLOAT32)  # of parameters: after the update, so it hides behind nothing
    else:
        reduction, gather = 2 * reduction, 0.0
    late = network.late / elements * reduction
    overlap = plan.overlap if plan.passes == 1 else 0.0
    hidden = overlap * BACKWARD * tokens * network.flops_per_token / rate
    exposed = reduction - min(hidden, reduction - late) + gather
    return StepTime(arithmetic, update, reduction + gather, exposed)


def device_memory(
    network: Network, plan: Plan, *, activations_per_row: float, moments: int = 2
) -> DeviceMemory:
    """What a device holds at the widest point of a step.

    Args:
      network: the model.
      plan: says who keeps what.
      activations_per_row: by `bert_jax.training.memory`.
      moments: of the optimizer, beside its count of steps.
    """
    parts = plan.devices if plan.shard_optimizer else 1
    kept = sum(math.ceil(size / parts) for size in network.sizes)
    rows = math.ceil(plan.device_rows / plan.passes)
    sets = 1 if plan.passes == 1 else 2
    return DeviceMemory(
        parameters=FLOAT32 * network.num_parameters,
        optimizer=moments * FLOAT32 * kept + 4,
        gradients=sets * FLOAT32 * network.num_parameters,
        activations=COMPILER_SLACK * rows * activations_per_row,
    )


def largest_micro_batch(
    network: Network, hardware: Hardware, plan: Plan, *, activations_per_row: float
) -> int:
    """Rows at a time, a power of two, that leave 5 % of the memory; 0 if not even one fits."""
    rows = 1 << (plan.device_rows.bit_length() - 1)
    while rows:
        tried = dataclasses.replace(plan, micro_rows=rows)
        memory = device_memory(network, tried, activations_per_row=activations_per_row)
        if memory.total <= 0.95 * hardware.memory:
            break
        rows //= 2
    return rows


def effective_mfu(network: Network, hardware: Hardware, plan: Plan) -> float:
    """The model's arithmetic over the peak, of the whole step."""
    flops = plan.device_rows * network.seq_len * network.flops_per_token
    return flops / hardware.peak_flops / step_time(network, hardware, plan).total


def tokens_per_second(network: Network, hardware: Hardware, plan: Plan) -> float:
    """Of all devices together, padding included."""
    return plan.rows * network.seq_len / step_time(network, hardware, plan).total


def host_tokens_per_second(network: Network, hardware: Hardware, plan: Plan) -> float:
    """What one host's input pipeline must give."""
    share = min(plan.devices, hardware.devices_per_host) / plan.devices
    return share * tokens_per_second(network, hardware, plan)


def all_reduce_seconds(messages: float, num_bytes: float, count: int, links: Links) -> float:
    """Of a plain ring, as `measure` fits it: latency for each message, then bandwidth."""
    return messages * links.latency + 2 * links.seconds(num_bytes, count)
