"""The training step on synthetic batches: how long it takes, and what that is of the peak."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.speed.synthetic import Predictions, synthetic_batch
from bert_jax.training.objectives import pretraining, real_shares
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    local_rows,
    make_notes,
    parallel_train_step,
    place,
    shard_batch,
)
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import init_state, make_train_step
from bert_jax.training.throughput import peak_flops, peak_memory

# A batch size is worth more memory if it is so much faster.
_GROWTH = 1.02
RATE = 1e-4  # of learning; any will do


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a step does.

    Attributes:
      config: the model.
      batch_size: B, over all devices.
      micro_batch_size: rows that a device takes at a time, 0 for all of its rows.

    The others are those of `synthetic_batch`.
    """

    config: BertConfig
    batch_size: int
    seq_len: int
    padding: float = 0.05
    examples_per_row: int = 1
    predictions: Predictions = "masked"
    micro_batch_size: int = 0

    def batch(self) -> dict[str, np.ndarray]:
        """The batch of every step."""
        return synthetic_batch(
            self.config,
            batch_size=self.batch_size,
            seq_len=self.seq_len,
            padding=self.padding,
            examples_per_row=self.examples_per_row,
            predictions=self.predictions,
        )


@runtime_checkable
class Step(Protocol):
    """A step that can be made again and again."""

    def dispatch(self) -> Any:
        """Begins the next step."""

    def wait(self, step: Any) -> None:
        """Returns when a step that `dispatch` began is over."""


class JaxStep:
    """Ours, compiled.

    Attributes:
      devices: all that take part.
      batch: of the first step, and of all that are given no other; as the host has it.
      first_step_seconds: of its first call, which compiles.
      program: the compiled one.
    """

    def __init__(
        self,
        model: BertForPreTraining,
        optimizer: optax.GradientTransformationExtraArgs,
        batch: Mapping[str, np.ndarray],
        devices: Sequence[jax.Device],
        *,
        parallelism: Parallelism,
    ):
        """Compiles it, and makes one step."""
        self.devices = devices
        init = jax.jit(partial(init_state, model, optimizer))
        self._state = place(init(stream_key(0, Stream.INIT)), devices, parallelism)
        step = make_train_step(
            pretraining(model),
            optimizer,
            lambda *_: RATE,
            micro_batch_size=parallelism.micro_batch_size,
        )
        self._step = parallel_train_step(step, devices, self._state, parallelism)
        self._notes = make_notes(devices)
        self._key = stream_key(0, Stream.DROPOUT)
        self.batch = dict(batch)
        backend = jax.extend.backend.get_backend()
        known = backend.live_executables()
        begin = time.perf_counter()
        self.wait(self.dispatch())
        self.first_step_seconds = time.perf_counter() - begin
        # Asked of the backend, for `pmap` would compile a second one to look at. Of the new ones
        # the step is that which takes the whole state.
        programs = [one for one in backend.live_executables() if one not in known]
        self.program = max(programs, key=_size_of_arguments)

    def dispatch(self, batch: Mapping[str, np.ndarray] | None = None) -> Any:
        """See `Step`; on another batch if it is given."""
        rows = shard_batch(self.batch if batch is None else dict(batch), self.devices)
        self._state, sums, _ = self._step(self._state, rows, self._notes, self._key)
        return sums

    def wait(self, step: Any) -> None:
        """See `Step`."""
        jax.block_until_ready(step)

    @property
    def peak_memory(self) -> int:
        """Bytes of one device: the most in use since the program began, or what is planned for.

        The latter on a CPU, which does not count.
        """
        counted = peak_memory(self.devices[0])
        if counted is None:
            plan = self.program.get_compiled_memory_stats()
            total = plan.argument_size_in_bytes + plan.output_size_in_bytes
            return total - plan.alias_size_in_bytes + plan.temp_size_in_bytes
        return counted


def make_step(work: Work, devices: Sequence[jax.Device]) -> JaxStep:
    """The step of synthetic work with the optimizer of BERT, over all devices or on one.

    Raises:
      UserError: the batch cannot be shared out evenly.
    """
    if len(devices) > 1:
        local_rows(work.batch_size, work.micro_batch_size)
    parallelism = Parallelism(micro_batch_size=work.micro_batch_size)
    model = BertForPreTraining(work.config)
    return JaxStep(model, make_optimizer(), work.batch(), devices, parallelism=parallelism)


