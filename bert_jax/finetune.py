"""Fine-tuning, in order: read, build, restore, then step, evaluate, keep the best, report.

python -m bert_jax.finetune --config configs/finetune/sst2.py --config.init=models/bert-base
"""

import argparse
import dataclasses
import math
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import jax

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.errors import DivergenceError, UserError
from bert_jax.model.sizes import training_flops_per_token
from bert_jax.pretrained import load
from bert_jax.recipe import add_run
from bert_jax.session import add_training, begin_run, open_loop, restore, started
from bert_jax.task_recipe import Data, TaskRecipe, task_defaults, workdir_of
from bert_jax.task_runs import Outcome, add_variants, summarize, variants_of
from bert_jax.tasks.batches import TaskBatches
from bert_jax.tasks.kinds import make_task, task_of
from bert_jax.tasks.report import Report, show, write_report
from bert_jax.tasks.task import Split
from bert_jax.training.best import Best
from bert_jax.training.compilation import kept_programs
from bert_jax.training.learner import Adaptation, Learner
from bert_jax.training.loop import Choice, Settings, Work
from bert_jax.training.objectives import fine_tuning
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    all_devices,
    describe_devices,
    local_rows,
    parallel_train_step,
)
from bert_jax.training.processes import Processes
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder, differences
from bert_jax.training.schedule import make_task_schedule, progress_of
from bert_jax.training.steps import TrainState, make_train_step, state_of
from bert_jax.training.stopping import Stopping
from bert_jax.usage import add_allow_pickle, show_warnings


def finetune(
    recipe: TaskRecipe,
    run: RunFolder,
    console: Console,
    *,
    processes: Processes,
    stopping: Stopping,
    options: argparse.Namespace,
) -> Outcome | KeyboardInterrupt:
    """Fine-tunes from where the run folder stands to its end, or to a signal.

    Returns:
      What came of it; or what to raise, all being saved, if it was told to stop.

    Raises:
      UserError: a recipe that cannot work, a run folder that belongs to another, bad data.
      MachineError: another process was lost.
    """
    config = dataclasses.asdict(recipe)
    devices, pace = begin_run(run, config, processes)

    # Read the examples, and see whether all goes together.
    prepared = prepare(recipe, console, allow_pickle=options.allow_pickle)
    learner, batches = prepared.learner, prepared.batches
    with processes.first_goes_first("run"):
        for change in run.claim(config, _batch_size, task_defaults(recipe)):
            console.say(f"changed since the run began: {change}")
        run.record_hashes(tokenizer_hash=learner.bert.tokenizer.hash, rows_hash=batches.hash)
    processes.compare("rows", {"rows": batches.hash}, differences)

    # Restore, or begin.
    parallelism = Parallelism(**recipe.parallelism)
    begin = jax.jit(partial(state_of, optimizer=make_optimizer(**recipe.optimizer)))
    restored = restore(
        run, partial(begin, learner.begin(recipe.seed)), devices, parallelism, processes
    )
    state = restored.state
    start, total_steps = int(state.step), recipe.total_steps(batches.steps_per_epoch)
    given_up = 0 < recipe.patience <= Best(**restored.progress.best).since
    is_over = start >= total_steps or given_up
    _summarize(console, recipe, prepared, start, total_steps, is_over=is_over)

    # Train.
    settings = Settings(
        log_every_steps=recipe.log_every_steps,
        is_evaluated=lambda step: recipe.is_evaluated(step, batches.steps_per_epoch),
        checkpoint_every_steps=recipe.checkpoint_every_steps,
        total_steps=total_steps,
        budget_seconds=0.0,
        skip_nonfinite=recipe.skip_nonfinite,
        step_timeout=options.step_timeout,
    )
    with open_loop(
        run,
        restored,
        settings,
        config=config,
        key=stream_key(recipe.seed, Stream.DROPOUT),
        devices=devices,
        parallelism=parallelism,
        processes=processes,
        console=console,
        stopping=stopping,
        pace=pace,
        options=options,
    ) as (loop, bar):
        pace.begin_phase()
        stopping.deferred = True
        if not is_over:
            work = _work(recipe, learner, batches, state, run, last_step=total_steps)
            state = loop.run(state, work, bar)
        stopping.deferred = False
    if loop.is_stopped and int(state.step) < total_steps:
        return stopping.explain(f"and saved at step {int(state.step):,}")

    # What came of it.
    return _conclude(
        recipe, run, console, prepared, best_step=loop.best.step, write=processes.is_first
    )


