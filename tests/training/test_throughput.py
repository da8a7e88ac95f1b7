import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.training.throughput import CLOCK_FIGURES, Pace, peak_flops, peak_memory


class Clock:
    """Stands still but for what a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def batches(self, *seconds: float) -> Iterator[int]:
        """Batches that take so long each."""
        for number, wait in enumerate(seconds):
            self.now += wait
            yield number


def make_pace(clock: Callable[[], float], peak: float | None = 1000.0) -> Pace:
    pace = Pace(device=jax.local_devices()[0], peak_flops=peak, clock=clock)
    pace.begin_phase()
    pace.change_shape(100, 5.0, compiles=False)
    return pace


def gated_step() -> tuple[Callable[[Any], jax.Array], Callable[[], None]]:
    """A step of the devices that lasts until the second of these is called.

    By pmap over two, because one CPU device computes what is small before it returns.
    """
    gate = threading.Event()

    def wait(x: Any) -> Any:
        gate.wait()
        return np.asarray(x)

    def finish() -> None:
        gate.set()
        for thread in threading.enumerate():
            if thread.name == "finish of a step":
                thread.join()

    shape = jax.ShapeDtypeStruct((), jnp.float32)
    callback = partial(jax.pure_callback, wait, shape)
    return jax.pmap(callback, devices=jax.local_devices()[:2]), finish


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v4", 275e12),
    ],
)
def test_peaks_are_found_by_kind(kind: str, peak: float) -> None:
    assert peak_flops(kind, 4) == 4 * peak


def test_an_unknown_device_has_no_peak() -> None:
    assert peak_flops("cpu", 4) is None


def test_every_moment_is_of_one_activity() -> None:
    clock = Clock()
    pace = make_pace(clock)
    done = jax.block_until_ready(jnp.zeros(()))
    clock.now += 10.0  # restores
    for batch in pace.timed(clock.batches(5.0, 0.0, 0.1, 0.0, 0.1)):
        clock.now += 30.0 if batch == 0 else 0.45
        pace.step(done)
        assert pace.has_stepped == (batch > 0)  # the first one is compiled
    with pace.spent("evaluation"):
        clock.now += 38.0
    with pace.spent("checkpoint"):
        clock.now += 15.0
    assert pace.seconds_per_step() == pytest.approx(0.5)
    assert pace.figures() == pytest.approx(
        {
            "tokens_per_second": 200.0,
            "padded_mfu": 1.0,
            "goodput": 1.8 / 100,
            "input_wait": 0.1,
            "input_stall": 0.1,
        }
    )
    assert pace.figures() == {}
    assert pace.summary() == [
        ("start-up", "15.0%"),
        ("compile", "30.0%"),
        ("steps", "1.8%"),
        ("input", "0.2%"),
        ("evaluation", "38.0%"),
        ("checkpoint", "15.0%"),
        ("total", "2 min"),
    ]


def test_a_phase_of_another_shape_compiles_outside_the_pace() -> None:
    clock = Clock()
    pace = make_pace(clock)
    done = jax.block_until_ready(jnp.zeros(()))
    for _ in pace.timed(clock.batches(0.0, 0.0, 0.0)):
        clock.now += 1.0
        pace.step(done)
    pace.begin_phase()
    pace.change_shape(400, 10.0, compiles=False)
    for batch in pace.timed(clock.batches(7.0, 0.0, 0.0)):
        clock.now += 50.0 if batch == 0 else 4.0
        pace.step(done)
    figures = pace.figures()
    assert figures["tokens_per_second"] == (2 * 100 + 2 * 400) / (2 * 1.0 + 2 * 4.0)
    assert figures["padded_mfu"] == (2 * 100 * 5 + 2 * 400 * 10) / 10.0 / 1000.0
    assert dict(pace.summary())["compile"] == f"{51 / 68:.1%}"


def test_waiting_beside_busy_devices_is_no_stall() -> None:
    clock = Clock()
    pace = make_pace(clock)
    gated, finish = gated_step()

    def batches() -> Iterator[None]:
        yield
        yield
        clock.now += 3.0  # and the devices are busy for as long
        finish()
        clock.now += 1.0  # they have nothing to do
        yield

    source = pace.timed(zip(batches()))
    next(source)
    pace.step(jax.block_until_ready(jnp.zeros(())))
    next(source)
    pace.step(gated(jnp.zeros(2)))
    next(source)
    pace.step(jax.block_until_ready(jnp.zeros(())))
    figures = pace.figures()
    assert (figures["input_wait"], figures["input_stall"]) == (1.0, 0.25)
    assert figures["goodput"] == 0.75


def test_devices_that_outlast_the_wait_never_stall() -> None:
    clock = Clock()
    pace = make_pace(clock)
    gated, finish = gated_step()
    source = pace.timed(clock.batches(0.0, 0.0, 2.0))
    next(source)
    pace.step(jax.block_until_ready(jnp.zeros(())))
    next(source)
    pace.step(gated(jnp.zeros(2)))
    next(source)
    finish()
    pace.step(jnp.zeros(()))
    figures = pace.figures()
    assert (figures["input_wait"], figures["input_stall"]) == (1.0, 0.0)


def test_a_real_run_with_a_slow_reader() -> None:
    pace = make_pace(time.monotonic, peak=None)
    step = jax.jit(lambda x: jnp.tanh(x @ x))
    x = jnp.full((64, 64), 0.01)

    def batches() -> Iterator[int]:
        for number in itertools.count():
            time.sleep(0.02)
            yield number

    for number in pace.timed(batches()):
        x = step(x)
        pace.step(x)
        if number == 10:
            break
    figures = pace.figures()
    assert figures.keys() == CLOCK_FIGURES - {
        "mfu",
        "padded_mfu",
        "peak_memory_bytes",
        "real_tokens_per_second",
    }
    assert 0 < figures["tokens_per_second"] < 100 / 0.02
    assert 0.5 < figures["input_stall"] <= figures["input_wait"] < 1  # steps of microseconds
    assert all(math.isfinite(value) for value in figures.values())


def test_a_failed_evaluation_is_still_counted() -> None:
    clock = Clock()
    pace = make_pace(clock)
    with pytest.raises(OSError), pace.spent("checkpoint"):
        clock.now += 3.0
        raise OSError
    clock.now += 1.0
    assert pace.summary()[:2] == [("start-up", "25.0%"), ("checkpoint", "75.0%")]


def test_a_cpu_does_not_count_its_memory() -> None:
    assert peak_memory(jax.local_devices()[0]) is None
