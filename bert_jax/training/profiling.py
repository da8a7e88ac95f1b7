"""A trace of a few steps: what the devices and the program did, microsecond by microsecond."""

from pathlib import Path

import jax
from jaxtyping import PyTree

# The first step compiles, and the next ones still fill queues and caches.
_SKIPPED = 1 + 5


class Profile:
    """Traces some steps of this process into `profile/` of the run folder."""

    def __init__(self, folder: Path, *, steps: int):
        """Begins after the first few steps.

        Args:
          folder: the run's.
          steps: how many to trace; 0 for none.
        """
        self.folder = folder / "profile"
        self._first = _SKIPPED + 1
        self._last = _SKIPPED + steps
        self._steps = 0
        self._tracing = False

    def before(self) -> None:
        """A step is about to be dispatched."""
        self._steps += 1
        if self._first <= self._steps <= self._last and not self._tracing:
            jax.profiler.start_trace(self.folder)
            self._tracing = True
        if self._tracing:  # by this mark the viewers tell the steps apart
            self._mark = jax.profiler.StepTraceAnnotation("train", step_num=self._steps)
            self._mark.__enter__()

    def after(self, result: PyTree) -> str | None:
        """A step was dispatched, `result` is any output of it; says where the trace is, once."""
        if not self._tracing:
            return None
        self._mark.__exit__(None, None, None)
        if self._steps < self._last:
            return None
        jax.block_until_ready(result)
        self.close()
        return (
            f"trace of {self._last - self._first + 1} steps in {self.folder}: open its "
            "*.trace.json.gz at https://ui.perfetto.dev, or `pip install xprof` and "
            f"`xprof --logdir {self.folder}`"
        )

    def close(self) -> None:
        """Writes what was traced if the run ends before the steps do."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
