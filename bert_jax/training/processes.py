"""The processes of a run: how they find one another, agree, wait, and end together.

Only several processes have a coordinator, which is JAX's, in the first of them. It
keeps a few words for all; what is too important to hang goes through these: waiting
for the first process, comparing configs, and telling the others why one has ended.
"""

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax

from bert_jax.errors import MachineError, Terminated, UserError
from bert_jax.training.stopping import INTERRUPTED

_TPU_POD = "BERT_JAX_TPU_POD"
_JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")

# JAX ends a process that was not heard of for so long. It must be longer than a machine may be
# too busy to answer, and a run cannot go on before.
HEARTBEAT_SECONDS = 45
_POLL_SECONDS = 0.5
_FAREWELL_SECONDS = 10  # for the others to read why this process ends
_SHUTDOWN_SECONDS = 600  # for the first process to show what came of it; the others wait
_DAY_SECONDS = 86_400  # for the first process to prepare a corpus

_FAILED = "bert_jax/failed/"
_HEARD = "bert_jax/heard/"
# What the libraries below say in a step when another process is gone.
_LOST = ("gloo", "nccl", "connection", "socket", "heartbeat", "coordination", "unavailable")


class Place(NamedTuple):
    """Where a process stands among those of its run.

    Attributes:
      address: host:port of the coordinator, in process 0.
      num_processes: of the run.
      number: of this one, from 0.
      local_device_ids: which of the machine's devices are its own, None for all.
    """

    address: str
    num_processes: int
    number: int
    local_device_ids: list[int] | None = None


def find_place(environment: Mapping[str, str], *, timeout: float) -> Place | None:
    """What the environment says; None for a process that is alone.

    Args:
      environment: variables. `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and
        `JAX_PROCESS_ID` go first, then those of a Slurm step of several tasks;
        `BERT_JAX_TPU_POD=1` asks the metadata of the TPU.
      timeout: seconds for the metadata.

    Raises:
      UserError: some of the variables are missing or make no sense.
    """
    if any(name in environment for name in _JAX_VARIABLES):
        return _place_by_variables(environment)
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _place_in_slurm(environment)
    if environment.get(_TPU_POD, "0") != "0":
        from jax._src.clusters import ClusterEnv  # nothing public tells the place alone

        address, count, number, ids = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(timeout)
        )
        if address is None or count is None or number is None:
            raise UserError(f"{_TPU_POD} is set, but this is no host of a TPU; unset it")
        return Place(address, count, number, list(ids) if ids else None)
    return None


def _place_by_variables(environment: Mapping[str, str]) -> Place:
    if missing := [name for name in _JAX_VARIABLES if not environment.get(name)]:
        given = [name for name in _JAX_VARIABLES if environment.get(name)]
        raise UserError(f"{' and '.join(given)} is set, but {' and '.join(missing)} is not")
    address, count, index = (environment[name] for name in _JAX_VARIABLES)
    if not re.fullmatch(r".+:\d+", address):
        raise UserError(f"JAX_COORDINATOR_ADDRESS is {address!r}; it must be HOST:PORT")
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise UserError(
            f"JAX_PROCESS_ID is {index!r} and JAX_NUM_PROCESSES {count!r}; "
            "processes are counted from 0"
        )
    ids = environment.get("JAX_LOCAL_DEVICE_IDS", "")
    return Place(address, int(count), int(index), list(map(int, ids.split(","))) if ids else None)


def _place_in_slurm(environment: Mapping[str, str]) -> Place:
    # node1,node2 or node[01-03,07]: the first is where task 0 runs.
    nodes = environment["SLURM_STEP_NODELIST"]
    first = re.match(r"([^,\[]+)(?:\[([^],-]+))?", nodes)
    if first is None:
        raise UserError(f"SLURM_STEP_NODELIST is {nodes!r}; a list of nodes is wanted")
    host = first[1] + (first[2] or "")
    # Jobs that share a node must not share a port; Linux gives those above 60999 to nobody.
    port = 61_000 + int(environment["SLURM_JOB_ID"]) % 4_000
    tasks_here = int(environment.get("SLURM_STEP_TASKS_PER_NODE", "1").partition("(")[0])
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    shares = tasks_here > 1 and (visible is None or "," in visible)
    return Place(
        f"{host}:{port}",
        int(environment["SLURM_STEP_NUM_TASKS"]),
        int(environment["SLURM_PROCID"]),
        [int(environment["SLURM_LOCALID"])] if shares else None,
    )


