"""The figures against independent counts; the steps against a clock of their own."""

import dataclasses
import time

import jax
import pytest

from bert_jax.errors import UserError
from bert_jax.model.sizes import SIZES, BertConfig, training_flops_per_token
from bert_jax.speed.timing import (
    Row,
    Work,
    is_out_of_memory,
    make_step,
    step_seconds,
    sweep,
    throughput,
    time_steps,
    warm_up,
)
from bert_jax.training.parallel import all_devices

CONFIG = BertConfig(vocab_size=100, **SIZES["tiny"])
WORK = Work(config=CONFIG, batch_size=8, seq_len=16)


class Sleeper:
    """A step that takes as long as it says, one after the other."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.count = self.waiting = self.most = 0

    def dispatch(self) -> int:
        self.count += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return self.count

    def wait(self, step: int) -> None:
        assert step == self.count - self.waiting + 1  # in order
        self.waiting -= 1
        time.sleep(self.seconds)


def test_every_step_is_timed_once_with_one_dispatched_ahead() -> None:
    sleeper = Sleeper(0.01)
    seconds = step_seconds(sleeper, 5)
    assert len(seconds) == 5
    assert sleeper.count == 6 and sleeper.waiting == 0 and sleeper.most == 2
    assert min(seconds) >= 0.01


def test_warming_up_takes_its_time() -> None:
    sleeper, begin = Sleeper(0.005), time.perf_counter()
    warm_up(sleeper, 0.05)
    assert time.perf_counter() - begin >= 0.05
    assert sleeper.waiting == 0


@pytest.mark.parametrize("predictions", ["masked", "all"])
def test_without_padding_all_is_useful(predictions: str) -> None:
    work = Work(config=CONFIG, batch_size=3, seq_len=20, padding=0.0, predictions=predictions)  # type: ignore[arg-type]
    found = throughput(work, work.batch(), 0.5)
    per_token = training_flops_per_token(
        CONFIG, seq_len=20, num_predictions={"masked": 3, "all": 20}[predictions]
    )
    assert found["model_gflops_per_second"] == pytest.approx(2 * 3 * 20 * per_token / 1e9)
    assert found["padded_gflops_per_second"] == pytest.approx(found["model_gflops_per_second"])


def test_throughput_counts_examples_tokens_and_real_tokens() -> None:
    work = Work(config=CONFIG, batch_size=4, seq_len=32, padding=0.3, examples_per_row=2)
    batch = work.batch()
    found = throughput(work, batch, 0.5)
    assert found["sequences_per_second"] == 16
    assert found["tokens_per_second"] == 256
    assert found["real_tokens_per_second"] == 2 * batch["lengths"].sum()
    assert found["model_gflops_per_second"] < 0.8 * found["padded_gflops_per_second"]


def test_a_step_is_compiled_once_and_timed() -> None:
    quick = dataclasses.replace(CONFIG, dropout=0.0, attention_dropout=0.0, num_layers=1)
    work = dataclasses.replace(WORK, config=quick)
    step = make_step(work, all_devices()[:1])
    backend = jax.extend.backend.get_backend()
    known = set(backend.live_executables())
    figures = time_steps(step, work, num_steps=4, warmup_seconds=0.0)
    size = step.program.get_compiled_memory_stats().argument_size_in_bytes
    new = set(backend.live_executables()) - known  # to count tokens and arithmetic
    assert all(one.get_compiled_memory_stats().argument_size_in_bytes < size / 100 for one in new)
    order = [figures[f"{name}step_ms"] for name in ("fastest_", "lower_", "", "upper_", "slowest_")]
    assert order == sorted(order)
    assert figures["compile_seconds"] > figures["step_ms"] / 1e3
    assert figures["first_step_seconds"] > figures["compile_seconds"]
    assert figures["mfu"] is None  # of a CPU
    # Parameters, their moments and gradients, at the least.
    parameters = sum(leaf.size for leaf in jax.tree.leaves(step._state.params))
    assert figures["peak_memory_bytes"] > 3.5 * 4 * parameters


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be split over 4 devices"):
        make_step(Work(config=CONFIG, batch_size=6, seq_len=16), all_devices())


def out_of_memory() -> Exception:
    """A real one."""
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.numpy.zeros((1 << 45,))
    return caught.value


def test_a_sweep_ends_when_memory_does() -> None:
    error = out_of_memory()

    def time_one(work: Work) -> dict:
        if work.batch_size > 30:
            raise error
        return {"real_tokens_per_second": float(work.batch_size)}

    open_ended = list(sweep(WORK, [], time_one))
    assert [row.batch_size for row in open_ended] == [8, 16, 32]
    assert open_ended[-1] == Row(32, None)
    listed = list(sweep(WORK, [64, 128, 4], time_one))
    assert [(row.batch_size, row.figures is None) for row in listed] == [(4, False), (64, True)]


def test_a_sweep_ends_when_it_gains_nothing() -> None:
    rates = {8: 10.0, 16: 20.0, 32: 20.1, 64: 80.0}

    def time_one(work: Work) -> dict:
        return {"real_tokens_per_second": rates[work.batch_size]}

    assert [row.batch_size for row in sweep(WORK, [], time_one)] == [8, 16, 32]
    assert len(list(sweep(WORK, list(rates), time_one))) == 4


def test_other_errors_are_no_lack_of_memory() -> None:
    def time_one(work: Work) -> dict:
        raise ValueError(work.batch_size)

    with pytest.raises(ValueError, match="8"):
        list(sweep(WORK, [], time_one))
    assert is_out_of_memory(out_of_memory())
    assert not is_out_of_memory(ValueError("wrong"))
