"""Pretraining, in order: build, restore, then step, report, evaluate, save.

python -m bert_jax.train --config configs/tiny.py --workdir runs/tiny
"""

import argparse
import dataclasses
from contextlib import ExitStack, closing
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
from bert_jax.tokenizers import Tokenizer
from bert_jax.training.checkpoint import Checkpoints, set_damaged_aside
from bert_jax.training.compilation import Compilations, kept_programs, set_flags
from bert_jax.training.curves import draw_curves
from bert_jax.training.evaluation import describe, evaluate, held_out_batches
from bert_jax.training.examples import show_examples
from bert_jax.training.loop import Loop, Progress, Settings, Work
from bert_jax.training.metrics import MetricsLog, read_metrics
from bert_jax.training.parallel import (
    all_devices,
    describe_devices,
    local_rows,
    parallel_eval_step,
    parallel_train_step,
    place,
)
from bert_jax.training.phases import Stage, rate_of
from bert_jax.training.processes import Processes, joined
from bert_jax.training.profiling import Profile
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder, differences, versions
from bert_jax.training.steps import TrainState, init_state, make_eval_step, make_train_step
from bert_jax.training.stopping import Stopping
from bert_jax.training.throughput import Pace, peak_flops
from bert_jax.training.wandb_run import require_wandb
from bert_jax.training.watchdog import Watchdog

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
    devices = all_devices()
    pace = Pace(
        device=jax.local_devices()[0],
        peak_flops=peak_flops(devices[0].device_kind, len(devices)),
    )

    # Build what needs no text; then text to tokens, once.
    asked = {"config": dataclasses.asdict(recipe), "versions": versions()}
    processes.compare("config", asked, differences)
    processes.check_shared(run.path)
    parts = build(recipe, run, console)
    with processes.first_goes_first("text"):
        tokenizer, corpus = prepare_text(recipe, parts, run, console)
    hashes = {"tokenizer": tokenizer.hash, "corpus": corpus.hash}
    processes.compare("text", hashes, differences)

    # Restore, or begin.
    init = jax.jit(
        partial(init_state, parts.model, parts.optimizer, stream_key(recipe.seed, Stream.INIT))
    )
    like = jax.eval_shape(init)
    with processes.first_goes_first("checkpoints"):
        damage = set_damaged_aside(run.checkpoints) if processes.is_first else []
    checkpoints = Checkpoints(run.checkpoints, processes=processes)
    if checkpoints.latest_step is None:
        state, progress = init(), Progress()
    else:
        state, saved = checkpoints.restore(like)
        progress = Progress(**saved)
    start = int(state.step)
    processes.compare("checkpoint", {"step": start}, differences)
    state = place(state, devices, parts.parallelism)
    _summarize(console, recipe, parts, corpus, state, seconds=progress.seconds)

    # Train, stage by stage.
    with ExitStack() as stack:
        stack.enter_context(closing(checkpoints))
        compilations = stack.enter_context(Compilations())
        metrics = None
        if processes.is_first:
            log = MetricsLog(
                run.path,
                start_step=start,
                wandb_project=options.wandb,
                config=dataclasses.asdict(recipe),
            )
            metrics = stack.enter_context(closing(log))
            for line in damage:
                console.warn(f"{line}; going on from step {start:,}")
                metrics.event(start, "older_checkpoint", damage=line)
        watchdog = Watchdog(seconds=options.step_timeout, on_hang=processes.abandon)
        stack.enter_context(watchdog)
        profile = stack.enter_context(
            closing(Profile(run.path, steps=options.profile if processes.is_first else 0))
        )
        bar = stack.enter_context(
            console.bar("training", total=recipe.total_steps, initial=start, unit="step")
        )
        loop = Loop(
            folder=run.path,
            settings=Settings(
                log_every_steps=recipe.log_every_steps,
                eval_every_steps=recipe.eval_every_steps,
                checkpoint_every_steps=recipe.checkpoint_every_steps,
                total_steps=recipe.total_steps,
                budget_seconds=3600 * recipe.budget_hours,
                skip_nonfinite=recipe.skip_nonfinite,
                step_timeout=options.step_timeout,
            ),
            progress=progress,
            like=like,
            key=stream_key(recipe.seed, Stream.DROPOUT),
            devices=devices,
            parallelism=parts.parallelism,
            processes=processes,
            console=console,
            stopping=stopping,
            checkpoints=checkpoints,
            metrics=metrics,
            pace=pace,
            watchdog=watchdog,
            profile=profile,
            compilations=compilations,
        )
        for stage in parts.stages:
            if int(state.step) >= stage.last_step or loop.is_over:
                continue
            if int(state.step) == stage.first_step and stage.moments == "reset":
                fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.opt_state)
                whole = TrainState(state.step, state.params, fresh)
                state = place(whole, devices, parts.parallelism)
            batches = stage_batches(recipe, parts, stage, run, (tokenizer, corpus))
            _announce(console, parts, stage, batches)
            work = _work(parts, stage, batches, state)
            pace.begin_phase(
                tokens_per_step=stage.batch_size * stage.seq_len,
                flops_per_token=training_flops_per_token(
                    parts.model.config,
                    seq_len=stage.seq_len,
                    num_predictions=parts.masking.max_predictions(
                        stage.seq_len, parts.pairs.examples_per_row
                    ),
                ),
            )
            stopping.deferred = True
            state = loop.run(state, work, bar)
    console.table("wall time", pace.summary())
    if loop.is_stopped and int(state.step) < recipe.total_steps:
        return stopping.explain(int(state.step))  # at once: the machine may be about to go
    if processes.is_first:
        draw_curves(run.path)
        _show_result(console, run, parts, state, (tokenizer, corpus))
    return None


