"""Being told to stop: Ctrl-C, and SIGTERM from a cluster that takes its machine back."""

import os
import signal
import sys
from types import FrameType

from bert_jax.errors import INTERRUPTED, Terminated


class Stopping:
    """Signals, as a context: while steps are made they wait for the step's end and a save.

    Before that they raise, and a second Ctrl-C ends the process at once. A second SIGTERM
    changes nothing: clusters send it to process groups and to parents that pass it on.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.deferred = False

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> "Stopping":
        self._before = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            print("interrupted twice; what was saved before is whole", file=sys.stderr)
            os._exit(INTERRUPTED)
        first = self.signal is None
        # Remembered also when raising: an exception inside one of JAX's callbacks is lost.
        self.signal = number
        if self.deferred:
            return
        if number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        if first:
            raise Terminated("terminated; the same command goes on from there")

    def explain(self, where: str) -> KeyboardInterrupt:
        """What to raise when all is saved, such as `where` "and saved at step 7"."""
        text = f"{where}; the same command goes on from there"
        if self.signal == signal.SIGINT:
            return KeyboardInterrupt(f"interrupted {text}")
        return Terminated(f"terminated {text}")
