"""What training commands share: their flags, other processes, where a run stands, its loop."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.training.checkpoint import Checkpoints, set_damaged_aside
from bert_jax.training.compilation import Compilations, set_flags
from bert_jax.training.loop import Loop, Progress, Settings
from bert_jax.training.metrics import MetricsLog
from bert_jax.training.parallel import Devices, Parallelism, all_devices, place
from bert_jax.training.processes import Processes, joined
from bert_jax.training.profiling import Profile
from bert_jax.training.run_folder import RunFolder, differences, versions
from bert_jax.training.steps import TrainState
from bert_jax.training.stopping import Stopping
from bert_jax.training.throughput import Pace, peak_flops
from bert_jax.training.wandb_run import require_wandb
from bert_jax.training.watchdog import Watchdog


def add_training(parser: cli.Parser) -> None:
    """The flags of how a command trains."""
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


@contextmanager
def started(
    parser: cli.Parser, options: argparse.Namespace
) -> Iterator[tuple[Processes, Stopping]]:
    """Checks the flags of `add_training`, and joins the other processes.

    Raises:
      UserError: a flag that cannot be, or processes that did not come.
    """
    for name in ("join_timeout", "step_timeout"):
        if not (value := getattr(options, name)) > 0:
            parser.error(f"--{name.replace('_', '-')} is {value:g}; it must be positive")
    if options.profile < 0:
        parser.error(f"--profile is {options.profile}; it must not be negative")
    if options.wandb:
        require_wandb()
    set_flags()
    with Stopping() as stopping, joined(timeout=options.join_timeout) as processes:
        yield processes, stopping


def begin_run(run: RunFolder, config: dict[str, Any], processes: Processes) -> tuple[Devices, Pace]:
    """Starts the clock, and checks that all processes mean the same run.

    Args:
      run: whose.
      config: the resolved one.
      processes: of the run.

    Raises:
      UserError: another process has another config, or another folder.
    """
    devices = all_devices()
    pace = Pace(
        device=jax.local_devices()[0],
        peak_flops=peak_flops(devices[0].device_kind, len(devices)),
    )
    processes.compare("config", {"config": config, "versions": versions()}, differences)
    processes.check_shared(run.path)
    return devices, pace


class Restored(NamedTuple):
    """Where a run stands.

    Attributes:
      state: on the devices.
      like: the shapes of a whole one.
      progress: what else its checkpoint holds.
      checkpoints: to save in; to be closed.
      damage: a line for each checkpoint that had to be set aside.
    """

    state: TrainState
    like: TrainState
    progress: Progress
    checkpoints: Checkpoints
    damage: list[str]


def restore(
    run: RunFolder,
    init: Callable[[], TrainState],
    devices: Devices,
    parallelism: Parallelism,
    processes: Processes,
) -> Restored:
    """The newest checkpoint of a run, or its beginning.

    Args:
      run: whose.
      init: gives the state before the first step; compiled.
      devices: of all processes.
      parallelism: how the state is spread over them.
      processes: of the run.
    """
    like = jax.eval_shape(init)
    with processes.first_goes_first("checkpoints"):
        damage = set_damaged_aside(run.checkpoints) if processes.is_first else []
    checkpoints = Checkpoints(run.checkpoints, processes=processes)
    if checkpoints.latest_step is None:
        state, progress = init(), Progress()
    else:
        state, saved = checkpoints.restore(like)
        progress = Progress(**saved)
    processes.compare("checkpoint", {"step": int(state.step)}, differences)
    return Restored(place(state, devices, parallelism), like, progress, checkpoints, damage)


@contextmanager
def open_loop(
    run: RunFolder,
    restored: Restored,
    settings: Settings,
    *,
    config: dict[str, Any],
    key: Key[Array, ""],
    devices: Devices,
    parallelism: Parallelism,
    processes: Processes,
    console: Console,
    stopping: Stopping,
    pace: Pace,
    options: argparse.Namespace,
) -> Iterator[tuple[Loop, Any]]:
    """The loop of a run from where it stands, and its progress bar.

    Args:
      run: whose.
      restored: of `restore`.
      settings: when to do what.
      config: the resolved one, for Weights & Biases.
      key: root key of the dropout stream.
      devices: of all processes.
      parallelism: how the state is spread over them.
      processes: of the run.
      console: shows progress.
      stopping: whether to stop.
      pace: keeps the time.
      options: flags of `add_training`.
    """
    start = int(restored.state.step)
    with ExitStack() as stack:
        stack.enter_context(closing(restored.checkpoints))
        compilations = stack.enter_context(Compilations())
        metrics = None
        if processes.is_first:
            log = MetricsLog(run.path, start_step=start, wandb_project=options.wandb, config=config)
            metrics = stack.enter_context(closing(log))
            for line in restored.damage:
                console.warn(f"{line}; going on from step {start:,}")
                metrics.event(start, "older_checkpoint", damage=line)
        watchdog = Watchdog(seconds=options.step_timeout, on_hang=processes.abandon)
        stack.enter_context(watchdog)
        traced = options.profile if processes.is_first else 0
        profile = stack.enter_context(closing(Profile(run.path, steps=traced)))
        bar = stack.enter_context(
            console.bar("training", total=settings.total_steps, initial=start, unit="step")
        )
        yield (
            Loop(
                folder=run.path,
                settings=settings,
                progress=restored.progress,
                like=restored.like,
                key=key,
                devices=devices,
                parallelism=parallelism,
                processes=processes,
                console=console,
                stopping=stopping,
                checkpoints=restored.checkpoints,
                metrics=metrics,
                pace=pace,
                watchdog=watchdog,
                profile=profile,
                compilations=compilations,
            ),
            bar,
        )
