"""Pretraining, in order: build, restore, then step, report, evaluate, save.

python -m bert_jax.train --config configs/tiny.py --workdir runs/tiny
"""

import math
import os
import signal
import sys
from contextlib import closing
from functools import partial
from types import FrameType

import jax

from bert_jax import cli
from bert_jax.console import Console, duration
from bert_jax.data.batches import Batches
from bert_jax.data.pipeline import make_dataset
from bert_jax.errors import UserError
from bert_jax.model.sizes import training_flops_per_token
from bert_jax.pretrained import Pretrained
from bert_jax.recipe import Recipe, build, epochs_of, parse_run, prepare_batches
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.curves import draw_curves
from bert_jax.training.evaluation import describe, evaluate, held_out_batches
from bert_jax.training.examples import show_examples
from bert_jax.training.metrics import MetricsLog, Window, read_metrics
from bert_jax.training.parallel import (
    describe_devices,
    parallel_eval_step,
    parallel_train_step,
    replicate,
    shard_batch,
)
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.steps import TrainState, init_state, make_eval_step, make_train_step
from bert_jax.training.throughput import Pace, peak_flops

# Steps until the pace is steady enough for a forecast.
_FORECAST_AFTER = 10

# Share of random pairs from which nothing is left to tell apart; Google's procedure gives 57 %
# where documents have many sentences, and 100 % where they have one.
_ONE_LABEL = 0.95


