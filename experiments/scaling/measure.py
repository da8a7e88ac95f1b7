"""Checks the model of `model.py` against real processes on this machine, joined by gloo.

  python -m experiments.scaling.measure

Of n processes with a device each, all at once, it times

  alone             the train step of each on its own device: it computes with n - 1 others
                    beside it, but nothing is reduced
  float32, …        the same step over the devices of all, with every kind of reduction
  sums              of arrays of several sizes, and of the gradients' tensors, over all devices

Fewer cores than processes make all of it slower, and alike. Latency and bandwidth are fitted to the
sums of arrays; "alone" and these two predict the step. Takes some seven minutes on two busy cores,
nearly all of it to compile.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import SIZES, BertConfig
from bert_jax.speed.synthetic import synthetic_batch
from bert_jax.training.objectives import pretraining
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import (
    Parallelism,
    all_devices,
    make_notes,
    parallel_eval_step,
    parallel_train_step,
    place,
    shard_batch,
)
from bert_jax.training.processes import joined
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import TrainState, init_state, make_train_step
from experiments.scaling.model import FLOAT32, Links, all_reduce_seconds, sent_bytes

ROWS = {"tiny": 4, "mini": 2}  # of a device
SEQ_LEN = 64
KINDS = {
    "float32": Parallelism(),
    "bfloat16": Parallelism(reduce_dtype="bfloat16"),
    "sharded": Parallelism(shard_optimizer=True),
}
KILOBYTES = (4, 64, 256, 1024, 4096, 16_384, 65_536)
# Beside one for each tensor of the gradients: of the counts and sums (read in the compiled step).
# On a CPU XLA makes one all-reduce of all tensors, and gloo is still called for each.
SMALL_MESSAGES = 3
REPEATS = 3


def config_of(size: str) -> BertConfig:
    """BERT's vocabulary, so that gradients are large beside the arithmetic."""
    return BertConfig(vocab_size=30_522, **SIZES[size])


def fresh(size: str) -> TrainState:
    """A whole state, all zeros: what it computes does not matter here."""
    init = partial(init_state, BertForPreTraining(config_of(size)), make_optimizer())
    shapes = jax.eval_shape(init, stream_key(0, Stream.INIT))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


class Runner:
    """Times things in all processes at once."""

    def __init__(self, rounds: int):
        self.rounds = rounds
        self.everywhere = all_devices()
        self.here = [jax.local_devices()[0]]
        self._meet = self.sum_over_all()
        self._nothing = jnp.zeros(())

    def sum_over_all(self) -> Callable[[PyTree], PyTree]:
        """Adds a tree up over the devices of all processes."""
        batch = {"rows": np.zeros((1, 1), "float32")}
        step = parallel_eval_step(lambda tree, _, to: to.all_sum(tree), self.everywhere)
        return lambda tree: step(tree, batch)

    def seconds(self, *functions: Callable[[], Any]) -> list[list[float]]:
        """Of each function in every round, one round after the other; all processes begin together.

        So what else the machine does meets them alike.
        """
        found: list[list[float]] = [[] for _ in functions]
        for round_number in range(self.rounds + 1):
            for times, function in zip(found, functions, strict=True):
                jax.block_until_ready(self._meet(self._nothing))
                begin = time.perf_counter()
                for _ in range(REPEATS):
                    jax.block_until_ready(function())
                if round_number:  # the first one compiles
                    times.append((time.perf_counter() - begin) / REPEATS)
        return found

    def step(self, size: str, parallelism: Parallelism, *, alone: bool) -> Callable[[], Any]:
        """The train step of a device's rows, over this device or all."""
        devices = self.here if alone else self.everywhere
        model, optimizer = BertForPreTraining(config_of(size)), make_optimizer()
        state = place(fresh(size), devices, parallelism)
        train_step = make_train_step(pretraining(model), optimizer, lambda *_: 1e-4)
        step = parallel_train_step(train_step, devices, state, parallelism)
        host_batch = synthetic_batch(config_of(size), batch_size=ROWS[size], seq_len=SEQ_LEN)
        batch = shard_batch(host_batch, self.here)
        notes, key = make_notes(devices), stream_key(0, Stream.DROPOUT)

        def run() -> Any:
            nonlocal state
            state, sums, _ = step(state, batch, notes, key)
            return sums, state.params

        return run

    def update(self, size: str) -> Callable[[], Any]:
        """The optimizer's part of a step: sharded, each process does a share of it."""
        state = fresh(size)
        update = jax.jit(make_optimizer().update)
        return lambda: update(state.params, state.opt_state, state.params)


def work(rounds: int, sizes: list[str]) -> dict[str, Any]:
    """What one process measures of these models, in seconds; all call it at once."""
    runner = Runner(rounds)
    sums: dict[int, list[float]] = {}
    for kilobytes in KILOBYTES if len(runner.everywhere) > 1 else ():
        array = jnp.zeros(kilobytes * 250)
        add = runner.sum_over_all()
        (sums[kilobytes],) = runner.seconds(partial(add, array))
    steps = {}
    for size in sizes:
        functions = {
            "alone": runner.step(size, Parallelism(), alone=True),
            "update": runner.update(size),
        }
        if len(runner.everywhere) > 1:
            add, gradients = runner.sum_over_all(), jax.tree.map(jnp.zeros_like, fresh(size).params)
            functions["sum"] = partial(add, gradients)
            for kind, parallelism in KINDS.items():
                functions[kind] = runner.step(size, parallelism, alone=False)
        steps[size] = dict(zip(functions, runner.seconds(*functions.values()), strict=True))
    return {"sums": sums, "steps": steps}


