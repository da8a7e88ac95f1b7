"""Several processes at one job: results in order, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bert_jax.data.workers import map_in_order
from bert_jax.errors import UserError


def slowly(seconds: float) -> Callable[[int], tuple[int, int]]:
    """Squares, the small ones later than the large ones, and says who did it."""

    def square(number: int) -> tuple[int, int]:
        time.sleep(seconds * (number % 3 == 0))
        return number * number, os.getpid()

    return square


def failing_at(number: int) -> Callable[[int], int]:
    def same(thing: int) -> int:
        if thing == number:
            raise UserError("not this one")
        return thing

    return same


def dying() -> Callable[[int], None]:
    """Ends its process."""
    return lambda _: os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order(workers: int) -> None:
    found = list(map_in_order(partial(slowly, 0.01), range(100), workers=workers))
    assert [(thing, result[0]) for thing, result in found] == [(n, n * n) for n in range(100)]
    processes = {result[1] for _, result in found}
    assert len(processes) <= workers
    assert (os.getpid() in processes) == (workers == 1)


def test_things_are_taken_a_few_at_a_time() -> None:
    taken = 0

    def things() -> Iterator[int]:
        nonlocal taken
        while taken < 200:
            taken += 1
            yield taken

    for number, (_, _) in enumerate(map_in_order(partial(slowly, 0.0), things(), workers=3), 1):
        assert taken - number <= 20


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_here(workers: int) -> None:
    with pytest.raises(UserError, match="not this one"):
        list(map_in_order(partial(failing_at, 30), range(60), workers=workers))


def test_a_process_that_dies_is_told_of() -> None:
    with pytest.raises(UserError, match=r"a worker process died.* fewer --workers"):
        list(map_in_order(dying, range(100), workers=2))


def test_processes_end_with_a_parent_that_was_killed() -> None:
    program = (
        "from functools import partial; from bert_jax.data.workers import map_in_order; "
        "from tests.data.test_workers import slowly; "
        "[print(*result, flush=True) for _, result in "
        "map_in_order(partial(slowly, 0.05), range(10**6), workers=2)]"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        others = (int(line.split()[1]) for line in parent.stdout)
        child = next(number for number in others if number != parent.pid)
        parent.kill()
    for _ in range(100):
        if not is_alive(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by ten seconds")


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
