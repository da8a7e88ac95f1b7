"""A fine-tuning run: its config, and what is built of it."""

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_jax.config import check_config, load_config, plain
from bert_jax.data.keyed_random import Stream, permutation
from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.recipe import defaults_of
from bert_jax.tasks.kinds import TASKS
from bert_jax.tasks.task import Split, Task
from bert_jax.training.learner import Adaptation
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import Parallelism
from bert_jax.training.schedule import make_task_schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskRecipe:
    """A fine-tuning run: what a config file holds.

    Attributes:
      init: folder of the model to begin with, anything that `load` takes.
      seed: decides everything random: the new head, the order of the examples, dropout.
      epochs: how often the training examples are gone through.
      batch_size: B, rows of the global batch.
      evaluations_per_epoch: how often the model is evaluated.
      patience: evaluations without a better one after which the run ends; 0 to go on.
      log_every_steps: how often the figures of training are reported, averaged.
      checkpoint_every_steps: how often the run is saved, beside at each evaluation's end.
      skip_nonfinite: updates that may be left out because they are not finite.
      data: of `Data`.
      task: of `TASKS`, by its key `kind`.
      model: of `Adaptation`.
      schedule: of `make_task_schedule`.
      optimizer: of `make_optimizer`.
      parallelism: of `Parallelism`.
    """

    init: str
    seed: int
    epochs: float
    batch_size: int
    log_every_steps: int
    checkpoint_every_steps: int
    data: dict
    task: dict
    schedule: dict
    optimizer: dict
    evaluations_per_epoch: int = 1
    patience: int = 0
    skip_nonfinite: int = 0
    model: dict = dataclasses.field(default_factory=dict)
    parallelism: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.init:
            raise UserError("name the model to fine-tune: --config.init=FOLDER")
        if not self.epochs > 0:
            raise UserError(f"epochs is {self.epochs}; it must be positive")
        for name in ("patience", "skip_nonfinite"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in (
            "batch_size",
            "evaluations_per_epoch",
            "log_every_steps",
            "checkpoint_every_steps",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; it must lie between 0 and 2147483647")

    def is_evaluated(self, step: int, steps_per_epoch: int) -> bool:
        """Whether to evaluate after a step: after the n equal parts of each epoch."""
        n = self.evaluations_per_epoch
        return step * n // steps_per_epoch > (step - 1) * n // steps_per_epoch

    def total_steps(self, steps_per_epoch: int) -> int:
        """Updates to make."""
        return max(1, math.ceil(self.epochs * steps_per_epoch - 1e-9))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The examples of a run.

    Attributes:
      train: a file, or `tfds:NAME[/CONFIG][:SPLIT]`.
      dev: what the best checkpoint is chosen by; "" holds out some of `train`.
      other_dev: evaluated at the end as well, such as MNLI's mismatched part; "" for none.
      dev_share: of `train` that is held out if there is no `dev`.
      max_train: trains on so many of them, by chance; 0 for all.
    """

    train: str
    dev: str = ""
    other_dev: str = ""
    dev_share: float = 0.1
    max_train: int = 0

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("name the training examples: --config.data.train=FILE")
        if not 0 < self.dev_share < 1:
            raise UserError(f"data.dev_share is {self.dev_share}; it must lie between 0 and 1")
        if self.max_train < 0:
            raise UserError(f"data.max_train is {self.max_train}; it must not be negative")

    def read(self, task: Task, seed: int) -> tuple[Split, Split, Labels]:
        """The examples to train on, those to choose by, and what is told apart in `train`.

        What is held out is the same for every seed, so that seeds can be compared; which
        `max_train` are taken is not.

        Raises:
          UserError: see `Task.read`; or there are too few.
        """
        train = task.read(self.train)
        # Of all: a sample may lack a class.
        labels = task.labels(train.examples)
        if self.dev:
            dev = task.read(self.dev)
        else:
            train, dev = hold_out(task, train, self.dev_share, self.train)
        if self.max_train:
            order = permutation(len(train.examples), seed, Stream.SAMPLE)[: self.max_train]
            train = Split([train.examples[number] for number in sorted(order)], train.remarks)
        return train, dev, labels


def hold_out(task: Task, split: Split, share: float, source: str) -> tuple[Split, Split]:
    """Splits examples so that no group is in both parts.

    Raises:
      UserError: there is one group only.
    """
    groups = task.groups(split.examples)
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise UserError(
            f"{source} cannot be split into two, for all of it belongs together; name other "
            "examples by --config.data.dev=FILE"
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = {names[number] for number in permutation(len(names), 0, Stream.SAMPLE)[:count]}
    parts: dict[bool, list[Any]] = {False: [], True: []}
    for example, group in zip(split.examples, groups, strict=True):
        parts[group in chosen].append(example)
    remark = f"{len(parts[True]):,} of {len(groups):,} examples of {source} are held out"
    return Split(parts[False], [*split.remarks, remark]), Split(parts[True], [])


def sections_of(config: Mapping[str, Any]) -> dict[str, tuple[Callable[..., object], set[str]]]:
    """Which function each section of a config feeds, and what it gets from elsewhere.

    Raises:
      UserError: a task of another kind than there are.
    """
    kind = config.get("task", {}).get("kind")
    if kind not in TASKS:
        raise UserError(f"config.task.kind is {kind!r}; choose from {', '.join(TASKS)}")
    return {
        "data": (Data, set()),
        "task": (TASKS[kind], set()),
        "model": (Adaptation, set()),
        "schedule": (make_task_schedule, {"total_steps"}),
        "optimizer": (make_optimizer, set()),
        "parallelism": (Parallelism, set()),
    }


def open_task(options: argparse.Namespace, overrides: Sequence[str]) -> TaskRecipe:
    """The recipe that the flags of `recipe.add_run` name, with overrides.

    Raises:
      UserError: an unknown flag, or a config that is not a recipe.
    """
    config = plain(load_config(options.config, overrides))
    check_config(config, TaskRecipe, sections_of(config))
    return TaskRecipe(**config)


def task_defaults(recipe: TaskRecipe) -> dict[str, dict[str, Any]]:
    """What the keys of each section are where a config lacks them."""
    return defaults_of(sections_of(dataclasses.asdict(recipe)))


def workdir_of(options: argparse.Namespace) -> Path:
    """The run folder that is meant."""
    return options.workdir or Path("runs") / Path(options.config).stem
