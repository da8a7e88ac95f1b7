"""The processes of a run: how they agree, wait, and end together.

Only several processes have a coordinator, which is JAX's, in the first of them. It
keeps a few words for all; what is too important to hang goes through these: waiting
for the first process, comparing configs, and telling the others why one has ended.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from bert_jax.errors import MachineError, UserError, explain
from bert_jax.training.rendezvous import find_place, meet

# JAX ends a process that was not heard of for so long. It must be longer than a machine may be
# too busy to answer, and a run cannot go on before.
HEARTBEAT_SECONDS = 45
_POLL_SECONDS = 0.5
_FAREWELL_SECONDS = 10  # for the others to read why this process ends
_SHUTDOWN_SECONDS = 60
_SHARED_SECONDS = 90  # for a new file to be seen by all; NFS looks again after 60 at most

_FAILED = "bert_jax/failed/"
_HEARD = "bert_jax/heard/"
# What the libraries below say in a step when another process is gone.
_LOST = ("gloo", "nccl", "connection", "socket", "heartbeat", "coordination", "unavailable")


class Processes:
    """The processes of a run, seen from one of them."""

    def __init__(self, *, count: int = 1, index: int = 0, words: Any = None):
        """One alone, unless the others and their coordinator's `words` are given."""
        self.count = count
        self.index = index
        self._words = words

    @property
    def is_first(self) -> bool:
        """Whether this one prints, writes and prepares for all."""
        return self.index == 0

    @contextmanager
    def first_goes_first(self, what: str) -> Iterator[None]:
        """The others begin this when the first process is through, and find it done."""
        if not self.is_first:
            self._wait_for(f"bert_jax/done/{what}")
        yield
        if self.is_first and self._words:
            self._words.key_value_set(f"bert_jax/done/{what}", "yes")

    def gather(self, what: str) -> None:
        """Returns when all processes have come to this point, which has a name of its own."""
        if self._words is None:
            return
        here = f"bert_jax/here/{what}/"
        self._words.key_value_set(f"{here}{self.index}", "yes")
        with self.first_goes_first(f"gathering/{what}"):
            while self.is_first and len(self._words.key_value_dir_get(here)) < self.count:
                time.sleep(_POLL_SECONDS / 5)

    def compare(self, what: str, facts: Any, differ: Callable[[Any, Any], list[str]]) -> None:
        """Checks that all processes have the same, which JSON can hold.

        Args:
          what: a name, used once.
          facts: of this process.
          differ: given the first process's facts and these, says what differs.

        Raises:
          UserError: they differ; in the process that differs, which tells the others.
        """
        if self._words is None:
            return
        name = f"bert_jax/{what}"
        if self.is_first:
            self._words.key_value_set(name, json.dumps(facts))
        theirs = json.loads(self._wait_for(name))
        if differences := differ(theirs, json.loads(json.dumps(facts))):
            raise UserError(
                f"process {self.index} has another {what} than process 0 "
                f"({'; '.join(differences[:4])}); start all with the same"
            )
        self.gather(f"compared {what}")

    def of_first(self, what: str, value: float) -> float:
        """The first process's value of something that has a name of its own."""
        if self._words is None:
            return value
        name = f"bert_jax/value/{what}"
        if self.is_first:
            self._words.key_value_set(name, json.dumps(value))
        found: float = json.loads(self._wait_for(name))
        return found

    def check_shared(self, folder: Path) -> None:
        """Checks that all processes see the same folder, which the first has made.

        Raises:
          UserError: one sees another.
        """
        if self._words is None:
            return
        token = folder / f"token.{os.getpid()}" if self.is_first else None
        if token:
            token.touch()
            self._words.key_value_set("bert_jax/token", token.name)
        name = self._wait_for("bert_jax/token")
        end = time.monotonic() + _SHARED_SECONDS
        while not (folder / name).exists():
            if time.monotonic() > end:
                raise UserError(
                    f"process {self.index} does not see in --workdir {folder} what process 0 "
                    "wrote there; name a folder that all processes share"
                )
            time.sleep(_POLL_SECONDS)
            with suppress(FileNotFoundError):
                list(folder.iterdir())  # makes network file systems look again
        self.gather("folder")
        if token:
            token.unlink()

    def _wait_for(self, key: str) -> str:
        """What another process says, whenever that is; a signal is heard meanwhile."""
        pause = _POLL_SECONDS / 20
        while True:
            try:
                return self._words.key_value_try_get(key)
            except jax.errors.JaxRuntimeError as error:
                if "NOT_FOUND" not in str(error):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS)  # there may be thousands who ask

    def tell(self, status: int, text: str) -> None:
        """Tells the others that this process ends, and waits until they have heard it."""
        if self._words is None:
            return
        with suppress(Exception):  # they may be gone themselves
            told = json.dumps([status, text])
            self._words.key_value_set(f"{_FAILED}{self.index}", told)
            if not self.is_first:
                self._wait_for_others(_HEARD, _FAILED)
            self._go()

    def _go(self) -> None:
        """Comes before the end: the first process is the last, for JAX aborts who loses it."""
        self._words.key_value_set(f"{_HEARD}{self.index}", "yes")
        if self.is_first:
            self._wait_for_others(_HEARD)
            time.sleep(_POLL_SECONDS)  # for their exit

    def _wait_for_others(self, *signs: str) -> None:
        """Returns when every other process has given one of these signs, or time is over."""
        end = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < end:
            keys = [key for sign in signs for key, _ in self._words.key_value_dir_get(sign)]
            others = {key.rpartition("/")[2] for key in keys} - {str(self.index)}
            if len(others) == self.count - 1:
                return
            time.sleep(_POLL_SECONDS / 5)

    def abandon(self, text: str) -> None:
        """Ends this process, whose main thread may be stuck, and the others."""
        self.tell(1, text)
        os._exit(1)

    def _listen(self, stopped: threading.Event) -> None:
        """Ends this process when another one has told why it ends."""
        while not stopped.wait(_POLL_SECONDS):
            try:
                told = self._words.key_value_dir_get(_FAILED)
            except Exception:  # perhaps the first process is gone; the next step will say so
                continue
            others = [(key, text) for key, text in told if not key.endswith(f"/{self.index}")]
            if others and not stopped.is_set():
                key, text = others[0]
                status, reason = json.loads(text)
                line = f"process {self.index} ends, for process {key.rpartition('/')[2]} did: "
                print(f"{line}{reason}", file=sys.stderr, flush=True)
                with suppress(Exception):
                    self._go()
                # The main thread may wait for the other one in native code.
                os._exit(status)


