"""The step on one device and on four: what `pmap` does not check."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.speed.synthetic import synthetic_batch
from bert_jax.training.objectives import pretraining, real_shares
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    bytes_per_device,
    make_notes,
    parallel_eval_step,
    parallel_train_step,
    place,
    replicate,
    shard_batch,
    whole,
)
from bert_jax.training.rng import Stream, step_key, stream_key
from bert_jax.training.schedule import make_schedule
from bert_jax.training.steps import (
    Notes,
    TrainState,
    init_state,
    make_eval_step,
    make_train_step,
)

SCHEDULE = make_schedule(peak_learning_rate=1e-2, warmup_steps=2, total_steps=200)
OPTIMIZERS = {name: make_optimizer(algorithm=name) for name in ("adamw", "lamb")}
OPTIMIZER = OPTIMIZERS["adamw"]
PLAIN = Parallelism()


def rate(step: jax.Array, elapsed: jax.Array) -> jax.Array:
    del elapsed
    return SCHEDULE(step, step / 200)


@functools.cache
def make_model(dropout: float = 0.0) -> BertForPreTraining:
    config = BertConfig(
        vocab_size=60,
        num_layers=2,
        num_heads=2,
        width=16,
        max_positions=16,
        dropout=dropout,
        attention_dropout=dropout,
    )
    return BertForPreTraining(config)


def make_batch(seed: int, rows: int = 8, tokens: int = 12) -> dict[str, np.ndarray]:
    """Random ids; the rows hold from none to all of the five masked tokens."""
    random = np.random.default_rng(seed)
    masked = (np.arange(5) < random.integers(0, 6, rows)[:, None]).astype(np.float32)
    masked[:2] = 0  # the first of four devices has nothing to predict
    return {
        "input_ids": random.integers(5, 60, (rows, tokens), np.int32),
        "segment_ids": np.tile(np.arange(tokens) > 5, (rows, 1)).astype(np.int32),
        "lengths": random.integers(7, tokens + 1, rows).astype(np.int32),
        "mlm_positions": np.tile(np.arange(1, 6, dtype=np.int32), (rows, 1)),
        "mlm_ids": random.integers(5, 60, (rows, 5), np.int32),
        "mlm_weights": masked,
        "nsp_labels": random.integers(0, 2, rows, np.int32),
    }


@functools.cache
def make_init(algorithm: str = "adamw") -> Callable[[jax.Array], TrainState]:
    return jax.jit(functools.partial(init_state, make_model(), OPTIMIZERS[algorithm]))


@functools.cache
def make_step(
    num_devices: int, dropout: float, parallelism: Parallelism, algorithm: str
) -> Callable:
    devices = jax.devices()[:num_devices]
    state = place(make_init(algorithm)(jax.random.key(0)), devices, parallelism)
    step = make_train_step(
        pretraining(make_model(dropout)),
        OPTIMIZERS[algorithm],
        rate,
        micro_batch_size=parallelism.micro_batch_size,
    )
    return parallel_train_step(step, devices, state, parallelism)


def train(
    devices: list[jax.Device],
    batches: list[dict],
    dropout: float = 0.0,
    parallelism: Parallelism = PLAIN,
    algorithm: str = "adamw",
) -> tuple:
    step = make_step(len(devices), dropout, parallelism, algorithm)
    state = place(make_init(algorithm)(jax.random.key(0)), devices, parallelism)
    losses = []
    for batch in batches:
        notes = make_notes(devices)
        state, sums, _ = step(state, shard_batch(batch, devices), notes, jax.random.key(1))
        losses.append({name: float(total) for name, (total, _) in sums.items()})
    return state, losses


def max_difference(a: TrainState, b: TrainState) -> float:
    pairs = zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


def test_four_devices_give_what_one_gives() -> None:
    batches = [make_batch(seed) for seed in range(3)]
    counts = [batch["mlm_weights"].reshape(4, -1).sum(axis=1) for batch in batches]
    assert all(len(set(count)) > 1 for count in counts), "the shards must be uneven"
    one, one_losses = train(jax.devices()[:1], batches)
    four, four_losses = train(jax.devices(), batches)
    difference = max_difference(one, four)
    print(f"largest difference of a parameter after 3 steps, 4 devices and 1: {difference:.2e}")
    assert difference < 1e-6
    for a, b in zip(one_losses, four_losses, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize("dropout", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_blocks_of_rows_may_be_computed_anywhere(dropout: float) -> None:
    """Two rows at a time on one device, on two and on four: with dropout too."""
    batches = [make_batch(seed) for seed in range(4)]
    parallelism = Parallelism(micro_batch_size=2)
    runs = [train(jax.devices()[:n], batches, dropout, parallelism) for n in (1, 2, 4)]
    if dropout == 0:
        runs.append(train(jax.devices()[:1], batches))
    for state, losses in runs[1:]:
        assert max_difference(runs[0][0], state) < 1e-6
        for a, b in zip(runs[0][1], losses, strict=True):
            assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize(("num_devices", "algorithm"), [(3, "lamb"), (4, "adamw")])
def test_sharded_moments_give_the_same_in_less_memory(num_devices: int, algorithm: str) -> None:
    devices = jax.devices()[:num_devices]
    batches = [make_batch(seed, rows=12) for seed in range(4)]
    sharded = Parallelism(shard_optimizer=True)
    one, one_losses = train(devices, batches, algorithm=algorithm)
    other, other_losses = train(devices, batches, parallelism=sharded, algorithm=algorithm)
    assert max_difference(one, other) < 2e-6
    for a, b in zip(one_losses, other_losses, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    like = jax.eval_shape(make_init(algorithm), jax.random.key(0))
    again = whole(other, like, devices, sharded)
    for a, b in zip(jax.tree.leaves(one.opt_state), jax.tree.leaves(again.opt_state), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-8)
    placed = place(again, devices, sharded)
    jax.tree.map(np.testing.assert_array_equal, placed.opt_state, other.opt_state)
    before, after = (bytes_per_device(state.opt_state) for state in (one, other))
    assert after < before / num_devices * 1.1


def test_gradients_may_travel_in_bfloat16() -> None:
    batches = [make_batch(seed) for seed in range(4)]
    full, _ = train(jax.devices(), batches)
    for shard_optimizer in (False, True):
        parallelism = Parallelism(reduce_dtype="bfloat16", shard_optimizer=shard_optimizer)
        half, _ = train(jax.devices(), batches, parallelism=parallelism)
        assert 0 < max_difference(full, half) < 0.05


def test_an_update_that_is_not_finite_is_not_made() -> None:
    devices, model = jax.devices()[:2], make_model()
    state = place(make_init()(jax.random.key(0)), devices, PLAIN)
    poisoned = jax.device_get(state.params)
    poisoned["predictions"]["bias"] = np.full_like(poisoned["predictions"]["bias"], np.nan)
    step = parallel_train_step(
        make_train_step(pretraining(model), OPTIMIZER, rate), devices, state, PLAIN
    )
    bad = replicate(TrainState(state.step, poisoned, state.opt_state), devices)
    expected = jax.device_get(bad)
    after, sums, vitals = step(
        bad, shard_batch(make_batch(0), devices), make_notes(devices), jax.random.key(1)
    )
    assert not bool(vitals.is_finite)
    assert int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, expected.opt_state)
    jax.tree.map(np.testing.assert_array_equal, after.params, expected.params)
    assert all(float(value) == 0 for pair in sums.values() for value in pair)


def test_notes_reach_every_device_once() -> None:
    devices = jax.devices()
    state = place(make_init()(jax.random.key(0)), devices, PLAIN)
    step = make_step(4, 0.0, PLAIN, "adamw")
    notes = make_notes(devices, stop=True, elapsed=0.25)
    _, _, vitals = step(state, shard_batch(make_batch(0), devices), notes, jax.random.key(1))
    assert int(vitals.notes.stop) == 1
    assert float(vitals.notes.elapsed) == 0.25
    assert bool(vitals.is_finite)


def test_replicas_stay_equal_to_the_bit() -> None:
    state, _ = train(jax.devices(), [make_batch(seed) for seed in range(5)], dropout=0.3)
    for leaf in jax.tree.leaves(state):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 4
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0])


def test_the_gradient_is_that_of_the_mean_over_the_batch() -> None:
    """Against jax.grad of the plain definition, on one undivided batch."""
    model, batch = make_model(), jax.tree.map(jnp.asarray, make_batch(0))
    state = make_init()(jax.random.key(0))

    @jax.jit
    @jax.grad
    def gradient(params: dict) -> jax.Array:
        mlm, nsp = model.apply(
            {"params": params},
            *(batch[name] for name in ("input_ids", "segment_ids", "lengths", "mlm_positions")),
        )
        mlm = jax.nn.log_softmax(mlm)
        picked = jnp.take_along_axis(mlm, batch["mlm_ids"][..., None], axis=-1)[..., 0]
        nsp = jnp.take_along_axis(jax.nn.log_softmax(nsp), batch["nsp_labels"][:, None], axis=-1)
        return -(picked * batch["mlm_weights"]).sum() / batch["mlm_weights"].sum() - nsp.mean()

    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradient(state.params))))
    step = jax.jit(make_train_step(pretraining(model), OPTIMIZER, rate))
    _, sums, _ = step(state, batch, Notes(0, 0.0), jax.random.key(1))
    assert float(sums["gradient_norm"][0]) == pytest.approx(norm, rel=1e-5)


def test_dropout_differs_by_step_and_block_and_repeats() -> None:
    key = jax.random.key(0)
    draws = {
        (step, block): jax.random.uniform(step_key(key, step, block)).item()
        for step in range(3)
        for block in range(3)
    }
    assert len(set(draws.values())) == len(draws)
    batches = [make_batch(0)] * 2
    first, _ = train(jax.devices(), batches, dropout=0.3)
    again, _ = train(jax.devices(), batches, dropout=0.3)
    assert max_difference(first, again) == 0
    without, _ = train(jax.devices(), batches)
    assert max_difference(first, without) > 1e-4


def test_the_first_update_has_rate_zero() -> None:
    state, _ = train(jax.devices()[:1], [make_batch(0)])
    assert max_difference(state, make_init()(jax.random.key(0))) == 0
    assert int(state.step) == 1


def test_one_batch_can_be_learnt_by_heart() -> None:
    batch = make_batch(3)
    _, losses = train(jax.devices()[:1], [batch] * 120)
    weight = batch["mlm_weights"].sum()
    assert losses[0]["mlm_loss"] / weight == pytest.approx(np.log(60), rel=0.05)
    assert losses[-1]["mlm_loss"] / weight < 0.1
    assert losses[-1]["nsp_loss"] / 8 < 0.1
    assert losses[-1]["mlm_accuracy"] == weight


def test_evaluation_ignores_rows_of_padding() -> None:
    model, batch = make_model(), make_batch(0)
    params = make_init()(jax.random.key(0)).params
    padded = {name: array.copy() for name, array in batch.items()}
    padded["lengths"][4:] = 0
    padded["mlm_weights"][4:] = 0
    results = []
    for devices, rows in ((jax.devices(), padded), (jax.devices()[:1], padded)):
        step = parallel_eval_step(make_eval_step(pretraining(model)), devices)
        results.append(step(replicate(params, devices), shard_batch(rows, devices)))
    half = jax.tree.map(lambda array: jnp.asarray(array[:4]), batch)
    results.append(jax.jit(make_eval_step(pretraining(model)))(params, half))
    for result in results[:2]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), result, results[2])
    assert results[0]["nsp_loss"][1] == 4


def test_what_of_a_batch_is_real() -> None:
    """Two rows of 8: the sequences 5 and 3, which do not see one another, and 4."""
    config = make_model().config
    batch = {
        "input_ids": jnp.zeros((2, 8), "int32"),
        "lengths": jnp.array([[5, 3], [4, 0]]),
        "mlm_ids": jnp.zeros((2, 3), "int32"),
        "mlm_weights": jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
    }
    shares = real_shares(config, batch)
    assert [float(figure) for figure in shares["real_tokens"]] == [12, 16]
    width, wide = config.width, config.feed_forward_width
    layer = 6 * (4 * width**2 + 2 * width * wide)
    head = 6 * (width**2 + width * config.vocab_size)
    useful = config.num_layers * (12 * layer + 12 * width * (25 + 9 + 16)) + 3 * head
    padded = config.num_layers * (16 * layer + 12 * width * 16 * 8) + 6 * head
    assert [float(figure) for figure in shares["real_flops"]] == pytest.approx([useful, padded])


def test_packed_rows_on_any_devices_in_any_blocks() -> None:
    """Also with activations computed twice."""
    config = dataclasses.replace(make_model().config, max_positions=32)
    batch = synthetic_batch(config, batch_size=8, seq_len=32, padding=0.3, examples_per_row=4)
    assert batch["lengths"].shape == (8, 4)
    states = []
    for num_devices, rows, remat in ((1, 0, False), (4, 1, True), (2, 2, False)):
        devices, parallelism = jax.devices()[:num_devices], Parallelism(micro_batch_size=rows)
        model = BertForPreTraining(dataclasses.replace(config, remat=remat))
        init = jax.jit(functools.partial(init_state, model, OPTIMIZER))
        state = place(init(stream_key(0, Stream.INIT)), devices, parallelism)
        one = make_train_step(pretraining(model), OPTIMIZER, lambda *_: 1e-2, micro_batch_size=rows)
        step = parallel_train_step(one, devices, state, parallelism)
        key = stream_key(0, Stream.DROPOUT)
        state, sums, _ = step(state, shard_batch(batch, devices), make_notes(devices), key)
        states.append((jax.device_get(state.params), jax.device_get(sums)))
    for other in states[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), states[0], other
        )
