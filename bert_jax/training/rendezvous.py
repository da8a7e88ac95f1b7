"""How the processes of a run find one another and meet."""

import json
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from bert_jax.errors import UserError

_TPU_POD = "BERT_JAX_TPU_POD"
_JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


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
    nodes = environment.get("SLURM_STEP_NODELIST", "")
    first = re.match(r"([^,\[]+)(?:\[([^],-]+))?", nodes)
    if first is None:
        raise UserError(f"SLURM_STEP_NODELIST is {nodes!r}; a list of nodes is wanted")
    host = first[1] + (first[2] or "")
    # Jobs that share a node must not share a port; Linux gives those above 60999 to nobody.
    port = 61_000 + int(environment["SLURM_JOB_ID"]) % 4_000
    tasks_here = int(re.split(r"\D", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))[0])
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
            except TimeoutError:
                absent = sorted(set(range(1, place.num_processes)).difference(arrived))
                complaint = (
                    f"of {place.num_processes} processes, {_listed(absent)} did not come within "
                    f"{timeout:.0f} s; is every one started, and can it reach {place.address}?"
                )
                break
            try:
                caller.settimeout(5)
                with caller.makefile() as words:
                    index, count = map(int, json.loads(words.readline()))
            except (ValueError, TypeError, OSError):  # no process of ours
                caller.close()
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
        # It is not there yet, or the port was another program's.
        with suppress(OSError, ValueError):
            address = (host.strip("[]"), int(port))
            with socket.create_connection(address, timeout=min(5, remaining)) as line:
                line.sendall(json.dumps([place.number, place.num_processes]).encode() + b"\n")
                # Process 0 answers when its own time is over, and it may have begun later.
                line.settimeout(timeout + 5)
                if answer := line.makefile().readline():
                    if complaint := json.loads(answer):
                        raise UserError(complaint)
                    return
        time.sleep(0.2)
    raise UserError(
        f"process {place.number} of {place.num_processes}: no coordinator at {place.address} "
        f"within {timeout:.0f} s; is process 0 started, is the address its own, the port open?"
    )


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")
    return f"process{'es' if len(numbers) > 1 else ''} {shown}"
