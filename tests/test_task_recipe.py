"""A fine-tuning run's config: what is held out, how long it goes, when it is evaluated."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bert_jax.errors import UserError
from bert_jax.task_recipe import Data, TaskRecipe, open_task
from bert_jax.tasks.kinds import make_task
from configs.finetune.base import get_config


def make_recipe(**changes: Any) -> TaskRecipe:
    config = get_config().to_dict()
    config["data"]["train"] = "train.tsv"
    return TaskRecipe(**config | {"init": "models/bert"} | changes)


@pytest.fixture
def intents(tmp_path: Path) -> Path:
    """Thirty classes of two examples each."""
    path = tmp_path / "intents.tsv"
    lines = [f"say {n} {again}\tintent_{n}" for n in range(30) for again in "ab"]
    path.write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return path


def read(data: Data, seed: int = 0) -> tuple[list[str], list[str], tuple[str, ...]]:
    task = make_task({"kind": "classification"})
    train, dev, labels = data.read(task, seed)
    texts = [[each.text for each in part.examples] for part in (train, dev)]
    return texts[0], texts[1], labels.names


def test_what_is_held_out_is_the_same_for_every_seed(intents: Path) -> None:
    train, dev, _ = read(Data(train=str(intents), dev_share=0.2))
    assert len(dev) == 12
    assert sorted(train + dev) == sorted(f"say {n} {again}" for n in range(30) for again in "ab")
    assert read(Data(train=str(intents), dev_share=0.2), seed=1)[1] == dev


def test_a_sample_has_the_classes_of_all(intents: Path) -> None:
    data = Data(train=str(intents), dev=str(intents), max_train=20)
    train, dev, names = read(data)
    assert (len(train), len(dev)) == (20, 60)
    assert len(names) == 30
    again, _, _ = read(data, seed=1)
    assert again != train
    assert read(data)[0] == train


def test_one_example_cannot_be_split(tmp_path: Path) -> None:
    path = tmp_path / "one.tsv"
    path.write_text("sentence\tlabel\ngood\t1.5\n")
    task = make_task({"kind": "classification", "metrics": "pearson"})
    with pytest.raises(UserError, match="cannot be split into two"):
        Data(train=str(path)).read(task, 0)


@pytest.mark.parametrize("steps_per_epoch", [3, 7, 10, 101, 250])
@pytest.mark.parametrize("evaluations", [1, 2, 4])
def test_every_epoch_is_evaluated_so_often(steps_per_epoch: int, evaluations: int) -> None:
    recipe = make_recipe(evaluations_per_epoch=evaluations)
    steps = [
        step
        for step in range(1, 3 * steps_per_epoch + 1)
        if recipe.is_evaluated(step, steps_per_epoch)
    ]
    expected = min(evaluations, steps_per_epoch)
    assert Counter((step - 1) // steps_per_epoch for step in steps) == dict.fromkeys(
        range(3), expected
    )
    assert {steps_per_epoch, 2 * steps_per_epoch, 3 * steps_per_epoch} <= set(steps)


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1.0, 10), (0.1, 1), (0.01, 1), (2.5, 25), (0.3, 3), (0.31, 4)]
)
def test_epochs_are_steps(epochs: float, steps: int) -> None:
    assert make_recipe(epochs=epochs).total_steps(10) == steps


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"init": ""}, "name the model to fine-tune"),
        ({"epochs": 0.0}, "epochs is 0.0; it must be positive"),
        ({"patience": -1}, "patience is -1; it must not be negative"),
        ({"skip_nonfinite": -1}, "skip_nonfinite is -1; it must not be negative"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must lie between 0 and 2147483647"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        make_recipe(**change)


def test_a_task_that_there_is_not() -> None:
    options = argparse.Namespace(config="configs/finetune/base.py")
    with pytest.raises(UserError, match=r"config\.task\.kind is .poetry.; choose from"):
        open_task(options, ["--config.task.kind=poetry", "--config.init=x"])
