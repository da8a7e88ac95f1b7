"""Where a run's time goes: tokens a second, how near that is to the hardware's peak, goodput."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Literal, TypeVar, get_args

import jax
from jaxtyping import PyTree

from bert_jax.console import duration

# Dense bfloat16 peak of one JAX device, FLOP/s, from the vendors' data sheets (NVIDIA's SXM
# boards; a PCIe or NVL board reaches less). MFU is a share of it whatever the run computes in.
# A TPU v2 or v3 chip is two devices; later chips are one.
PEAK_FLOPS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
}

# Figures of a report that another run of the same steps does not repeat.
CLOCK_FIGURES = frozenset(
    {
        "tokens_per_second",
        "real_tokens_per_second",
        "mfu",
        "padded_mfu",
        "goodput",
        "input_wait",
        "input_stall",
        "peak_memory_bytes",
    }
)

# Every moment since the process began training belongs to one of these. Time in which the program
# waits for a batch while the devices are busy is of the steps. What is before the first step of a
# phase (restoring, preparing text, the first batch) is start-up.
Activity = Literal["start-up", "compile", "steps", "input", "evaluation", "checkpoint"]

Batch = TypeVar("Batch")


def peak_flops(device_kind: str, num_devices: int) -> float | None:
    """Peak FLOP/s of all devices together, or None if their kind is not in the table."""
    peaks = (peak for kind, peak in PEAK_FLOPS.items() if device_kind.startswith(kind))
    peak = next(peaks, None)
    return peak and peak * num_devices


def peak_memory(device: jax.Device) -> int | None:
    """The most bytes that were in use on a device at once, None where it does not count (CPU)."""
    return (device.memory_stats() or {}).get("peak_bytes_in_use")


class Pace:
    """Divides the wall time of a process among its activities; how fast steps go.

    Also keeps the program at most one step ahead of the devices: a progress bar
    that counts dispatched steps would lie, and their inputs would pile up.
    """

    def __init__(
        self,
        *,
        device: jax.Device,
        peak_flops: float | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts the clock: make it first of all; begin a phase, and say the shape of its steps.

        Args:
          device: whose memory is reported; the others hold the same.
          peak_flops: of all devices together, None if unknown.
          clock: in seconds.
        """
        self._device = device
        self._peak_flops = peak_flops
        self._clock = clock
        self._spent: dict[Activity, float] = dict.fromkeys(get_args(Activity), 0.0)
        self._activity: Activity = "start-up"
        self._mark = clock()
        self._latest: PyTree = None
        self._start_report()

    def begin_phase(self) -> None:
        """Other steps follow; what comes before the first of them is start-up."""
        jax.block_until_ready(self._latest)
        self._turn_to("start-up")
        self._latest = None

    def change_shape(self, tokens_per_step: int, flops_per_token: float, *, compiles: bool) -> None:
        """The next step is of this shape, and so are those after it until the next call.

        Args:
          tokens_per_step: tokens of a batch, padding included.
          flops_per_token: see `training_flops_per_token`.
          compiles: whether it is the first one of its shape.
        """
        if compiles:
            jax.block_until_ready(self._latest)
            self._turn_to("compile")
        self._tokens_per_step = tokens_per_step
        self._flops_per_token = flops_per_token

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, and notes how long they keep the program and the devices waiting."""
        while True:
            begin = self._clock()
            finish = _Finish(self._latest, self._clock)
            batch = next(batches, None)
            if batch is None:
                return
            if self._activity == "start-up":
                self._turn_to("compile")
            else:
                idle_since = finish.time  # read before the clock: no finish is later than `end`
                end = self._clock()
                self._waited += end - begin
                if idle_since is not None:
                    self._turn_to("input", since=idle_since)
                    self._turn_to("steps", since=end)
            yield batch

    def step(self, result: PyTree) -> None:
        """Counts a step that was just dispatched; `result` is any output of it, never donated."""
        if self._activity == "compile":
            jax.block_until_ready(result)
            self._turn_to("steps")
        else:
            jax.block_until_ready(self._latest)
            self._steps += 1
            self._tokens += self._tokens_per_step
            self._flops += self._tokens_per_step * self._flops_per_token
        self._latest = result

    @contextmanager
    def spent(self, activity: Activity) -> Iterator[None]:
        """What is done inside, with no step under way, is another activity than steps."""
        jax.block_until_ready(self._latest)
        before = self._activity
        self._turn_to(activity)
        try:
            yield
        finally:
            self._turn_to(before)

    @property
    def has_stepped(self) -> bool:
        """Whether a step was made since the last report that had not to be compiled."""
        return self._steps > 0

    def seconds_per_step(self) -> float:
        """Mean since the last report, with what the devices waited; waits for the latest step."""
        return self._stepping() / max(self._steps, 1)

    def figures(self) -> dict[str, float]:
        """What the clock says, since the last report if nothing else is said; starts a new one.

        `tokens_per_second` (padding included), and of the time of these steps, which
        leaves out compilation, evaluation and checkpoints: `input_wait`, the share in
        which the program waited for batches; `input_stall`, the share in which the
        devices did so. `padded_mfu` is model FLOPs utilisation as it is published, the
        arithmetic of the model over the peak with padding taken for real, left out where the
        peak is unknown. `goodput` is the share of
        steps in all the time of this process. `peak_memory_bytes` is of one device,
        left out where it does not count.
        """
        if not self._steps:
            return {}
        seconds = self._stepping()
        figures = {
            "tokens_per_second": self._tokens / seconds,
            "goodput": self._spent["steps"] / sum(self._spent.values()),
            "input_wait": self._waited / seconds,
            "input_stall": (self._spent["input"] - self._before["input"]) / seconds,
        }
        if self._peak_flops:
            figures["padded_mfu"] = self._flops / seconds / self._peak_flops
        if (memory := peak_memory(self._device)) is not None:
            figures["peak_memory_bytes"] = float(memory)
        self._start_report()
        return figures

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a table: the share of each activity that took time, and all of it."""
        self._turn_to(self._activity)
        total = sum(self._spent.values())
        rows = [(name, f"{spent / total:.1%}") for name, spent in self._spent.items() if spent]
        return [*rows, ("total", duration(total))]

    def _turn_to(self, activity: Activity, *, since: float | None = None) -> None:
        """What was done until now, or until `since`, is over."""
        now = self._clock() if since is None else since
        self._spent[self._activity] += now - self._mark
        self._activity, self._mark = activity, now

    def _stepping(self) -> float:
        """Seconds of steps and of waiting for input since the last report."""
        jax.block_until_ready(self._latest)
        self._turn_to(self._activity)
        return sum(self._spent[name] - self._before[name] for name in ("steps", "input"))

    def _start_report(self) -> None:
        self._before = dict(self._spent)
        self._waited = self._tokens = self._flops = 0.0
        self._steps = 0


class _Finish:
    """When the devices had done a step, noted while the program waits for something else."""

    def __init__(self, result: PyTree, clock: Callable[[], float]):
        self.time: float | None = None
        self._result = result
        self._clock = clock
        if all(leaf.is_ready() for leaf in jax.tree.leaves(result)):
            self.time = clock()
        else:
            Thread(target=self._note, name="finish of a step", daemon=True).start()

    def _note(self) -> None:
        with suppress(Exception):  # the loop meets it too, when it waits for the step
            jax.block_until_ready(self._result)
        self.time = self._clock()
