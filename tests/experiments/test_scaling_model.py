"""The model of experiments/scaling: its limits, figures by hand, memory against the real thing."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.synthetic import synthetic_batch
from bert_jax.training.memory import step_memory
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import Parallelism, all_devices, bytes_per_device, place
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import init_state
from experiments.scaling.hardware import DEVICES
from experiments.scaling.model import (
    BFLOAT16,
    FLOAT32,
    Hardware,
    Links,
    Network,
    Plan,
    describe,
    device_memory,
    effective_mfu,
    host_tokens_per_second,
    largest_micro_batch,
    pass_seconds,
    sent_bytes,
    step_time,
)

# Round figures: 100 FLOP/s at an MFU of a half, 10 bytes/s inside groups of 4, 2 between them.
HARDWARE = Hardware(
    name="slow",
    peak_flops=100.0,
    memory=1000.0,
    memory_bandwidth=320.0,
    group=4,
    inside=Links(bandwidth=10.0, latency=0.0),
    between=Links(bandwidth=2.0, latency=0.0, by_halves=True),
    devices_per_host=2,
    fixed_seconds=1.0,
)
NETWORK = Network(seq_len=10, flops_per_token=6.0, sizes=(30, 10), late=10)
PLAN = Plan(devices=1, rows=8, mfu=0.5, overlap=0.0, message_bytes=1000.0)


@pytest.fixture(scope="module")
def base() -> Network:
    config = BertConfig(vocab_size=30_522, **SIZES["base"])
    return describe(config, seq_len=128, num_predictions=19)


def spread_over(devices: int, **changes: object) -> Plan:
    return dataclasses.replace(PLAN, devices=devices, **changes)


def test_one_device_sends_nothing() -> None:
    assert sent_bytes(40, 1, reduce_bytes=FLOAT32, gather_bytes=FLOAT32) == 0
    for changes in ({}, {"shard_optimizer": True}, {"reduce_bytes": BFLOAT16}):
        assert step_time(NETWORK, HARDWARE, spread_over(1, **changes)).communication == 0


def test_many_devices_send_everything_twice() -> None:
    sent = [
        sent_bytes(40, count, reduce_bytes=FLOAT32, gather_bytes=FLOAT32)
        for count in (2, 8, 64, 4096)
    ]
    assert sent == sorted(sent)
    assert sent[0] == 40 * FLOAT32  # half of it, twice
    assert sent[-1] == pytest.approx(2 * 40 * FLOAT32, rel=1e-3)


def test_step_by_hand() -> None:
    # 8 rows over 4 devices: 20 tokens of 6 FLOPs at 50 FLOP/s, and a second that is fixed.
    # 40 parameters: 1,280 bytes of update at 320 a second; 160 bytes of gradients, of which a
    # device sends 3/4 twice, at 10 a second.
    bare = step_time(NETWORK, HARDWARE, spread_over(4))
    assert bare == pytest.approx((2.4 + 1.0, 4.0, 24.0, 24.0))
    assert bare.total == pytest.approx(31.4)
    # The embeddings, a quarter, cannot hide; the rest behind two thirds of 2.4 seconds.
    hidden = step_time(NETWORK, HARDWARE, spread_over(4, overlap=1.0))
    assert hidden.exposed == pytest.approx(6.0 + 18.0 - 1.6)
    narrow = step_time(NETWORK, HARDWARE, spread_over(4, reduce_bytes=BFLOAT16))
    assert narrow.communication == pytest.approx(12.0)


def test_groups_by_hand() -> None:
    # 8 devices, 80 bytes. One ring: 7/8 of them, at 4 · 2 bytes a second between groups. By levels:
    # 3/4 at 10, then half of a quarter at 2, which takes longer.
    assert pass_seconds(HARDWARE, 80, 8, 1) == pytest.approx(70 / 8)
    # With a second for each message the ring has 7 of them, by levels 3 + 1.
    slow = dataclasses.replace(
        HARDWARE,
        inside=dataclasses.replace(HARDWARE.inside, latency=1.0),
        between=dataclasses.replace(HARDWARE.between, latency=1.0),
    )
    assert pass_seconds(slow, 80, 8, 1) == pytest.approx(6.0 + 5.0 + 4.0)


def test_torus_has_shorter_rings() -> None:
    links = Links(bandwidth=1.0, latency=1.0)
    assert links.messages(4096) == 4095
    assert dataclasses.replace(links, dimensions=3).messages(4096) == pytest.approx(45)
    assert dataclasses.replace(links, by_halves=True).messages(4096) == 12


def test_sharding_moves_as_much_in_float32_and_more_in_bfloat16() -> None:
    def travel(**changes: object) -> float:
        return step_time(NETWORK, HARDWARE, spread_over(8, **changes)).communication

    assert travel(shard_optimizer=True) == pytest.approx(travel())
    assert travel(shard_optimizer=True, reduce_bytes=BFLOAT16) == pytest.approx(0.75 * travel())
    assert travel(reduce_bytes=BFLOAT16) == pytest.approx(0.5 * travel())


def test_sharding_divides_the_update() -> None:
    whole = step_time(NETWORK, HARDWARE, spread_over(8))
    parts = step_time(NETWORK, HARDWARE, spread_over(8, shard_optimizer=True))
    assert parts.update == pytest.approx(whole.update / 8)


def test_nothing_hides_behind_several_passes() -> None:
    once = step_time(NETWORK, HARDWARE, spread_over(2, overlap=1.0))
    twice = step_time(NETWORK, HARDWARE, spread_over(2, overlap=1.0, micro_rows=2))
    assert once.exposed < once.communication
    assert twice.exposed == twice.communication
    assert twice.arithmetic == pytest.approx(once.arithmetic + HARDWARE.fixed_seconds)
    assert twice.update == pytest.approx(once.update + 2 * 40 * 12 / 320)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_more_devices_are_faster_and_less_used(base: Network, device: str, overlap: float) -> None:
    plans = [
        Plan(devices=2**k, rows=4096, mfu=0.43, overlap=overlap, message_bytes=30 * 2**20)
        for k in range(3, 13)
    ]
    hardware = DEVICES[device]
    steps = [step_time(base, hardware, plan) for plan in plans]
    communication = [step.communication for step in steps]
    assert communication == sorted(communication)
    used = [effective_mfu(base, hardware, plan) for plan in plans]
    assert used == sorted(used, reverse=True)
    assert all(0 < share < 0.43 for share in used)
    assert all(0 <= step.exposed <= step.communication for step in steps)
    # The reduction can only hide: at worst it is all added.
    for plan in plans:
        bare = step_time(base, hardware, dataclasses.replace(plan, overlap=0.0))
        hidden = step_time(base, hardware, dataclasses.replace(plan, overlap=1.0))
        assert hidden.total <= bare.total


def test_input_of_a_host_by_hand() -> None:
    plan = spread_over(4)
    step = step_time(NETWORK, HARDWARE, plan)
    assert host_tokens_per_second(NETWORK, HARDWARE, plan) == pytest.approx(40 / step.total)


def test_description_of_base(base: Network) -> None:
    assert base.num_parameters == 110_106_428
    # Words, positions, segments, LayerNorm.
    assert base.late == (30_522 + 512 + 2 + 2) * 768
    # By hand: 6·(12·(4·768² + 2·768·3072) + 19/128·(768² + 768·30,522)) + 12·12·768·128.
    assert base.flops_per_token == pytest.approx(545.2e6, rel=1e-3)


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_memory_is_that_of_training_memory(size: str) -> None:
    config = BertConfig(vocab_size=30_522, **SIZES[size])
    batch = synthetic_batch(config, batch_size=1, seq_len=16)
    real = step_memory(BertForPreTraining(config), make_optimizer(), batch)
    network = describe(config, seq_len=16, num_predictions=2)
    found = device_memory(network, PLAN, activations_per_row=0.0)
    assert found[:3] == real[:3]


def test_memory_of_moments_in_parts_is_that_of_placed_ones() -> None:
    config = BertConfig(vocab_size=1001, **SIZES["tiny"])
    init = partial(init_state, BertForPreTraining(config), make_optimizer())
    shapes = jax.eval_shape(init, stream_key(0, Stream.INIT))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = place(zeros, all_devices(), Parallelism(shard_optimizer=True))
    network = describe(config, seq_len=16, num_predictions=2)
    plan = spread_over(len(all_devices()), shard_optimizer=True)
    found = device_memory(network, plan, activations_per_row=0.0)
    assert found.optimizer == bytes_per_device(state.opt_state)
    assert found.parameters == bytes_per_device(state.params)


def test_largest_micro_batch() -> None:
    def largest(activations: float) -> int:
        return largest_micro_batch(NETWORK, HARDWARE, PLAN, activations_per_row=activations)

    # 950 bytes: 160 of parameters, 324 of the optimizer, 160 of gradients leave 306 for 8 rows,
    # 23.9 for each with the compiler's slack of 1.6.
    assert largest(0.0) == 8
    assert largest(23.0) == 8
    # A second set of gradients leaves 146: too little for 4 rows of 30, enough for 2.
    assert largest(30.0) == 2
    assert largest(200.0) == 0


def test_rows_must_be_shared_evenly() -> None:
    with pytest.raises(ValueError, match="8 rows cannot be shared by 3 devices"):
        spread_over(3)