class Prepared(NamedTuple):
    """What is to be learnt, and from what.

    Attributes:
      learner: the model.
      train: the examples to train on.
      dev: those that are held out.
      batches: of what is trained on.
    """

    learner: Learner
    train: Split
    dev: Split
    batches: TaskBatches


def prepare(recipe: TaskRecipe, console: Console, *, allow_pickle: bool = False) -> Prepared:
    """Reads examples and model, and checks that they go together; tells what is remarkable.

    Args:
      recipe: of the run.
      console: to tell it on.
      allow_pickle: see `load`.

    Raises:
      UserError: they do not.
    """
    task, data = make_task(recipe.task), Data(**recipe.data)
    adaptation, parallelism = Adaptation(**recipe.model), Parallelism(**recipe.parallelism)
    make_optimizer(**recipe.optimizer)  # complains before anything is read
    local_rows(recipe.batch_size, parallelism.micro_batch_size)  # likewise
    train, dev, labels = data.read(task, recipe.seed)
    remarks = [*train.remarks, *dev.remarks]
    remarks += task.check(dev.examples, labels, data.dev or data.train)
    # Of what the model may lack only this is missed.
    wanted = frozenset({"pooler"}) if labels.task == "sentence" else frozenset()
    bert = load(recipe.init, wanted=wanted, allow_pickle=allow_pickle)
    learner = Learner(bert, task, labels, dev.examples, adaptation)
    rows, of_rows = task.training_rows(bert.tokenizer, train.examples, labels)
    for remark in [*remarks, *of_rows]:
        console.warn(remark)
    batches = TaskBatches(
        rows,
        batch_size=recipe.batch_size,
        max_length=task.max_length,
        seed=recipe.seed,
        pad_id=bert.tokenizer.pad_id,
    )
    return Prepared(learner, train, dev, batches)


def _summarize(
    console: Console,
    recipe: TaskRecipe,
    prepared: Prepared,
    start: int,
    total_steps: int,
    *,
    is_over: bool,
) -> None:
    """The table at the start."""
    title = f"fine-tuning: {recipe.task['kind'].replace('_', ' ')}"
    if start:
        title = f"resuming at step {start:,}"
    if is_over:
        given = "epochs" if start >= total_steps else "patience"
        title = f"finished at step {start:,}; raise {given} to go on"
    batches, params = prepared.batches, prepared.learner.bert.params["bert"]
    console.table(
        title,
        [
            ("devices", describe_devices()),
            ("model", recipe.init),
            ("parameters", f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}, and the head"),
            ("head", "that of the model" if prepared.learner.has_head else "new"),
            ("train", f"{len(prepared.train.examples):,} examples in {batches.num_rows:,} rows"),
            ("held out", f"{len(prepared.dev.examples):,} examples"),
            ("labels", ", ".join(prepared.learner.labels.names)[:100]),
            ("steps", f"{total_steps:,} of {recipe.batch_size} rows, {recipe.epochs:g} epochs"),
            ("padding", f"{batches.padding_share():.0%} of the tokens"),
        ],
    )


def _conclude(
    recipe: TaskRecipe,
    run: RunFolder,
    console: Console,
    prepared: Prepared,
    *,
    best_step: int | None,
    write: bool,
) -> Outcome:
    """Evaluates the best parameters, as they are in the run's model folder, and reports."""
    data, learner = Data(**recipe.data), prepared.learner
    best = load(run.model)
    task = task_of(best.labels, best.task_file)
    held_out = learner.judge(best.params, prepared.dev.examples, task)
    evaluations = {"held out": held_out}
    if data.other_dev:
        other = task.read(data.other_dev)
        for remark in [
            *other.remarks,
            *task.check(other.examples, learner.labels, data.other_dev),
        ]:
            console.warn(remark)
        evaluations[data.other_dev] = learner.judge(best.params, other.examples, task)
    show(console, evaluations)
    if write:
        report = Report(
            title=f"{recipe.task['kind'].replace('_', ' ').capitalize()}: {data.train}",
            facts=_facts(recipe, prepared, best_step),
            evaluations=evaluations,
        )
        write_report(run.path, report)
        console.say(f"\nsaved in {run.path}: model/, report.md, metrics.jsonl, checkpoints")
        console.say(f"try it: python -m bert_jax.predict --model {run.path}")
    return Outcome(held_out.score, held_out.baseline)


def _batch_size(config: dict, step: int) -> int:
    """What must not change in a run, beside its sections: see `RunFolder.claim`."""
    del step
    return config["batch_size"]


