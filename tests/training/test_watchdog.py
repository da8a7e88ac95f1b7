"""Programs that hang do so in a process of their own, for what ends them is real."""

import subprocess
import sys
import threading
import time

import pytest

from bert_jax.training.watchdog import Watchdog

_PROGRAM = """
import os, sys, threading, time
from bert_jax.training.watchdog import Watchdog

def waits_for_a_dead_host():
    {hang}

with Watchdog(seconds={seconds}, on_hang=lambda message: os._exit(75)) as watchdog:
    for step in range(5):
        time.sleep(0.05)
        watchdog.beat(f"step {{step}}")
    waits_for_a_dead_host()
"""
_JAX_WAIT = """
    import jax, numpy as np
    jax.config.update("jax_num_cpu_devices", 2)
    never = lambda x: threading.Event().wait()
    step = jax.pmap(lambda x: jax.pure_callback(never, x, x))
    jax.block_until_ready(step(np.zeros(2)))
"""


@pytest.mark.parametrize(
    ("hang", "seconds"),
    [("os.read(os.pipe()[0], 1)", 1), (_JAX_WAIT, 5)],
    ids=["pipe", "devices"],
)
def test_a_hang_shows_its_place_and_ends_the_process(hang: str, seconds: int) -> None:
    program = _PROGRAM.format(hang=hang, seconds=seconds)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 75, result.stderr
    line, stacks = result.stderr.split("\n", maxsplit=1)
    assert line == (
        f"no progress for {seconds} s, last: step 4; if it is slow and not stuck, raise "
        "--step-timeout; stacks of all threads follow"
    )
    assert "in waits_for_a_dead_host" in stacks
    assert "in _watch" in stacks  # of all threads


def test_signs_of_life_and_longer_limits_keep_it_quiet(capsys: pytest.CaptureFixture) -> None:
    hung: list[str] = []
    with Watchdog(seconds=1.0, on_hang=hung.append) as watchdog:
        for step in range(12):
            time.sleep(0.1)
            watchdog.beat(f"step {step}")
        with watchdog.allow(30.0, "evaluation"):
            time.sleep(1.2)
        time.sleep(0.4)
    assert not hung
    assert capsys.readouterr().err == ""
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("raises", [False, True])
def test_the_short_limit_is_back_after_the_long_one(raises: bool) -> None:
    hung: list[str] = []
    heard = threading.Event()

    def on_hang(message: str) -> None:
        hung.append(message)
        heard.set()

    with Watchdog(seconds=0.2, on_hang=on_hang) as watchdog:
        try:
            with watchdog.allow(30.0, "evaluation"):
                assert not heard.wait(0.4)
                if raises:
                    raise ValueError
        except ValueError:
            pass
        assert heard.wait(10)
    assert len(hung) == 1
    assert hung[0].startswith("no progress for 0.2 s, last: end of evaluation; ")