def run_processes(count: int, rounds: int, sizes: list[str]) -> list[dict[str, Any]]:
    """What each of so many processes measured."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.scaling.measure", "--rounds", str(rounds)]
    command += ["--worker", "--size", *sizes]
    started = []
    for index in range(count):
        place_of_it = {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
        }
        started.append(
            subprocess.Popen(
                command,
                env=os.environ | place_of_it,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"one of {count} processes failed; see above")
    return [json.loads(text.splitlines()[-1]) for text in printed]


class Spread(NamedTuple):
    """A median, the fastest and the slowest, in milliseconds."""

    median: float
    fastest: float
    slowest: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.fastest:.1f}-{self.slowest:.1f})"


def spread(processes: list[list[float]]) -> Spread:
    """Over the rounds, each as slow as its slowest process."""
    rounds = [1e3 * max(times) for times in zip(*processes, strict=True)]
    return Spread(statistics.median(rounds), min(rounds), max(rounds))


def fit(sums: dict[int, Spread], count: int) -> Links:
    """Latency and bandwidth that give the medians, least squares of relative errors."""
    rows = [
        (1, sent_bytes(kb * 250, count, gather_bytes=FLOAT32, reduce_bytes=FLOAT32)) for kb in sums
    ]
    seconds = np.array([found.median / 1e3 for found in sums.values()])
    scaled = np.array(rows, float) / seconds[:, None]
    latency, inverse = np.linalg.lstsq(scaled, np.ones(len(seconds)), rcond=None)[0]
    return Links(bandwidth=1 / inverse, latency=max(0.0, latency))


def predict(
    size: str, kind: str, *, alone: float, update: float, count: int, links: Links
) -> float:
    """Seconds of the reduced step.

    Args:
      size: of the model.
      kind: of reduction.
      alone: seconds of the step without one, as many processes computing.
      update: seconds of the optimizer's part in it.
      count: of processes.
      links: as fitted.
    """
    tensors = jax.tree.leaves(jax.eval_shape(partial(fresh, size)).params)
    num_bytes = (2 if kind == "bfloat16" else FLOAT32) * sum(leaf.size for leaf in tensors)
    if kind == "sharded":  # a reduce-scatter and an all-gather are half an all-reduce each
        alone -= (1 - 1 / count) * update
    return alone + all_reduce_seconds(len(tensors) + SMALL_MESSAGES, num_bytes, count, links)


def report(console: Console, count: int, workers: list[dict[str, Any]]) -> None:
    """Prints the tables of so many processes."""
    console.say(f"\n{count} process{'es' if count > 1 else ''}, one device each")
    sums = {int(kb): spread([w["sums"][kb] for w in workers]) for kb in workers[0]["sums"]}
    if sums:
        links = fit(sums, count)
        console.say(
            f"gloo: {links.latency * 1e3:.2f} ms a message, {links.bandwidth / 1e9:.2f} GB/s"
        )
        rows = []
        for kb, found in sums.items():
            fitted = 1e3 * all_reduce_seconds(1, kb * 1000, count, links)
            rows.append(
                (f"{kb:,}", str(found), f"{fitted:.1f}", f"{fitted / found.median - 1:+.0%}")
            )
        console.grid(("sum of kB", "ms, median (range)", "fitted", "error"), rows)
        console.say()
    lines: list[tuple[str, ...]] = []
    for size, names in workers[0]["steps"].items():
        times = {
            name: spread([worker["steps"][size][name] for worker in workers]) for name in names
        }
        alone, update = times["alone"].median, times["update"].median
        lines += [(f"{size} {name}", str(times[name])) for name in ("alone", "update")]
        if not sums:
            continue
        added = times["sum"].median
        lines.append((f"{size} sum of gradients", str(times["sum"])))
        for kind in KINDS:
            guess = 1e3 * predict(
                size, kind, alone=alone / 1e3, update=update / 1e3, count=count, links=links
            )
            real = times[kind].median
            line = [f"{size} {kind}", str(times[kind]), f"{guess:.1f}", f"{guess / real - 1:+.0%}"]
            if kind == "float32":
                line += [f"{alone + added:.1f}", f"{(alone + added) / real - 1:+.0%}"]
            lines.append(tuple(line))
    header = ("step", "ms, median (range)", "predicted", "error", "alone + sum", "error")
    console.grid(header, [line + ("",) * (len(header) - len(line)) for line in lines])


def main(arguments: list[str]) -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="example:\n  python -m experiments.scaling.measure --processes 2 --rounds 7",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="default: 1 2 4"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help=f"of {REPEATS} repeats each (default: 7)"
    )
    parser.add_argument("--size", nargs="+", choices=ROWS, default=["tiny"], help="default: tiny")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all times")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        with joined(timeout=120):
            found = work(options.rounds, options.size)
        print(json.dumps(found))
        return
    console = Console()
    kept = {}
    for count in options.processes:
        kept[count] = run_processes(count, options.rounds, options.size)
        report(console, count, kept[count])
    if options.json:
        options.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    cli.run(main)
