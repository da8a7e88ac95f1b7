"""Fine-tuning beside torch and transformers: the same weights, examples, batches, recipe and seeds.

  python benchmarks/finetune_speed.py --config configs/finetune/rte.py --config.init=models/bert \
      --config.data.max_train=1000 --seeds 5

Every step is made by both, one after the other, so that what else the machine does meets both. A
table gives the held-out score of each seed, and the ratio of the times of a step: the median over
all steps whose shape was met before. Both begin with the same head; dropout is drawn by each in its
own way. Needs `pip install torch transformers`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers

from bert_jax.console import Console
from bert_jax.finetune import Prepared, prepare
from bert_jax.task_recipe import TaskRecipe, open_task
from bert_jax.tasks.task import Row
from bert_jax.training.learner import Adaptation
from bert_jax.training.objectives import fine_tuning
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    make_notes,
    parallel_train_step,
    place,
    shard_batch,
)
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.schedule import make_task_schedule, progress_of
from bert_jax.training.steps import make_train_step, state_of

_HEADS = {
    "sentence": transformers.AutoModelForSequenceClassification,
    "tokens": transformers.AutoModelForTokenClassification,
    "spans": transformers.AutoModelForQuestionAnswering,
}
_IGNORED = -100  # torch's label of a token without a loss

Batch = Mapping[str, np.ndarray]


class Ours:
    """Our step, as `finetune` makes it."""

    def __init__(self, recipe: TaskRecipe, prepared: Prepared, total_steps: int):
        self._devices, parallelism = jax.devices()[:1], Parallelism()
        optimizer = make_optimizer(**recipe.optimizer)
        begin = jax.jit(partial(state_of, optimizer=optimizer))
        self._state = place(begin(prepared.learner.begin(recipe.seed)), self._devices, parallelism)
        schedule = make_task_schedule(**recipe.schedule, total_steps=total_steps)
        step = make_train_step(
            fine_tuning(prepared.learner.model),
            optimizer,
            lambda step, _: schedule(step, progress_of(step, total_steps=total_steps)),
        )
        self._step = parallel_train_step(step, self._devices, self._state, parallelism)
        self._notes = make_notes(self._devices)
        self._key = stream_key(recipe.seed, Stream.DROPOUT)
        self._prepared = prepared

    def step(self, batch: Batch) -> None:
        """Makes one, to its end."""
        rows = shard_batch(dict(batch), self._devices)
        self._state, sums, _ = self._step(self._state, rows, self._notes, self._key)
        jax.block_until_ready((self._state, sums))

    def score(self) -> float:
        """Of the held-out examples."""
        learner = self._prepared.learner
        dev = self._prepared.dev.examples
        return learner.judge(self._state.params, dev, learner.task).score


class Theirs:
    """That of transformers with AdamW, clipping and torch's own attention."""

    def __init__(self, recipe: TaskRecipe, prepared: Prepared, total_steps: int, folder: Path):
        torch.manual_seed(recipe.seed)
        self._prepared, labels = prepared, prepared.learner.labels
        adaptation = Adaptation(**recipe.model)
        self._model = (
            _HEADS[labels.task]
            .from_pretrained(
                folder,
                hidden_dropout_prob=adaptation.dropout,
                attention_probs_dropout_prob=adaptation.attention_dropout,
                classifier_dropout=adaptation.classifier_dropout,
                attn_implementation="sdpa",
            )
            .train()
        )
        decayed, others = [], []
        for name, parameter in self._model.named_parameters():
            plain = name.endswith("bias") or "LayerNorm" in name
            (others if plain else decayed).append(parameter)
        given = recipe.optimizer
        self._optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": given["weight_decay"]},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=1.0,
            betas=(given["b1"], given["b2"]),
            eps=given["eps"],
        )
        schedule = make_task_schedule(**recipe.schedule, total_steps=total_steps)
        rates = [float(schedule(n, n / total_steps)) for n in range(total_steps + 1)]
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, rates.__getitem__)
        self._clip_norm = given["clip_norm"]

    def step(self, batch: Batch) -> None:
        """Makes one, to its end."""
        self._optimizer.zero_grad()
        real = {name: array[batch["lengths"] > 0] for name, array in batch.items()}
        self._model(**self._inputs(real), **self._targets(real)).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self._optimizer.step()
        self._schedule.step()

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        is_real = np.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]
        return {
            "input_ids": torch.from_numpy(batch["input_ids"].astype(np.int64)),
            "token_type_ids": torch.from_numpy(batch["segment_ids"].astype(np.int64)),
            "attention_mask": torch.from_numpy(is_real.astype(np.int64)),
        }

    def _targets(self, batch: Batch) -> dict[str, torch.Tensor]:
        labels = self._prepared.learner.labels
        if labels.task == "spans":
            names = {"start_positions": "starts", "end_positions": "ends"}
            return {
                theirs: torch.from_numpy(batch[ours].astype(np.int64))
                for theirs, ours in names.items()
            }
        if labels.is_regression:
            return {"labels": torch.from_numpy(batch["labels"])}
        targets = batch["labels"].astype(np.int64)
        if labels.task == "tokens":
            targets = np.where(batch["label_weights"] > 0, targets, _IGNORED)
        return {"labels": torch.from_numpy(targets)}

    def score(self) -> float:
        """Of the held-out examples; the answers are made of the scores as ours are."""
        learner = self._prepared.learner
        examples = self._prepared.dev.examples
        tokenizer = learner.bert.tokenizer
        self._model.eval()
        found = learner.task.predict(tokenizer, examples, learner.labels, self._scores_of)
        return learner.task.evaluate(examples, found, learner.labels).score

    def _scores_of(self, rows: Sequence[Row]) -> list[np.ndarray]:
        found = []
        for row in rows:
            size = len(row.ids)
            batch = {
                "input_ids": np.array([row.ids]),
                "segment_ids": np.array([row.segment_ids]),
                "lengths": np.array([size]),
            }
            with torch.inference_mode():
                made = self._model(**self._inputs(batch))
            if "start_logits" in made:
                found.append(torch.stack([made.start_logits[0], made.end_logits[0]], -1).numpy())
            else:
                found.append(made.logits[0].numpy())
        return found