def _work(parts: Parts, stage: Stage, batches: Batches, state: TrainState) -> Work:
    """What the loop needs of a stage."""
    devices, parallelism = all_devices(), parts.parallelism
    rows = local_rows(stage.batch_size, stage.micro_batch_size)
    step = make_train_step(
        parts.model,
        parts.optimizer,
        rate_of(stage),
        micro_batch_size=stage.micro_batch_size,
    )
    held_out = held_out_batches(batches.corpus, batches.tokenizer, pairs=batches.pairs, stage=stage)
    evaluation = None
    if held_out:
        eval_step = parallel_eval_step(make_eval_step(parts.model), devices)
        evaluation = partial(evaluate, eval_step, batches=held_out, devices=devices)
    return Work(
        step=parallel_train_step(step, devices, state, parallelism),
        first_step=stage.first_step,
        batches=make_dataset(partial(batches.batch, rows=rows), int(state.step), stage.last_step),
        last_step=stage.last_step,
        evaluate=evaluation,
        example=batches.batch,
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
    parser.add_argument(
        "--join-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to wait for the other processes of the run (default: 300)",
    )
    parser.add_argument(
        "--step-timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="ends a run that makes no step for so long, and shows where it hangs (default: 1800)",
    )
    parser.add_argument(
        "--profile",
        type=int,
        default=0,
        metavar="STEPS",
        help="trace so many steps into the run folder",
    )
    parser.add_argument("--wandb", metavar="PROJECT", help="report to Weights & Biases too")
    options, overrides = parser.parse_known_args(arguments)
    for name in ("join_timeout", "step_timeout"):
        if not (value := getattr(options, name)) > 0:
            parser.error(f"--{name.replace('_', '-')} is {value:g}; it must be positive")

    if options.profile < 0:
        parser.error(f"--profile is {options.profile}; it must not be negative")
    if options.wandb:
        require_wandb()
    set_flags()
    with Stopping() as stopping:
        with joined(timeout=options.join_timeout) as processes, ExitStack() as stack:
            recipe, run = open_run(options, overrides)
            console = Console(quiet=options.quiet, silent=not processes.is_first)
            if processes.is_first:
                stack.enter_context(run.locked())
            stack.enter_context(kept_programs(run.compilation_cache, console.warn))
            stopped = train(
                recipe, run, console, processes=processes, stopping=stopping, options=options
            )
        if stopped:
            raise stopped


if __name__ == "__main__":
    cli.run(main)
