"""How fast a run's input pipeline is, alone and beside the step that it feeds."""

import dataclasses
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

from bert_jax.console import Console
from bert_jax.data.batches import Batch, Batches
from bert_jax.data.pipeline import make_dataset
from bert_jax.recipe import Parts, Recipe, build, prepare_text, stage_batches
from bert_jax.speed.timing import JaxStep, step_seconds, warm_up
from bert_jax.training.parallel import all_devices
from bert_jax.training.phases import Stage
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.throughput import Pace

# What one H100 takes of a base model in bfloat16, T = 128, at 45 % MFU: 0.45 · 989e12 FLOP/s
# by the 545e6 of a token.
DEVICE_RATE = 0.8e6
_SECONDS = 2.0  # that each rate is measured for

Value = TypeVar("Value")


class Rate(NamedTuple):
    """Tokens a second, with padding and without."""

    tokens: float
    real_tokens: float


def measure_input(
    recipe: Recipe, run: RunFolder, console: Console, *, num_steps: int, warmup_seconds: float
) -> list[dict]:
    """Measures every stage of a run; the run itself makes no step.

    Returns:
      Of each stage, in seconds: `planning_seconds` of its first epoch, `first_batch_seconds`,
      and `resuming_seconds` of a run that goes on at the last step, both together. In tokens a
      second: `core_tokens_per_second` and `core_real_tokens_per_second` of one thread, the same
      of `pipeline`, through tf.data on `num_cores`. `cores_for_device`: how many such threads
      feed `DEVICE_RATE`. Of steps on these devices: `fixed_step_ms` with a batch that is there,
      `fed_step_ms` with the pipeline, and `input_stall`, the share of these in which the devices
      waited for it.

    Raises:
      UserError: a recipe that cannot work, bad text.
    """
    parts = build(recipe, run, console)
    prepared = prepare_text(recipe, parts, run, console)
    found = []
    for stage in parts.stages:
        plan = partial(stage_batches, recipe, parts, stage, run, prepared)
        planning, batches = _timed(plan)
        figures: dict = {
            "stage": stage.number,
            "batch_size": stage.batch_size,
            "seq_len": stage.seq_len,
            "planning_seconds": planning,
        }
        figures |= _host_figures(plan, batches, stage)
        figures |= _device_figures(parts, batches, stage, num_steps, warmup_seconds)
        found.append(figures)
    return found


def _timed(function: Callable[[], Value]) -> tuple[float, Value]:
    begin = time.perf_counter()
    value = function()
    return time.perf_counter() - begin, value


def _host_figures(plan: Callable[[], Batches], batches: Batches, stage: Stage) -> dict:
    """The pipeline alone."""
    first, _ = _timed(lambda: batches.batch(stage.first_step))
    resuming, _ = _timed(lambda: plan().batch(stage.last_step - 1))
    core = _rate(map(batches.batch, itertools.count(stage.first_step)))
    pipeline = _rate(make_dataset(batches.batch, stage.first_step, stage.first_step + 10**9))
    return {
        "first_batch_seconds": first,
        "resuming_seconds": resuming,
        "num_cores": len(os.sched_getaffinity(0)),
        "core_tokens_per_second": core.tokens,
        "core_real_tokens_per_second": core.real_tokens,
        "pipeline_tokens_per_second": pipeline.tokens,
        "pipeline_real_tokens_per_second": pipeline.real_tokens,
        "cores_for_device": DEVICE_RATE / core.tokens,
    }


def _rate(batches: Iterable[Batch]) -> Rate:
    """Of batches for a time; the first ones fill queues and are not counted."""
    begin = time.perf_counter()
    tokens = real = 0
    for number, batch in enumerate(batches):
        now = time.perf_counter()
        if number < 10:
            begin = now
            continue
        tokens += batch["input_ids"].size
        real += int(batch["lengths"].sum())
        if now - begin > _SECONDS:
            return Rate(tokens / (now - begin), real / (now - begin))
    raise AssertionError("batches end")


def _device_figures(
    parts: Parts, batches: Batches, stage: Stage, num_steps: int, warmup_seconds: float
) -> dict:
    """The step of the stage with a batch that is there, then with the pipeline."""
    devices = all_devices()
    step = JaxStep(
        parts.model,
        parts.optimizer,
        batches.batch(stage.first_step),
        devices,
        parallelism=dataclasses.replace(parts.parallelism, micro_batch_size=stage.micro_batch_size),
    )
    warm_up(step, warmup_seconds)
    fixed = statistics.median(step_seconds(step, num_steps))
    pace = Pace(device=devices[0], peak_flops=None)
    tokens = stage.batch_size * stage.seq_len
    pace.begin_phase()
    pace.change_shape(tokens, 0.0, compiles=False)  # its arithmetic is of no interest here
    # The first one waits for the pipeline to start, as that of a run does.
    end = stage.first_step + 1 + num_steps
    for batch in pace.timed(make_dataset(batches.batch, stage.first_step, end)):
        pace.step(step.dispatch(batch))
    figures = pace.figures()
    return {
        "fixed_step_ms": fixed * 1e3,
        "fed_step_ms": tokens / figures["tokens_per_second"] * 1e3,
        "input_stall": figures["input_stall"],
    }