def timed(step: Callable[[Batch], None], batch: Batch) -> float:
    """Seconds of a step."""
    begin = time.perf_counter()
    step(batch)
    return time.perf_counter() - begin


def compare(recipe: TaskRecipe, folder: Path, console: Console) -> dict[str, Any]:
    """Trains both on the same batches; their scores, and the times of their steps."""
    prepared = prepare(recipe, console)
    total_steps = recipe.total_steps(prepared.batches.steps_per_epoch)
    prepared.learner.save(folder, prepared.learner.begin(recipe.seed))
    ours = Ours(recipe, prepared, total_steps)
    theirs = Theirs(recipe, prepared, total_steps, folder)
    times: list[tuple[float, float]] = []
    shapes = set()
    bar = console.bar("training", total=total_steps, unit="step")
    for number in range(total_steps):
        batch = prepared.batches.batch(number)
        pair = timed(ours.step, batch), timed(theirs.step, batch)
        if batch["input_ids"].shape in shapes:  # the first of a shape compiles
            times.append(pair)
        shapes.add(batch["input_ids"].shape)
        bar.update()
    return {"ours": ours.score(), "theirs": theirs.score(), "times": times}


def main(arguments: list[str]) -> None:
    """Compares on each seed, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quiet", action="store_true")
    options, overrides = parser.parse_known_args(arguments)
    console = Console(quiet=options.quiet)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            recipe = open_task(options, [*overrides, f"--config.seed={seed}"])
            results.append(compare(recipe, Path(folder) / "model", console))
            console.say(
                f"seed {seed}: ours {results[-1]['ours']:.4g}, theirs {results[-1]['theirs']:.4g}"
            )
    rows = []
    for name in ("ours", "theirs"):
        scores = [each[name] for each in results]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        rows.append(
            [
                {"ours": "bert_jax", "theirs": f"transformers {transformers.__version__}"}[name],
                f"{statistics.median(scores):.4g}",
                f"{statistics.mean(scores):.4g}",
                f"{spread:.2g}",
                " ".join(f"{score:.4g}" for score in scores),
            ]
        )
    console.grid(["held-out score", "median", "mean", "deviation", "each seed"], rows)
    times = np.array([pair for each in results for pair in each["times"]])
    ratios = times[:, 1] / times[:, 0]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    console.say(
        f"\n{len(times):,} steps of each: {np.median(times[:, 0]) * 1e3:.0f} ms here, "
        f"{np.median(times[:, 1]) * 1e3:.0f} ms with torch {torch.__version__}; "
        f"ratio {middle:.2f} (quartiles {low:.2f} and {high:.2f})"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