def meet(place: Place, *, timeout: float) -> None:
    """Returns in all processes when all are there.

    JAX's own rendezvous ends a process without a word to it when others do not
    come, so they meet before, on the port that it will use.

    Raises:
      UserError: some did not come within `timeout` seconds, in every process that did.
    """
    if place.number == 0:
        _receive(place, timeout)
    else:
        _call(place, timeout)


def _receive(place: Place, timeout: float) -> None:
    """Process 0's part: waits for the others, then tells them how it came out."""
    end = time.monotonic() + timeout
    arrived: dict[int, socket.socket] = {}
    complaint = ""
    with _listening(int(place.address.rpartition(":")[2])) as server:
        while len(arrived) < place.num_processes - 1 and not complaint:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                caller, _ = server.accept()
                caller.settimeout(5)
                index, count = map(int, json.loads(caller.makefile().readline()))
            except TimeoutError:
                if time.monotonic() < end:
                    continue  # a caller that says nothing is no process of ours
                absent = sorted(set(range(1, place.num_processes)).difference(arrived))
                complaint = (
                    f"of {place.num_processes} processes, {_listed(absent)} did not come within "
                    f"{timeout:.0f} s; is every one started, and can it reach {place.address}?"
                )
                break
            except (ValueError, TypeError, OSError):
                continue
            if count != place.num_processes:
                complaint = (
                    f"process {index} expects {count} processes, process 0 {place.num_processes}"
                )
            elif index in arrived or index == 0:
                complaint = f"two processes say that they are process {index}"
            arrived[index] = caller
        for caller in arrived.values():
            with suppress(OSError), caller:
                caller.sendall(json.dumps(complaint).encode() + b"\n")
    if complaint:
        raise UserError(complaint)


def _listening(port: int) -> socket.socket:
    """A server on all addresses of this machine."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
            )
        return socket.create_server(("", port), backlog=4096)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be listened on ({error.strerror}); another run may use it, "
            "choose another in JAX_COORDINATOR_ADDRESS"
        ) from None


def _call(place: Place, timeout: float) -> None:
    """What the others do: call until process 0 answers."""
    end = time.monotonic() + timeout
    host, _, port = place.address.rpartition(":")
    while (remaining := end - time.monotonic()) > 0:
        try:
            address = (host.strip("[]"), int(port))
            with socket.create_connection(address, timeout=min(5, remaining)) as line:
                line.sendall(json.dumps([place.number, place.num_processes]).encode() + b"\n")
                # Process 0 answers when its own time is over, and it may have begun later.
                line.settimeout(timeout + 5)
                if answer := line.makefile().readline():
                    if complaint := json.loads(answer):
                        raise UserError(complaint)
                    return
        except (OSError, ValueError):
            pass  # not there yet, or the port was another program's
        time.sleep(0.2)
    raise UserError(
        f"process {place.number} of {place.num_processes}: no coordinator at {place.address} "
        f"within {timeout:.0f} s; is process 0 started, is the address its own, the port open?"
    )


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
    return f"process{'es' if len(numbers) > 1 else ''} {shown}"


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
            self._words.blocking_key_value_get(f"bert_jax/done/{what}", _DAY_SECONDS * 1000)
        yield
        if self.is_first and self._words:
            self._words.key_value_set(f"bert_jax/done/{what}", "yes")

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
        theirs = json.loads(self._words.blocking_key_value_get(name, _DAY_SECONDS * 1000))
        if differences := differ(theirs, json.loads(json.dumps(facts))):
            raise UserError(
                f"process {self.index} has another {what} than process 0 "
                f"({'; '.join(differences[:4])}); start all with the same"
            )
        self._words.wait_at_barrier(f"{name}/compared", _DAY_SECONDS * 1000)

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
            except Exception:  # the first process is gone; the next step will say so
                return
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
        status, text = _reason(error)
        if status == 1:
            time.sleep(2 * _POLL_SECONDS)  # perhaps the echo of another's end, which it tells
        stopped.set()
        processes.tell(status, text)
        if status == 1 and any(word in text.lower() for word in _LOST):
            raise MachineError(
                f"process {place.number}: another process of the run is gone "
                f"({text[:200]}); start all again, they go on from the last checkpoint"
            ) from error
        raise
    stopped.set()
    listener.join()
    jax.distributed.shutdown()


def _reason(error: BaseException) -> tuple[int, str]:
    """Exit status and text for the others."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UserError):
        return 2, text
    if isinstance(error, Terminated):
        return 0, text
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, text
    return 1, text
