"""Runs that are killed or interrupted end where the undisturbed run ends, to the bit."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from small_runs import final_state, reported

from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import read_metrics


def assert_same_run(disturbed: Path, straight: Path) -> None:
    ours, theirs = final_state(disturbed), final_state(straight)
    assert int(ours.step) == int(theirs.step)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert reported(disturbed) == reported(straight)


def steps_reported(workdir: Path, step: int) -> Callable[[], bool]:
    return lambda: any(row["step"] >= step for row in read_metrics(workdir / "metrics.jsonl"))


def wait_for(moment: Callable[[], bool], process) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 120
    while not moment():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.002)


def test_killed_four_times_and_resumed(trained: Path, shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    workdir = tmp_path / "killed"
    moments: list[Callable[[], bool]] = [
        (workdir / "tokenizer").exists,  # while the corpus is prepared or just after
        steps_reported(workdir, 5),
        steps_reported(workdir, 25),
        lambda: any((workdir / "checkpoints").glob("40*tmp*")) or steps_reported(workdir, 50)(),
    ]
    for moment in moments:
        process = shell.start(shell.train_command(text, workdir))
        wait_for(moment, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    printed = shell.run(shell.train_command(text, workdir))
    assert "resuming at step" in printed
    assert_same_run(workdir, trained)
    # Or the halves of checkpoints that killed runs leave would fill the disk.
    assert not list((workdir / "checkpoints").glob("*tmp*"))


def test_ctrl_c_before_training_is_one_line_too(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    workdir = tmp_path / "early"
    for moment in (lambda: True, (workdir / "lock").exists):
        process = shell.start(shell.train_command(text, workdir))
        wait_for(moment, process)
        time.sleep(0.3)  # the interpreter itself takes a moment to start
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err.startswith("interrupted")
        assert err.count("\n") == 1, err


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 0, "terminated")],
)
def test_signals_save_and_the_run_goes_on(  # type: ignore[no-untyped-def]
    *, number: int, status: int, word: str, trained: Path, shell, text: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "stopped"
    process = shell.start(shell.train_command(text, workdir))
    wait_for(steps_reported(workdir, 15), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    (line,) = err.splitlines()
    assert line.startswith(f"{word} and saved at step ")
    step = int(line.split("step ")[1].split(";")[0])
    assert Checkpoints(workdir / "checkpoints").latest_step == step
    assert f"resuming at step {step}" in shell.run(shell.train_command(text, workdir))
    assert_same_run(workdir, trained)
