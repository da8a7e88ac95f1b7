"""Finding and meeting the other processes; what needs a real run is in tests/e2e."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bert_jax.errors import Terminated, UserError
from bert_jax.training.processes import Processes
from bert_jax.training.rendezvous import Place, find_place, meet
from bert_jax.training.stopping import Stopping

SLURM = {
    "SLURM_JOB_ID": "4321",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def test_a_process_alone_has_no_place() -> None:
    assert find_place({}, timeout=1.0) is None
    assert find_place({"SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "1"}, timeout=1.0) is None


def test_variables_say_the_place_and_go_before_slurms() -> None:
    variables = {
        "JAX_COORDINATOR_ADDRESS": "host:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }
    assert find_place(SLURM | variables, timeout=1.0) == Place("host:1234", 4, 3)
    more = variables | {"JAX_LOCAL_DEVICE_IDS": "0,2"}
    assert find_place(more, timeout=1.0) == Place("host:1234", 4, 3, [0, 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JAX_PROCESS_ID": None}, "is set, but JAX_PROCESS_ID is not"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID is '4' and JAX_NUM_PROCESSES '4'; "),
        ({"JAX_PROCESS_ID": "x"}, "counted from 0"),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "must be HOST:PORT"),
    ],
)
def test_wrong_variables_are_named(changes: dict, message: str) -> None:
    variables = {
        "JAX_COORDINATOR_ADDRESS": "host:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
    }
    given = {name: text for name, text in (variables | changes).items() if text is not None}
    with pytest.raises(UserError, match=re.escape(message)):
        find_place(given, timeout=1.0)


@pytest.mark.parametrize(
    ("changes", "host", "ids"),
    [
        ({}, "gpu07", [1]),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, "gpu07", [1]),
        ({"CUDA_VISIBLE_DEVICES": "2"}, "gpu07", None),  # Slurm gave each task its own
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x8)"}, "gpu07", None),  # all devices of the node
        ({"SLURM_STEP_NODELIST": "a1,b[2-3]"}, "a1", [1]),
        ({"SLURM_STEP_NODELIST": "rack-2-n[3,5]"}, "rack-2-n3", [1]),
        ({"SLURM_STEP_NODELIST": "login"}, "login", [1]),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1"}, "gpu07", [1]),
    ],
)
def test_slurm_says_the_place(changes: dict, host: str, ids: list[int] | None) -> None:
    assert find_place(SLURM | changes, timeout=1.0) == Place(f"{host}:61321", 8, 5, ids)


def outcomes(places: list[Place], *, timeout: float, late: float = 0.0) -> dict[int, str]:
    """What `meet` says in each, in threads, the first place coming `late`."""
    said: dict[int, str] = {}

    def one(number: int, place: Place) -> None:
        if number == 0:
            time.sleep(late)
        try:
            meet(place, timeout=timeout)
            said[number] = "met"
        except UserError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return said


def test_processes_meet_whoever_comes_first() -> None:
    address = f"localhost:{free_port()}"
    places = [Place(address, 3, number) for number in range(3)]
    assert set(outcomes(places, timeout=20.0, late=1.0).values()) == {"met"}


def test_all_hear_who_did_not_come() -> None:
    address = f"localhost:{free_port()}"
    places = [Place(address, 4, number) for number in (0, 2)]
    said = outcomes(places, timeout=2.0)
    expected = "of 4 processes, processes 1, 3 did not come within 2 s; is every one started"
    assert all(text.startswith(expected) for text in said.values()), said
    assert len(said) == 2


def test_no_coordinator_is_said_in_time() -> None:
    begin = time.monotonic()
    with pytest.raises(UserError, match=r"process 1 of 2: no coordinator at localhost:\d+ within"):
        meet(Place(f"localhost:{free_port()}", 2, 1), timeout=1.0)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((3, 1), "process 1 expects 3 processes, process 0 2"),
        ((2, 0), "cannot be listened on"),
    ],
)
def test_processes_that_contradict_are_refused(other: tuple[int, int], message: str) -> None:
    address = f"localhost:{free_port()}"
    said = outcomes([Place(address, 2, 0), Place(address, *other)], timeout=2.0)
    assert any(message in text for text in said.values()), said


def test_strangers_at_the_port_do_not_matter() -> None:
    port = free_port()

    def knock() -> None:
        for words in (b"GET / HTTP/1.0\n\n", b"[1]\n", b""):
            time.sleep(0.1)
            with suppress(OSError), socket.create_connection(("localhost", port)) as line:
                line.sendall(words)

    stranger = threading.Thread(target=knock)
    stranger.start()
    places = [Place(f"localhost:{port}", 2, number) for number in range(2)]
    assert set(outcomes(places, timeout=20.0).values()) == {"met"}
    stranger.join()


def test_one_alone_agrees_with_itself() -> None:
    alone = Processes()
    with alone.first_goes_first("anything"):
        pass
    alone.compare("config", {"a": 1}, lambda *_: ["never asked"])
    alone.gather("here")
    alone.check_shared(Path("/nowhere"))
    alone.tell(1, "to nobody")
    assert alone.is_first


def raised_by(number: int, *, deferred: bool) -> BaseException | None:
    with Stopping() as stopping:
        stopping.deferred = deferred
        try:
            os.kill(os.getpid(), number)
            time.sleep(0.1)
        except BaseException as error:
            assert stopping.requested
            return error
        assert stopping.requested
        assert str(stopping.explain("and saved at step 1,234")).endswith(
            "saved at step 1,234; the same command goes on from there"
        )
    return None


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_signals_raise_before_the_first_step_and_wait_after(number: int, kind: type) -> None:
    before = signal.getsignal(number)
    assert type(raised_by(number, deferred=False)) is kind
    assert raised_by(number, deferred=True) is None
    assert signal.getsignal(number) is before


def status_after(*numbers: int) -> int:
    """Of a program that gets these signals while it makes steps."""
    send = "".join(f"os.kill(os.getpid(), {number:d}); time.sleep(0.05)\n  " for number in numbers)
    program = (
        "import os, time\nfrom bert_jax.training.stopping import Stopping\n"
        f"with Stopping() as stopping:\n  stopping.deferred = True\n  {send}os._exit(7)"
    )
    return subprocess.run([sys.executable, "-c", program], check=False).returncode


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not() -> None:
    assert status_after(signal.SIGINT) == 7
    assert status_after(signal.SIGINT, signal.SIGINT) == 130
    assert status_after(signal.SIGTERM, signal.SIGTERM) == 7
