"""Several fine-tuning runs of one command: seeds, and a grid of values, and what came of them."""

import argparse
import math
import statistics
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax import cli
from bert_jax.atomic import write_file
from bert_jax.console import Console
from bert_jax.errors import UserError
from bert_jax.task_recipe import TaskRecipe, open_task, workdir_of
from bert_jax.tasks.report import markdown_table
from bert_jax.training.run_folder import RunFolder


class Variant(NamedTuple):
    """One of several runs.

    Attributes:
      name: what is different in it, such as "schedule.peak_learning_rate=3e-5 seed=1".
      setting: the same without the seed.
      recipe: of the run.
      folder: of the run.
    """

    name: str
    setting: str
    recipe: TaskRecipe
    folder: Path


class Outcome(NamedTuple):
    """What came of a run, on the examples that were held out.

    Attributes:
      score: of the best parameters; NaN if the run diverged.
      baseline: of the best answer that does not look at the text.
    """

    score: float
    baseline: float

    @property
    def is_degenerate(self) -> bool:
        """Whether nothing was learnt: no better than one answer for all (Mosbach et al. 2021)."""
        return not self.score > self.baseline + 1e-9

    @property
    def verdict(self) -> str:
        """What a report says of it; "" if there is nothing to say."""
        if math.isnan(self.score):
            return "diverged"
        return "degenerate" if self.is_degenerate else ""


def add_variants(parser: cli.Parser) -> None:
    """The flags that ask for several runs."""
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="train N times, with the seeds from config.seed on, and report median and spread",
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V,V",
        help="train with each of these values, such as schedule.peak_learning_rate=2e-5,5e-5; "
        "given again, with each combination",
    )


def variants_of(options: argparse.Namespace, overrides: Sequence[str]) -> list[Variant]:
    """The runs that the flags of `add_variants` ask for; one alone has the run folder itself.

    Raises:
      UserError: a flag or a config that cannot be.
    """
    if options.seeds < 1:
        raise UserError(f"--seeds is {options.seeds}; it must be at least 1")
    choices = []
    for flag in options.grid:
        key, _, values = flag.removeprefix("config.").partition("=")
        listed = [value for value in values.split(",") if value]
        if not key or not listed:
            raise UserError(f"--grid is {flag!r}; write KEY=VALUE,VALUE")
        choices.append([f"{key}={value}" for value in listed])
    first = open_task(options, overrides)
    workdir = workdir_of(options)
    variants = []
    for setting in product(*choices):
        for seed in range(first.seed, first.seed + options.seeds):
            more = [*setting, *([f"seed={seed}"] if options.seeds > 1 else [])]
            recipe = open_task(options, [*overrides, *(f"--config.{each}" for each in more)])
            folder = workdir / " ".join(more).replace(" ", "_") if more else workdir
            variants.append(Variant(" ".join(more), " ".join(setting), recipe, folder))
    if variants[0].folder != workdir and RunFolder(workdir).config_file.exists():
        raise UserError(f"{workdir} holds a run of its own; choose another --workdir for several")
    return variants


def summarize(
    variants: Sequence[Variant],
    outcomes: Sequence[Outcome],
    console: Console,
    workdir: Path,
) -> None:
    """Median, deviation and degenerate runs of each setting, on the console and in `report.md`.

    A run that diverged counts as degenerate, and in nothing else.
    """
    header = ["setting", "runs", "median", "deviation", "best", "worst", "degenerate"]
    rows, scores = [], {}
    for setting in dict.fromkeys(variant.setting for variant in variants):
        mine = [o for v, o in zip(variants, outcomes, strict=True) if v.setting == setting]
        found = [each.score for each in mine if not math.isnan(each.score)] or [math.nan]
        scores[setting] = statistics.median(found)
        deviation = statistics.stdev(found) if len(found) > 1 else 0.0
        shown = (scores[setting], deviation, max(found), min(found))
        degenerate = sum(each.is_degenerate for each in mine)
        rows.append(
            [
                setting or "as configured",
                str(len(mine)),
                *(f"{value:.4g}" for value in shown),
                str(degenerate),
            ]
        )
    runs = [
        [
            variant.name,
            f"{outcome.score:.4g}",
            f"{outcome.baseline:.4g}",
            outcome.verdict,
        ]
        for variant, outcome in zip(variants, outcomes, strict=True)
    ]
    console.say("\nheld-out score")
    console.grid(header, rows)
    if len(scores) > 1:
        best = max(scores, key=lambda setting: np.nan_to_num(scores[setting], nan=-np.inf))
        console.say(f"\nthe best median is that of {best}")
    text = "\n".join(
        [
            "# Several runs\n",
            "Score on the held-out examples. A run is degenerate if it is no better than one",
            "answer for all of them.\n",
            markdown_table(header, rows),
            markdown_table(["run", "score", "one answer for all", ""], runs),
        ]
    )
    write_file(workdir / "report.md", text)
    console.say(f"made {workdir / 'report.md'}")
