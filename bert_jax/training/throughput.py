"""Tokens a second, and how near that is to what the hardware can do."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
from jaxtyping import PyTree

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


def peak_flops(device_kind: str, num_devices: int) -> float | None:
    """Peak FLOP/s of all devices together, or None if their kind is not in the table."""
    peaks = (peak for kind, peak in PEAK_FLOPS.items() if device_kind.startswith(kind))
    peak = next(peaks, None)
    return peak and peak * num_devices


class Pace:
    """How fast steps go, without compilation, evaluation and checkpoints.

    Also keeps the program at most one step ahead of the devices: a progress bar
    that counts dispatched steps would lie, and their inputs would pile up.
    """

    def __init__(
        self,
        *,
        tokens_per_step: int,
        flops_per_token: float,
        peak_flops: float | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts with the first step.

        Args:
          tokens_per_step: tokens of a batch, padding included.
          flops_per_token: see `training_flops_per_token`.
          peak_flops: of all devices together, None if unknown.
          clock: in seconds.
        """
        self._clock = clock
        self._tokens_per_step = tokens_per_step
        self._flops_per_token = flops_per_token
        self._peak_flops = peak_flops
        self._latest: PyTree = None
        self._since: float | None = None
        self._steps = 0

    def step(self, result: PyTree) -> None:
        """Counts a step that was just dispatched; `result` is any output of it."""
        if self._since is None:  # the first step compiles: wait for it and leave it out
            jax.block_until_ready(result)
            self._since = self._clock()
            return
        jax.block_until_ready(self._latest)
        self._latest = result
        self._steps += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time of what is done inside, with no step under way."""
        jax.block_until_ready(self._latest)
        begin = self._clock()
        yield
        if self._since is not None:
            self._since += self._clock() - begin

    def seconds_per_step(self) -> float:
        """Mean since the last report; waits for the latest step."""
        jax.block_until_ready(self._latest)
        return (self._clock() - (self._since or 0.0)) / max(self._steps, 1)

    def figures(self) -> dict[str, float]:
        """Tokens a second (padding included) and MFU since the last report; starts a new one.

        MFU is model FLOPs utilisation, the arithmetic of the model over the peak;
        it is left out where the peak is unknown.
        """
        if not self._steps:
            return {}
        tokens_per_second = self._tokens_per_step / self.seconds_per_step()
        self._since, self._steps = self._clock(), 0
        figures = {"tokens_per_second": tokens_per_second}
        if self._peak_flops:
            figures["mfu"] = tokens_per_second * self._flops_per_token / self._peak_flops
        return figures
