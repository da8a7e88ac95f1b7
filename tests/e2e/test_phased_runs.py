"""Runs of several phases, runs with a time budget, and updates that are left out."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.recipe import Recipe
from bert_jax.training.metrics import read_metrics
from bert_jax.training.run_folder import RunFolder

TWO = (
    "--config.phases=[{'steps': 20, 'seq_len': 16}, {'steps': 40, 'batch_size': 4, "
    "'schedule': 'restart', 'moments': 'reset', 'peak_learning_rate': 5e-4, 'warmup_steps': 4}]"
)


def train_rows(workdir: Path) -> list[dict]:
    return [row for row in read_metrics(workdir / "metrics.jsonl") if row["split"] == "train"]


def test_phases_follow_one_another_in_one_run(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    workdir = tmp_path / "run"
    command = shell.train_command(text, workdir, TWO, "--config.log_every_steps=1")
    printed = shell.run(command)
    assert re.search(r"phase 1 of 2\n  steps +20 of 8 × 16 tokens", printed), printed
    assert re.search(r"phase 2 of 2\n  steps +40 of 4 × 32 tokens", printed), printed
    rows = train_rows(workdir)
    assert [row["step"] for row in rows] == list(range(1, 61))
    rates = [row["learning_rate"] for row in rows]
    # The first update of each schedule has rate 0 (warm-up from 0), the peaks are 3e-3 and 5e-4.
    assert rates[0] == rates[20] == 0
    assert max(rates[:20]) > 1e-3
    assert max(rates[20:]) == pytest.approx(5e-4 * (1 - 4 / 40))
    assert rates[-1] == pytest.approx(5e-4 / 40, rel=1e-3)
    # The model is that of its last phase to those who use it.
    evaluated = json.loads(shell.run(shell.command("evaluate", "--model", workdir, "--json")))
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    assert evaluated["mlm_loss"] == pytest.approx(last["mlm_loss"], rel=1e-6)


def test_a_phase_may_be_added_but_the_past_not_changed(  # type: ignore[no-untyped-def]
    trained: Path, shell, text: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    recorded = RunFolder(copy).read()["config"]
    assert Recipe.history(recorded, 60) == [(60, 8, 32)]
    other = "--config.phases=[{'steps': 60, 'seq_len': 16}]"
    refused = shell.run(shell.train_command(text, copy, other), status=2)
    assert "belongs to a run with another config (phases: [] -> [{'steps': 60" in refused
    more = "--config.phases=[{'steps': 60}, {'steps': 10, 'seq_len': 16}]"
    longer = "--config.total_steps=70"
    command = shell.train_command(text, copy, more, longer)
    printed = shell.run(shell.command("check", *command[3:]))
    assert "changed since the run began: phases: " in printed
    assert "phase 2 of 2" in printed


def test_a_budget_of_time_ends_the_run(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A budget that the first step spends; how it hastens the schedule is tested with that."""
    workdir = tmp_path / "run"
    command = shell.train_command(text, workdir, "--config.budget_hours=1e-6")
    printed = shell.run(command)
    assert "held-out: " in printed  # it is evaluated and saved at its end, whenever that is
    (row,) = train_rows(workdir)
    last = RunFolder(workdir).saved_step
    assert last is not None
    assert row["step"] == last <= 3
    assert f"finished at step {last:,}, its time is over" in shell.run(command)
    assert train_rows(workdir) == [row]


def test_updates_that_are_not_finite_are_left_out_and_kept_to_look_at(  # type: ignore[no-untyped-def]
    shell, text: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    # The first update that is made sets the parameters to 1e30 and so.
    huge = ("--config.schedule.peak_learning_rate=1e30", "--config.skip_nonfinite=3")
    refused = shell.run(shell.train_command(text, workdir, *huge), status=2)
    *warnings, error = refused.splitlines()
    assert [line.startswith("warning: the loss or the gradient of step ") for line in warnings] == (
        [True] * 3
    )
    assert "1 of 3 that may be" in warnings[0]
    step = int(re.search(r"of step (\d+) is not finite .* diverged", error)[1])  # type: ignore[index]
    events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events] == [step - 3, step - 2, step - 1, step]
    assert {event["event"] for event in events} == {"skipped_update"}
    with np.load(workdir / "nonfinite" / f"step_{step}.npz") as batch:
        assert batch["input_ids"].shape == (8, 32)
        assert batch["input_ids"].max() < 150
    assert "nothing was saved yet" in error
