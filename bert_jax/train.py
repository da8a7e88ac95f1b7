"""Pretraining, in order: build, restore, then step, report, evaluate, save.

python -m bert_jax.train --config configs/tiny.py --workdir runs/tiny
"""

import argparse
import dataclasses
from contextlib import ExitStack
from functools import partial

import jax
import numpy as np

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.batches import Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.pipeline import make_dataset
from bert_jax.model.sizes import training_flops_per_token
from bert_jax.pretrained import Pretrained
from bert_jax.recipe import (
    Parts,
    Recipe,
    add_run,
    build,
    epochs_of,
    open_run,
    prepare_text,
    stage_batches,
)
from bert_jax.session import add_training, begin_run, open_loop, restore, started
from bert_jax.tokenizers import Tokenizer
from bert_jax.training.compilation import kept_programs
from bert_jax.training.curves import draw_curves
from bert_jax.training.evaluation import describe, evaluate, held_out_batches
from bert_jax.training.examples import show_examples
from bert_jax.training.loop import Settings, Work
from bert_jax.training.metrics import read_metrics
from bert_jax.training.objectives import pretraining
from bert_jax.training.parallel import (
    all_devices,
    describe_devices,
    local_rows,
    parallel_eval_step,
    parallel_train_step,
    place,
)
from bert_jax.training.phases import Stage, rate_of
from bert_jax.training.processes import Processes
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder, differences
from bert_jax.training.steps import TrainState, init_state, make_eval_step, make_train_step
from bert_jax.training.stopping import Stopping

# Share of random pairs from which nothing is left to tell apart; Google's procedure gives 57 %
# where documents have many sentences, and 100 % where they have one.
_ONE_LABEL = 0.95


def train(
    recipe: Recipe,
    run: RunFolder,
    console: Console,
    *,
    processes: Processes,
    stopping: Stopping,
    options: argparse.Namespace,
) -> KeyboardInterrupt | None:
    """Pretrains from where the run folder stands to the last step, or to a signal.

    Returns:
      What to raise, all being saved, if the run was told to stop before its end.

    Raises:
      UserError: a recipe that cannot work, a run folder that belongs to another, bad text.
      MachineError: another process or the input was lost.
    """
    config = dataclasses.asdict(recipe)
    devices, pace = begin_run(run, config, processes)

    # Build what needs no text; then text to tokens, once.
    parts = build(recipe, run, console)
    with processes.first_goes_first("text"):
        tokenizer, corpus = prepare_text(recipe, parts, run, console)
    hashes = {"tokenizer": tokenizer.hash, "corpus": corpus.hash}
    processes.compare("text", hashes, differences)

    # Restore, or begin.
    init = jax.jit(
        partial(init_state, parts.model, parts.optimizer, stream_key(recipe.seed, Stream.INIT))
    )
    restored = restore(run, init, devices, parts.parallelism, processes)
    state = restored.state
    _summarize(console, recipe, parts, corpus, state, seconds=restored.progress.seconds)

    # Train, stage by stage.
    settings = Settings(
        log_every_steps=recipe.log_every_steps,
        is_evaluated=lambda step: step % recipe.eval_every_steps == 0,
        checkpoint_every_steps=recipe.checkpoint_every_steps,
        total_steps=recipe.total_steps,
        budget_seconds=3600 * recipe.budget_hours,
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
        parallelism=parts.parallelism,
        processes=processes,
        console=console,
        stopping=stopping,
        pace=pace,
        options=options,
    ) as (loop, bar):
        for stage in parts.stages:
            if int(state.step) >= stage.last_step or loop.is_over:
                continue
            if int(state.step) == stage.first_step and stage.moments == "reset":
                moments = restored.like.opt_state
                fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), moments)
                whole = TrainState(state.step, state.params, fresh)
                state = place(whole, devices, parts.parallelism)
            batches = stage_batches(recipe, parts, stage, run, (tokenizer, corpus))
            _announce(console, parts, stage, batches)
            work = _work(parts, stage, batches, state)
            pace.begin_phase()
            stopping.deferred = True
            state = loop.run(state, work, bar)
    console.table("wall time", pace.summary())
    if loop.is_stopped and int(state.step) < recipe.total_steps:
        return stopping.explain(
            f"and saved at step {int(state.step):,}"
        )  # at once: the machine may be about to go
    if processes.is_first:
        draw_curves(run.path)
        _show_result(console, run, parts, state, (tokenizer, corpus))
    return None