ALONE = Processes()


@contextmanager
def joined(*, timeout: float) -> Iterator[Processes]:
    """Joins the processes of this run, if there are others, and leaves with them.

    Call it before anything touches a device. When one process fails, all end: with
    its status and its reason.

    Args:
      timeout: seconds to wait for the others to start.

    Raises:
      UserError: others did not come.
      MachineError: another process was lost on the way.
    """
    place = find_place(os.environ, timeout=timeout)
    if place is None or place.num_processes == 1:
        yield ALONE
        return
    meet(place, timeout=timeout)
    # Signals are handled by the program, which lets all processes agree on a step to stop at.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        *place,
        cluster_detection_method="deactivate",
        initialization_timeout=max(1, int(timeout)),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
    )
    from jax._src.distributed import global_state  # the words have no public name

    processes = Processes(count=place.num_processes, index=place.number, words=global_state.client)
    stopped = threading.Event()
    listener = threading.Thread(target=processes._listen, args=(stopped,), daemon=True)
    listener.start()
    try:
        yield processes
    except BaseException as error:
        status, text = explain(error)
        if status == 1:
            time.sleep(2 * _POLL_SECONDS)  # perhaps the echo of another's end, which it tells
        stopped.set()
        processes.tell(status, text)
        is_lost = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in text
        if is_lost and any(word in text.lower() for word in _LOST):
            raise MachineError(
                f"process {place.number}: another process of the run is gone "
                f"({text[:200]}); start all again, they go on from the last checkpoint"
            ) from error
        raise
    processes.gather("end")  # the first one has more to do, and may fail in it
    stopped.set()
    listener.join()
    jax.distributed.shutdown()
