"""Several fine-tuning runs of one command: which, and what is told of them."""

import argparse
import math
from pathlib import Path

import pytest

from bert_jax.console import Console
from bert_jax.errors import UserError
from bert_jax.task_runs import Outcome, Variant, summarize, variants_of


def variants(workdir: Path, *grid: str, seeds: int = 1) -> list[Variant]:
    options = argparse.Namespace(
        config="configs/finetune/base.py", workdir=workdir, seeds=seeds, grid=list(grid)
    )
    return variants_of(options, ["--config.init=model", "--config.data.train=train.tsv"])


def test_one_run_has_the_folder_itself(tmp_path: Path) -> None:
    (only,) = variants(tmp_path / "run")
    assert (only.name, only.folder) == ("", tmp_path / "run")


def test_every_setting_is_run_with_every_seed(tmp_path: Path) -> None:
    found = variants(tmp_path, "schedule.peak_learning_rate=1e-5,1e-4", "batch_size=8", seeds=2)
    assert [
        (each.recipe.schedule["peak_learning_rate"], each.recipe.batch_size, each.recipe.seed)
        for each in found
    ] == [(1e-5, 8, 0), (1e-5, 8, 1), (1e-4, 8, 0), (1e-4, 8, 1)]
    assert len({each.folder for each in found}) == 4
    assert all(each.folder.parent == tmp_path for each in found)
    assert found[3].setting == "schedule.peak_learning_rate=1e-4 batch_size=8"
    assert found[3].name == f"{found[3].setting} seed=1"


@pytest.mark.parametrize("flag", ["", "batch_size", "batch_size=", "=3"])
def test_a_grid_that_names_nothing(flag: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="write KEY=VALUE,VALUE"):
        variants(tmp_path, flag)


def test_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seeds is 0"):
        variants(tmp_path, seeds=0)


def test_several_do_not_go_into_the_folder_of_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run of its own; choose another --workdir"):
        variants(tmp_path, seeds=2)


def test_no_better_than_one_answer_for_all_is_degenerate() -> None:
    assert Outcome(0.5, 0.5).verdict == "degenerate"
    assert Outcome(0.49, 0.5).verdict == "degenerate"
    assert Outcome(0.51, 0.5).verdict == ""
    assert Outcome(math.nan, math.nan).verdict == "diverged"
    assert Outcome(math.nan, math.nan).is_degenerate


def test_median_deviation_and_degenerate_runs(tmp_path: Path) -> None:
    three = variants(tmp_path, "batch_size=8,16,32", seeds=3)
    scores = [0.5, 0.7, 0.9, 0.8, math.nan, 0.9, math.nan, math.nan, math.nan]
    summarize(three, [Outcome(score, 0.6) for score in scores], Console(quiet=True), tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| batch_size=8 | 3 | 0.7 | 0.2 | 0.9 | 0.5 | 1 |" in report
    assert "| batch_size=16 | 3 | 0.85 | 0.07071 | 0.9 | 0.8 | 1 |" in report
    assert "| batch_size=32 | 3 | nan | 0 | nan | nan | 3 |" in report
    assert "| batch_size=16 seed=1 | nan | 0.6 | diverged |" in report
    assert "| batch_size=8 seed=0 | 0.5 | 0.6 | degenerate |" in report


def test_the_best_setting_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = variants(tmp_path, "batch_size=8,16")
    summarize(two, [Outcome(math.nan, 0.0), Outcome(0.2, 0.1)], Console(quiet=True), tmp_path)
    assert "the best median is that of batch_size=16" in capsys.readouterr().out
