"""Which evaluation was the best, and whether it is time to give up waiting for a better one."""

import dataclasses
import math


@dataclasses.dataclass(kw_only=True)
class Best:
    """The best score so far; kept in checkpoints, as JSON.

    Attributes:
      step: where it was, None before the first evaluation.
      score: the larger the better.
      since: evaluations after it.
    """

    step: int | None = None
    score: float = 0.0
    since: int = 0

    def observe(self, step: int, score: float) -> bool:
        """Takes note of an evaluation; whether it is better than all before. NaN is not."""
        if not math.isnan(score) and (self.step is None or score > self.score):
            self.step, self.score, self.since = step, score, 0
            return True
        self.since += 1
        return False
