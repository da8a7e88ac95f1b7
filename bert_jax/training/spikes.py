"""Notices when the loss leaps up.

The noise is measured by the mean squared difference of successive losses (von
Neumann 1941), half of which is the variance. A variance about the mean would take
the falling loss of the first steps for noise, and also the rise of a spike that
takes some steps: of 30 rises by 1 nat within 10 steps, over noise of 0.13 nats, it
found 5, and this finds all.
"""

import math
from dataclasses import dataclass
from typing import Literal

# Share of the newest loss in the statistics, which so remember some hundred steps; before as many
# they are plain means. Rises that take longer are followed, not reported: the mean goes with them.
_NEWEST = 0.01
_STEPS_BEFORE = 100
# With these, 48 million steps of normal noise gave 2 false alarms; 5 sigma gave 42. The losses of
# configs/tiny.py stay within 2.6.
_SIGMAS = 6.0
# Nats; perplexity 11 % up. In large batches sigma is a hundredth, and 6 of them are no event.
_MARGIN = 0.1
# A loss that is high for so long is the new level. PaLM's spikes were passed by leaving out 200 to
# 500 batches (Chowdhery et al. 2022, section 5.1).
_LASTING = 500


@dataclass(frozen=True)
class Spike:
    """A change that is worth a line.

    Attributes:
      stage: "begins", "ends", or "stays" where the high loss is now the usual one.
      step: of the change.
      loss: of this step.
      mean: of the losses before the spike.
      sigma: their noise.
      began: the step at which it began.
    """

    stage: Literal["begins", "ends", "stays"]
    step: int
    loss: float
    mean: float
    sigma: float
    began: int

    def __str__(self) -> str:
        if self.stage == "begins":
            usual = f"{self.mean:.3f} ± {self.sigma:.3f}"
            return f"the loss leaps to {self.loss:.3f} at step {self.step:,}, from {usual}"
        what = "is over" if self.stage == "ends" else "stays; this is the new level"
        return (
            f"the leap of step {self.began:,} {what} (loss {self.loss:.3f} at step {self.step:,})"
        )


@dataclass
class SpikeMonitor:
    """Watches the losses of one phase, in order; another phase takes a new monitor.

    Its fields (`asdict`) are what a resumed run needs to report the same.

    Attributes:
      count: losses since the start or the last change of level.
      mean: of them, the newest weighing most.
      variance: of their noise.
      last: the newest of them.
      began: the step at which the spike began that is under way.
    """

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0
    last: float = 0.0
    began: int | None = None

    def observe(self, step: int, loss: float) -> Spike | None:
        """Takes the loss of a step, and says if a spike begins, ends, or has come to stay.

        Infinity and NaN are passed over: they are no spike but the end of a run, or
        an update that was skipped.
        """
        if not math.isfinite(loss):
            return None
        rise, threshold = loss - self.mean, max(_SIGMAS * math.sqrt(self.variance), _MARGIN)
        if self.began is None:
            if self.count < _STEPS_BEFORE or rise <= threshold:
                self._learn(loss)
                return None
            self.began = step
            return self._spike("begins", step, loss)
        # The statistics stand still meanwhile. Half of the threshold, or noise would end a spike
        # and begin it again.
        if rise <= threshold / 2:
            spike = self._spike("ends", step, loss)
            self.began = None
            self._learn(loss)
            return spike
        if step - self.began >= _LASTING:
            spike = self._spike("stays", step, loss)
            self.count, self.began = 0, None
            return spike
        return None

    def _learn(self, loss: float) -> None:
        self.count += 1
        self.mean += max(_NEWEST, 1 / self.count) * (loss - self.mean)
        if self.count > 1:
            newest = max(_NEWEST, 1 / (self.count - 1))
            self.variance += newest * ((loss - self.last) ** 2 / 2 - self.variance)
        self.last = loss

    def _spike(self, stage: Literal["begins", "ends", "stays"], step: int, loss: float) -> Spike:
        assert self.began is not None
        return Spike(stage, step, loss, self.mean, math.sqrt(self.variance), self.began)
