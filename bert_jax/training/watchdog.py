"""Ends a run that hangs, and shows where it hung.

A collective waits for ever for a host that died; nothing else would end such a run.
"""

import faulthandler
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread


class Watchdog:
    """A thread that wants to hear of progress, as a context.

    It needs the interpreter's lock, which every wait of JAX's releases.
    """

    def __init__(self, *, seconds: float, on_hang: Callable[[str], None]):
        """Begins to wait when it is entered.

        Args:
          seconds: longest time from one sign of life to the next.
          on_hang: called in the watching thread with a line that says what happened,
            which was printed by then; it must end the process, for the main thread
            may wait for ever in native code.
        """
        self._limit = seconds
        self._on_hang = on_hang
        self._last = "start"
        self._since = time.monotonic()
        self._stopped = False
        self._changed = Condition()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def beat(self, what: str) -> None:
        """A sign of life: `what` was done, such as "step 1234"."""
        with self._changed:
            self._last, self._since = what, time.monotonic()

    @contextmanager
    def allow(self, seconds: float, what: str) -> Iterator[None]:
        """Another limit for what is done inside, such as "evaluation"; its end is a sign of life.

        Args:
          seconds: the limit, also between the signs of life that are given inside.
          what: is done.
        """
        before = self._limit
        self._set_limit(seconds, f"begin of {what}")
        try:
            yield
        finally:
            self._set_limit(before, f"end of {what}")

    def _set_limit(self, seconds: float, what: str) -> None:
        with self._changed:
            self._limit, self._last, self._since = seconds, what, time.monotonic()
            self._changed.notify()  # the new limit may be the shorter one

    def _watch(self) -> None:
        with self._changed:
            while not self._stopped:
                left = self._since + self._limit - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            else:
                return
            message = (
                f"no progress for {self._limit:g} s, last: {self._last}; if it is slow and not "
                "stuck, raise --step-timeout"
            )
        print(f"{message}; stacks of all threads follow", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        self._on_hang(message)
