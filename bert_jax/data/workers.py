"""A function applied to many things by several processes, results in order."""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import Any, TypeVar

from bert_jax.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # things given to a process beside the one it works on


def map_in_order(
    make: Callable[[], Callable[[T], R]], things: Iterable[T], *, workers: int
) -> Iterator[tuple[T, R]]:
    """Yields each thing with what the function makes of it.

    Args:
      make: makes the function, once in each process; picklable.
      things: picklable; taken in this process, a few ahead.
      workers: processes beside this one, which deals out and collects; with 1 it does
        everything itself. What is yielded does not depend on it.

    Raises:
      UserError: a process died; and whatever the function raises.
    """
    if workers == 1:
        function = make()
        for thing in things:
            yield thing, function(thing)
        return
    pending: deque[tuple[T, Future[R]]] = deque()
    with closing(_Pool(make, workers)) as pool:
        for thing in things:
            pending.append((thing, pool.submit(thing)))
            while pending and (pending[0][1].done() or len(pending) > workers * (1 + _AHEAD)):
                first, future = pending.popleft()
                yield first, pool.result(future)
        for first, future in pending:
            yield first, pool.result(future)


class _Pool:
    """Other processes, which end with this one."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], size: int):
        # Spawned, not forked: JAX and TensorFlow have threads that a fork would cut off.
        context = get_context("spawn")
        self._pool = ProcessPoolExecutor(size, context, _begin, (make,))

    def submit(self, thing: Any) -> Future:
        """Submits, which may start a process: one that does not import the command's main module.

        They need nothing of it, and a command's is all of JAX.
        """
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return self._pool.submit(_apply, thing)
        finally:
            sys.modules["__main__"] = main

    def result(self, future: Future[R]) -> R:
        """Waits for a result."""
        try:
            return future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process died, perhaps for want of memory; run the same command again "
                "with fewer --workers, it goes on from there"
            ) from None

    def close(self) -> None:
        """Ends the processes after what they do now."""
        self._pool.shutdown(cancel_futures=True)


_function: Callable[[Any], Any]  # of a worker process


def _begin(make: Callable[[], Callable[[Any], Any]]) -> None:
    """Sets up a worker process."""
    global _function  # noqa: PLW0603  # the only way from an initializer to the calls
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other cores have processes of their own
    _function = make()


def _apply(thing: Any) -> Any:
    return _function(thing)


def _die_with_parent() -> None:
    """A parent that was killed cannot stop its workers; they would wait for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