class _Interruption:
    """Ctrl-C, as a context: while steps are made it waits for the step's end and a save.

    Before that it raises as usual, and a second one ends the process at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.deferred = False

    def __enter__(self) -> "_Interruption":
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        if self.requested:
            print("interrupted twice; what was saved before is whole", file=sys.stderr)
            os._exit(cli.INTERRUPTED)
        # Remembered also when raising: a KeyboardInterrupt inside one of JAX's callbacks is lost.
        self.requested = True
        if not self.deferred:
            signal.default_int_handler(signal_number, frame)


def train(recipe: Recipe, run: RunFolder, console: Console, interruption: _Interruption) -> None:
    """Pretrains from where the run folder stands to the last step.

    Raises:
      UserError: a recipe that cannot work, a run folder that belongs to another, bad text.
      KeyboardInterrupt: Ctrl-C, after saving.
    """
    devices = jax.local_devices()

    # Build what needs no text; then text to tokens, once, and tokens to batches, by number.
    parts = build(recipe, run, console)
    rows, pairs, masking, model = parts.rows, parts.pairs, parts.masking, parts.model
    schedule, optimizer = parts.schedule, parts.optimizer
    batches = prepare_batches(recipe, parts, run, console)
    corpus, tokenizer = batches.corpus, batches.tokenizer
    held_out = held_out_batches(corpus, tokenizer, pairs=pairs, batch_size=recipe.batch_size)

    # Restore, or begin.
    init = jax.jit(partial(init_state, model, optimizer, stream_key(recipe.seed, Stream.INIT)))
    checkpoints = Checkpoints(run.checkpoints)
    if checkpoints.latest_step is None:
        state, window = init(), Window()
    else:
        state, progress = checkpoints.restore(jax.eval_shape(init))
        window = Window(progress["window"])
    start = int(state.step)
    state = replicate(state, devices)
    metrics = MetricsLog(run.path, start_step=start)
    pace = Pace(
        tokens_per_step=recipe.batch_size * pairs.seq_len,
        flops_per_token=training_flops_per_token(
            model.config,
            seq_len=pairs.seq_len,
            num_predictions=masking.max_predictions(pairs.seq_len),
        ),
        peak_flops=peak_flops(devices[0].device_kind, jax.device_count()),
    )
    _summarize(console, recipe, batches, state, start)

    # Step, report, evaluate, save.
    train_step = parallel_train_step(make_train_step(model, optimizer, schedule), devices)
    eval_step = parallel_eval_step(make_eval_step(model), devices)
    dropout_key = stream_key(recipe.seed, Stream.DROPOUT)
    dataset = make_dataset(partial(batches.batch, rows=rows), start, recipe.total_steps)
    interruption.deferred = True
    with (
        closing(metrics),
        closing(checkpoints),
        console.bar("training", total=recipe.total_steps, initial=start, unit="step") as bar,
    ):
        for step, batch in enumerate(dataset, start + 1):
            state, sums = train_step(state, shard_batch(batch, devices), dropout_key)
            window.add(sums)
            pace.step(sums)
            bar.update()
            if step == start + _FORECAST_AFTER:
                seconds = pace.seconds_per_step() * (recipe.total_steps - step)
                console.say(f"expected time: {duration(seconds)}, and that of the evaluations")
            is_last = step == recipe.total_steps
            if step % recipe.log_every_steps == 0 or is_last:
                figures = window.means() | pace.figures()
                _check_finite(step, figures, checkpoints)
                metrics.write(step, "train", figures)
                bar.set_postfix_str(_brief(figures))
                if console.quiet:
                    console.say(f"step {step:,} of {recipe.total_steps:,}: {_brief(figures)}")
                window = Window()
            if held_out and (step % recipe.eval_every_steps == 0 or is_last):
                with pace.paused():
                    figures = evaluate(eval_step, state.params, held_out, devices)
                    metrics.write(step, "held_out", figures)
                    draw_curves(run.path)
            if step % recipe.checkpoint_every_steps == 0 or is_last or interruption.requested:
                with pace.paused():
                    _check_finite(step, window.means(), checkpoints)
                    metrics.flush()
                    checkpoints.save(state, {"window": window.totals()})
            if interruption.requested:
                break
    draw_curves(run.path)
    if interruption.requested:
        step = int(state.step)
        raise KeyboardInterrupt(
            f"interrupted and saved at step {step:,}; the same command goes on from there"
        )

    # What came of it.
    reported = read_metrics(run.path / "metrics.jsonl")
    if evaluations := [row for row in reported if row["split"] == "held_out"]:
        title = f"held-out: {len(corpus.held_out_documents)} documents never trained on"
        console.table(title, describe(evaluations[-1], task=pairs.task))
        bert = Pretrained(model, jax.device_get(state.params), tokenizer)
        show_examples(console, bert, corpus, max_tokens=pairs.seq_len - 2)
    console.say(f"saved in {run.path}: checkpoints, metrics.jsonl, curves.png, TensorBoard events")
    console.say(f'try it: python -m bert_jax.fill_mask --model {run.path} "a [MASK] of text"')


def _summarize(
    console: Console, recipe: Recipe, batches: Batches, state: TrainState, start: int
) -> None:
    """The table at the start."""
    corpus = batches.corpus
    title = "pretraining" if not start else f"resuming at step {start:,}"
    if start >= recipe.total_steps:
        title = f"finished at step {start:,}; raise total_steps to go on"
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    num_held_out = len(corpus.held_out_documents)
    trained_on = sum(corpus.count_tokens(source.documents) for source in batches.mixture.sources)
    console.table(
        title,
        [
            ("devices", describe_devices()),
            ("parameters", f"{num_parameters:,}"),
            (
                "corpus",
                f"{corpus.num_tokens:,} tokens in {corpus.num_documents:,} documents",
            ),
            (
                "held out",
                f"{corpus.num_tokens - trained_on:,} tokens in {num_held_out:,} documents"
                if num_held_out
                else "nothing, there are too few documents; no evaluation",
            ),
            ("unknown tokens", f"{corpus.manifest['unknown'] / corpus.num_tokens:.2%}"),
            (
                "steps",
                f"{recipe.total_steps:,} of {recipe.batch_size} × {batches.pairs.seq_len} tokens",
            ),
            ("padding", f"{batches.padding_share:.0%} of these tokens"),
            *epochs_of(recipe, batches),
        ],
    )
    negative_share = batches.mixture.negative_share
    if batches.pairs.task == "NSP" and negative_share > _ONE_LABEL:
        console.warn(
            f"{negative_share:.0%} of the sentence pairs are random ones, for hardly any "
            "row holds two sentences of its document; next-sentence prediction has nothing to tell "
            "apart: use --config.pairs.negatives=swapped or --config.pairs.nsp=False"
        )


def _brief(figures: dict[str, float]) -> str:
    """The figures beside the progress bar."""
    parts = [f"mlm {figures['mlm_loss']:.3f}"]
    if "nsp_loss" in figures:
        parts.append(f"nsp {figures['nsp_loss']:.3f}")
    if "tokens_per_second" in figures:
        parts.append(f"{figures['tokens_per_second'] / 1000:,.1f}k tokens/s")
    if "mfu" in figures:
        parts.append(f"MFU {figures['mfu']:.1%}")
    return ", ".join(parts)


def _check_finite(step: int, figures: dict[str, float], checkpoints: Checkpoints) -> None:
    """Stops a run that diverged, before it is saved over what was good."""
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        last = checkpoints.latest_step
        kept = "nothing was saved yet" if last is None else f"step {last} is the last one saved"
        raise UserError(
            f"{wrong[0]} is {figures[wrong[0]]} by step {step}: training diverged; {kept}; try a "
            "lower schedule.peak_learning_rate or a longer warm-up in another --workdir"
        )


def main(arguments: list[str]) -> None:
    """Parses the command line and trains."""
    parser = cli.Parser(
        "train",
        "Pretrains BERT. The same command again goes on where the run stands. Any value of the "
        "config is set as --config.SECTION.KEY=VALUE.",
        example="python -m bert_jax.train --config configs/tiny.py --workdir runs/tiny "
        "--config.total_steps=200",
    )
    _, recipe, run, console = parse_run(parser, arguments)
    with _Interruption() as interruption, run.locked():
        train(recipe, run, console, interruption)


if __name__ == "__main__":
    cli.run(main)