def _work(
    recipe: TaskRecipe,
    learner: Learner,
    batches: TaskBatches,
    state: TrainState,
    run: RunFolder,
    *,
    last_step: int,
) -> Work:
    """What the loop needs."""
    devices, parallelism = all_devices(), Parallelism(**recipe.parallelism)
    schedule = make_task_schedule(**recipe.schedule, total_steps=last_step)
    step = make_train_step(
        fine_tuning(learner.model),
        make_optimizer(**recipe.optimizer),
        lambda step, elapsed: schedule(
            step, progress_of(step, total_steps=last_step, elapsed=elapsed)
        ),
        micro_batch_size=parallelism.micro_batch_size,
    )
    rows = local_rows(recipe.batch_size, parallelism.micro_batch_size)

    def size(batch: dict) -> tuple[int, float]:
        seq_len = batch["input_ids"].shape[1]
        flops = training_flops_per_token(learner.model.config, seq_len=seq_len, num_predictions=0)
        return recipe.batch_size * seq_len, flops

    return Work(
        step=parallel_train_step(step, devices, state, parallelism),
        first_step=0,
        batches=(batches.batch(number, rows) for number in range(int(state.step), last_step)),
        last_step=last_step,
        evaluate=learner.evaluate,
        example=batches.batch,
        size=size,
        choice=Choice("score", partial(learner.save, run.model), recipe.patience),
    )


def _facts(recipe: TaskRecipe, prepared: Prepared, best_step: int | None) -> list[tuple[str, str]]:
    """What a report says of a run."""
    best = "none"
    if best_step is not None:
        best = f"step {best_step:,}, epoch {best_step / prepared.batches.steps_per_epoch:.2g}"
    return [
        ("model", recipe.init),
        ("training examples", f"{len(prepared.train.examples):,}"),
        ("held-out examples", f"{len(prepared.dev.examples):,}"),
        ("seed", str(recipe.seed)),
        ("epochs", f"{recipe.epochs:g}"),
        ("batch size", str(recipe.batch_size)),
        ("learning rate", f"{recipe.schedule['peak_learning_rate']:g}"),
        ("best evaluation", best),
    ]


def main(arguments: list[str]) -> None:
    """Parses the command line and fine-tunes, once or several times."""
    parser = cli.Parser(
        "finetune",
        "Fine-tunes a model for a task: classes of texts or pairs, numbers, answers in paragraphs, "
        "named entities. The same command again goes on where the run stands. Any value of the "
        "config is set as --config.SECTION.KEY=VALUE.",
        example="python -m bert_jax.finetune --config configs/finetune/sst2.py "
        "--config.init=models/bert-base --config.data.train=train.tsv --config.data.dev=dev.tsv",
    )
    add_run(parser)
    add_training(parser)
    add_allow_pickle(parser)
    add_variants(parser)
    options, overrides = parser.parse_known_args(arguments)
    stopped = None
    with started(parser, options) as (processes, stopping):
        console = Console(quiet=options.quiet, silent=not processes.is_first)
        show_warnings(console)
        variants = variants_of(options, overrides)
        if len(variants) > 1 and processes.count > 1:
            raise UserError(
                "several runs in one command are for one process; name one --config.seed"
            )
        outcomes: list[Outcome] = []
        for variant in variants:
            if stopping.requested:
                stopped = stopping.explain(f"before {variant.name}")
                break
            console.say(f"\n{variant.name}" if len(variants) > 1 else "")
            with ExitStack() as stack:
                run = RunFolder(variant.folder)
                if processes.is_first:
                    stack.enter_context(run.locked())
                home = RunFolder(variants[0].folder).compilation_cache
                stack.enter_context(kept_programs(home, console.warn))
                try:
                    outcome = finetune(
                        variant.recipe,
                        run,
                        console,
                        processes=processes,
                        stopping=stopping,
                        options=options,
                    )
                except DivergenceError as error:
                    if len(variants) == 1:
                        raise
                    console.warn(str(error))
                    stopping.deferred = False
                    outcome = Outcome(math.nan, math.nan)
            if isinstance(outcome, KeyboardInterrupt):
                stopped = outcome
                break
            outcomes.append(outcome)
        if len(variants) == len(outcomes) > 1:
            summarize(variants, outcomes, console, workdir_of(options))
    # Not before all processes have left: what is raised among them ends the others.
    if stopped:
        raise stopped


if __name__ == "__main__":
    cli.run(main)