def _size_of_arguments(program: Any) -> int:
    return program.get_compiled_memory_stats().argument_size_in_bytes


def step_seconds(step: Step, count: int) -> list[float]:
    """Seconds from the end of each step to that of the next.

    As in training, the next one is dispatched before the last one is over.
    """
    running = step.dispatch()
    step.wait(running)
    ends = [time.perf_counter()]
    running = step.dispatch()
    for number in range(count):
        last, running = running, step.dispatch() if number < count - 1 else None
        step.wait(last)
        ends.append(time.perf_counter())
    return list(np.diff(ends))


def warm_up(step: Step, seconds: float) -> None:
    """Makes steps for so long: a card that is limited in power slows down after a second."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        step.wait(step.dispatch())


def throughput(work: Work, batch: Mapping[str, np.ndarray], seconds: float) -> dict[str, float]:
    """What is made in a second by steps that take so long.

    Returns:
      `sequences_per_second`, `tokens_per_second` with padding and `real_tokens_per_second`;
      `model_gflops_per_second`, see `real_shares`, and `padded_gflops_per_second`, which counts
      every position as if it were real and looked at T others.
    """
    arrays = {name: jnp.asarray(array) for name, array in batch.items()}
    shares = jax.tree.map(float, real_shares(work.config, arrays))
    (real_tokens, tokens), (real_flops, flops) = shares["real_tokens"], shares["real_flops"]
    return {
        "sequences_per_second": np.count_nonzero(batch["lengths"]) / seconds,
        "tokens_per_second": tokens / seconds,
        "real_tokens_per_second": real_tokens / seconds,
        "model_gflops_per_second": real_flops / seconds / 1e9,
        "padded_gflops_per_second": flops / seconds / 1e9,
    }


def time_steps(step: JaxStep, work: Work, *, num_steps: int, warmup_seconds: float) -> dict:
    """Times the step in its steady state.

    Returns:
      `first_step_seconds`, and `compile_seconds` of it; `step_ms`, the median, with
      `fastest_step_ms`, `slowest_step_ms` and the quartiles `lower_step_ms`, `upper_step_ms`;
      `throughput` at the median; `mfu` and `padded_mfu` of the two
      GFLOP/s, None if the peak is not known; `peak_memory_bytes`.
    """
    warm_up(step, warmup_seconds)
    seconds = step_seconds(step, num_steps)
    median = statistics.median(seconds)
    lower, upper = np.quantile(seconds, [0.25, 0.75])
    figures = {
        "first_step_seconds": step.first_step_seconds,
        "compile_seconds": max(0.0, step.first_step_seconds - median),
        "step_ms": median * 1e3,
        "fastest_step_ms": min(seconds) * 1e3,
        "slowest_step_ms": max(seconds) * 1e3,
        "lower_step_ms": lower * 1e3,
        "upper_step_ms": upper * 1e3,
        **throughput(work, step.batch, median),
        "peak_memory_bytes": step.peak_memory,
    }
    peak = peak_flops(step.devices[0].device_kind, len(step.devices))
    for name, of in (("mfu", "model"), ("padded_mfu", "padded")):
        figures[name] = peak and figures[f"{of}_gflops_per_second"] * 1e9 / peak
    return figures


class Row(NamedTuple):
    """A batch size of a sweep; without figures where memory did not suffice."""

    batch_size: int
    figures: dict | None


def sweep(
    work: Work, batch_sizes: Sequence[int], time_one: Callable[[Work], dict]
) -> Iterator[Row]:
    """Times several batch sizes, the smallest first, until memory runs out.

    Args:
      work: the step, its batch size the first of an open sweep.
      batch_sizes: which; if there are none, they double until the throughput has stopped growing.
      time_one: times one.
    """
    best = 0.0
    for batch_size in sorted(batch_sizes) or (work.batch_size * 2**n for n in range(64)):
        gc.collect()  # what the last one left on the device
        try:
            figures = time_one(dataclasses.replace(work, batch_size=batch_size))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            yield Row(batch_size, None)
            return
        yield Row(batch_size, figures)
        rate = figures["real_tokens_per_second"]
        if not batch_sizes and rate < _GROWTH * best:
            return
        best = max(best, rate)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device had too little memory: JAX and torch have no error of their own for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "resource_exhausted" in text or "out of memory" in text