def _work(parts: Parts, stage: Stage, batches: Batches, state: TrainState) -> Work:
    """What the loop needs of a stage."""
    devices, parallelism = all_devices(), parts.parallelism
    rows = local_rows(stage.batch_size, stage.micro_batch_size)
    step = make_train_step(
        pretraining(parts.model),
        parts.optimizer,
        rate_of(stage),
        micro_batch_size=stage.micro_batch_size,
    )
    held_out = held_out_batches(batches.corpus, batches.tokenizer, pairs=batches.pairs, stage=stage)
    evaluation = None
    if held_out:
        eval_step = parallel_eval_step(make_eval_step(pretraining(parts.model)), devices)
        evaluation = partial(evaluate, eval_step, batches=held_out, devices=devices)
    flops_per_token = training_flops_per_token(
        parts.model.config,
        seq_len=stage.seq_len,
        num_predictions=parts.masking.max_predictions(stage.seq_len, parts.pairs.examples_per_row),
    )
    return Work(
        step=parallel_train_step(step, devices, state, parallelism),
        first_step=stage.first_step,
        batches=make_dataset(partial(batches.batch, rows=rows), int(state.step), stage.last_step),
        last_step=stage.last_step,
        evaluate=evaluation,
        example=batches.batch,
        size=lambda _: (stage.batch_size * stage.seq_len, flops_per_token),
    )


def _summarize(
    console: Console,
    recipe: Recipe,
    parts: Parts,
    corpus: Corpus,
    state: TrainState,
    *,
    seconds: float,
) -> None:
    """The table at the start; `seconds` of training are over."""
    start = int(state.step)
    title = "pretraining" if not start else f"resuming at step {start:,}"
    if start >= recipe.total_steps:
        title = f"finished at step {start:,}; raise total_steps to go on"
    elif recipe.budget_hours and seconds >= 3600 * recipe.budget_hours:
        title = f"finished at step {start:,}, its time is over; raise budget_hours to go on"
    num_held_out = len(corpus.held_out_documents)
    trained_on = sum(map(corpus.count_tokens, corpus.train_documents_of(parts.text.names)))
    console.table(
        title,
        [
            ("devices", describe_devices()),
            ("parameters", f"{sum(leaf.size for leaf in jax.tree.leaves(state.params)):,}"),
            ("corpus", f"{corpus.num_tokens:,} tokens in {corpus.num_documents:,} documents"),
            (
                "held out",
                f"{corpus.num_tokens - trained_on:,} tokens in {num_held_out:,} documents"
                if num_held_out
                else "nothing, there are too few documents; no evaluation",
            ),
            ("unknown tokens", f"{corpus.manifest['unknown'] / corpus.num_tokens:.2%}"),
        ],
    )


def _announce(console: Console, parts: Parts, stage: Stage, batches: Batches) -> None:
    """The table before each stage."""
    title = "the run" if stage.of == 1 else f"phase {stage.number} of {stage.of}"
    steps = stage.last_step - stage.first_step
    console.table(
        title,
        [
            ("steps", f"{steps:,} of {stage.batch_size} × {stage.seq_len} tokens"),
            ("padding", f"{batches.padding_share:.0%} of these tokens"),
            *epochs_of(parts, stage, batches),
        ],
    )
    negative_share = batches.mixture.negative_share
    if batches.pairs.task == "NSP" and negative_share > _ONE_LABEL:
        console.warn(
            f"{negative_share:.0%} of the sentence pairs are random ones, for hardly any "
            "row holds two sentences of its document; next-sentence prediction has nothing to tell "
            "apart: use --config.pairs.negatives=swapped or --config.pairs.nsp=False"
        )


def _show_result(
    console: Console,
    run: RunFolder,
    parts: Parts,
    state: TrainState,
    prepared: tuple[Tokenizer, Corpus],
) -> None:
    """What came of it."""
    tokenizer, corpus = prepared
    reported = read_metrics(run.path / "metrics.jsonl")
    if evaluations := [row for row in reported if row["split"] == "held_out"]:
        title = f"held-out: {len(corpus.held_out_documents)} documents never trained on"
        console.table(title, describe(evaluations[-1], task=parts.pairs.task))
        bert = Pretrained(parts.model, jax.device_get(state.params), tokenizer)
        show_examples(console, bert, corpus, max_tokens=parts.stages[-1].seq_len - 2)
    console.say(f"saved in {run.path}: checkpoints, metrics.jsonl, curves.png, TensorBoard events")
    console.say(f'try it: python -m bert_jax.fill_mask --model {run.path} "a [MASK] of text"')


def main(arguments: list[str]) -> None:
    """Parses the command line and trains."""
    parser = cli.Parser(
        "train",
        "Pretrains BERT. The same command again goes on where the run stands. Any value of the "
        "config is set as --config.SECTION.KEY=VALUE. On several machines the same command is "
        "given on each, see launch/.",
        example="python -m bert_jax.train --config configs/tiny.py --workdir runs/tiny "
        "--config.total_steps=200",
    )
    add_run(parser)
    add_training(parser)
    options, overrides = parser.parse_known_args(arguments)
    with started(parser, options) as (processes, stopping), ExitStack() as stack:
        recipe, run = open_run(options, overrides)
        console = Console(quiet=options.quiet, silent=not processes.is_first)
        if processes.is_first:
            stack.enter_context(run.locked())
        stack.enter_context(kept_programs(run.compilation_cache, console.warn))
        stopped = train(
            recipe, run, console, processes=processes, stopping=stopping, options=options
        )
    # Not before all processes have left: what is raised among them ends the others.
    if stopped:
        raise stopped


if __name__ == "__main__":
    cli.run(main)
