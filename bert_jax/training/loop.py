"""The loop of training: steps, reports, evaluations, saves, and what may go wrong between.

What it decides, all processes decide alike: from their step's number, from the vitals
that every step gives all of them, and by the first process's evaluations.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from bert_jax.console import Console, duration
from bert_jax.errors import DivergenceError, MachineError
from bert_jax.training.best import Best
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.compilation import Compilations
from bert_jax.training.curves import draw_curves
from bert_jax.training.metrics import EventName, MetricsLog, Window
from bert_jax.training.parallel import Devices, Parallelism, make_notes, shard_batch, whole
from bert_jax.training.processes import Processes
from bert_jax.training.profiling import Profile
from bert_jax.training.spikes import SpikeMonitor
from bert_jax.training.steps import TrainState, Vitals
from bert_jax.training.stopping import Stopping
from bert_jax.training.throughput import Pace
from bert_jax.training.watchdog import Watchdog

# Steps until the pace is steady enough for a forecast.
_FORECAST_AFTER = 10

# A save, which waits for the one before, may take longer than a step without being stuck.
_SLOW = 4


@dataclasses.dataclass(kw_only=True)
class Progress:
    """Where a run stands beside its state: kept in its checkpoints, as JSON.

    Attributes:
      window: sums since the last report.
      seconds: of training, those of earlier processes of this run included.
      skipped: updates that were left out because they were not finite.
      spikes: what the monitor of the loss remembers.
      best: the best evaluation, where one is chosen.
    """

    window: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    skipped: int = 0
    spikes: dict[str, Any] = dataclasses.field(default_factory=dict)
    best: dict[str, Any] = dataclasses.field(default_factory=dict)


class Settings(NamedTuple):
    """What the loop does when, in steps if nothing else is said.

    Attributes:
      is_evaluated: whether to evaluate after a step; after the last one in any case.
      total_steps: when it ends.
      budget_seconds: of training, after which it ends as well; 0 for no such budget.
      skip_nonfinite: how many updates may be left out before it stops.
      step_timeout: seconds that a step may take before the run is taken to hang.
    """

    log_every_steps: int
    is_evaluated: Callable[[int], bool]
    checkpoint_every_steps: int
    total_steps: int
    budget_seconds: float
    skip_nonfinite: int
    step_timeout: float


class Choice(NamedTuple):
    """How the best parameters of a run are chosen.

    Attributes:
      figure: of the evaluation, the larger the better.
      keep: `keep(params)` writes down those of the best evaluation so far.
      patience: evaluations without a better one after which the run ends; 0 to go on.
    """

    figure: str
    keep: Callable[[Any], None]
    patience: int


class Work(NamedTuple):
    """What the loop needs of a stage.

    Attributes:
      step: `step(state, batch, notes, key)`, compiled.
      first_step: where the stage begins.
      batches: this process's rows, in order from where the state stands.
      last_step: where the stage ends.
      evaluate: the held-out figures of parameters, None where there is nothing to evaluate.
      example: batch `step` as a whole, to look at what went wrong.
      size: the tokens of the global batch that rows are of, padding included, and the model's
        arithmetic for each, in FLOP.
      choice: of the best parameters, None where the last are what is wanted.
    """

    step: Callable[..., tuple[TrainState, Any, Vitals]]
    first_step: int
    batches: Iterator[dict[str, np.ndarray]]
    last_step: int
    evaluate: Callable[..., dict[str, float]] | None
    example: Callable[[int], dict[str, np.ndarray]]
    size: Callable[[dict[str, np.ndarray]], tuple[int, float]]
    choice: Choice | None = None


@dataclasses.dataclass(kw_only=True)
class Loop:
    """Trains stage after stage until the end, or until it is told to stop.

    Attributes:
      folder: the run's.
      settings: when to do what.
      progress: where the run stands at the beginning.
      like: the shapes of a whole state.
      key: root key of the dropout stream.
      devices: of all processes.
      parallelism: how the state is spread over them.
      processes: of the run.
      console: shows progress.
      stopping: whether to stop.
      checkpoints: to save in.
      metrics: to report to; None in all processes but the first.
      pace: keeps the time.
      watchdog: watches over the steps.
      profile: traces some of them.
      compilations: counts those of this thread.
    """

    folder: Path
    settings: Settings
    progress: Progress
    like: TrainState
    key: Key[Array, ""]
    devices: Devices
    parallelism: Parallelism
    processes: Processes
    console: Console
    stopping: Stopping
    checkpoints: Checkpoints
    metrics: MetricsLog | None
    pace: Pace
    watchdog: Watchdog
    profile: Profile
    compilations: Compilations

    def __post_init__(self) -> None:
        self._window = Window(self.progress.window)
        self._spikes = SpikeMonitor(**self.progress.spikes)
        self.best = Best(**self.progress.best)
        self._skipped = self.progress.skipped
        self._began = time.monotonic() - self.progress.seconds
        self._unseen: tuple[int, Vitals] | None = None
        self._stop = False
        self._budget_spent = self._elapsed() >= 1
        self._forecast_at = 0.0
        self._recompiled = False

    def run(self, state: TrainState, work: Work, bar: Any) -> TrainState:
        """Makes the steps of a stage.

        Raises:
          DivergenceError: what was saved before is whole.
          MachineError: the batches of this process ended early.
        """
        if self._has_waited_enough(work):  # before it was stopped
            return state
        self._forecast_at = self._forecast_at or int(state.step) + _FORECAST_AFTER
        if int(state.step) == work.first_step:
            self._spikes = SpikeMonitor()  # the losses of other lengths and batches are others
        batches = self.pace.timed(work.batches)
        shapes: set[tuple[tuple[int, ...], ...]] = set()
        for step in range(int(state.step) + 1, work.last_step + 1):
            batch = next(batches, None)
            if batch is None:
                raise MachineError(
                    f"the batches of process {self.processes.index} ended before step {step}, "
                    f"of {work.last_step}; its copy of the corpus or its input is not as the "
                    "others'"
                )
            shape = tuple(array.shape for array in batch.values())
            is_new = shape not in shapes
            shapes.add(shape)
            self.pace.change_shape(*work.size(batch), compiles=is_new)
            notes = make_notes(self.devices, stop=self.stopping.requested, elapsed=self._elapsed())
            self.profile.before()
            rows = shard_batch(batch, self.devices)
            compiled = self.compilations.count
            state, sums, vitals = work.step(state, rows, notes, self.key)
            self._look_for_compilation(step, since=compiled, is_new=is_new)
            self._window.add(sums)
            self.pace.step(sums)
            if line := self.profile.after(sums):
                self.console.say(line)
            self.watchdog.beat(f"step {step:,}")
            self._look(work)
            if self.processes.count == 1:  # nobody else need know it first
                self._stop |= self.stopping.requested
            self._unseen = step, vitals
            if step == work.last_step:  # the next step is another stage's
                self._look(work)
            bar.update()
            if step >= self._forecast_at and self.pace.has_stepped:
                self._forecast(step)
            if self._record(step, state, work, bar):
                break
        return state

    def _record(self, step: int, state: TrainState, work: Work, bar: Any) -> bool:
        """Reports, evaluates and saves, each if it is time; whether this was the last step."""
        settings = self.settings
        is_last = step == settings.total_steps or self._budget_spent
        is_reported = step % settings.log_every_steps == 0 or is_last
        if is_reported:
            self._report(step, work, bar)
        is_due = step % settings.checkpoint_every_steps == 0 or self._stop
        if work.evaluate and (settings.is_evaluated(step) or is_last):
            self._evaluate(step, state, work)
            is_due |= work.choice is not None  # what was kept and what is saved go together
            if self._has_waited_enough(work):
                is_last = True
                if not is_reported:
                    self._report(step, work, bar)
        if is_due or is_last:
            slowly = self.watchdog.allow(_SLOW * settings.step_timeout, "a save")
            with self.pace.spent("checkpoint"), slowly:
                self._save(state, work)
        return is_last or self._stop

    @property
    def is_stopped(self) -> bool:
        """Whether a process was told to stop; all know it of the same step."""
        return self._stop

    @property
    def is_over(self) -> bool:
        """Whether no more stages are to be run."""
        return self._stop or self._budget_spent

    def _evaluate(self, step: int, state: TrainState, work: Work) -> None:
        """Evaluates, and keeps the parameters if they are the best so far."""
        assert work.evaluate is not None
        with self.pace.spent("evaluation"):
            figures = work.evaluate(state.params, on_batch=self._evaluating)
        if self.metrics:
            self.metrics.write(step, "held_out", figures)
            draw_curves(self.folder)
        if choice := work.choice:
            # Elsewhere the same arithmetic may come to another last digit.
            score = self.processes.of_first(f"score/{step}", figures[choice.figure])
            if self.best.observe(step, score) and self.processes.is_first:
                choice.keep(state.params)

    def _has_waited_enough(self, work: Work) -> bool:
        return work.choice is not None and 0 < work.choice.patience <= self.best.since

    def _evaluating(self) -> None:
        self.watchdog.beat("a batch of the evaluation")

    def _elapsed(self) -> float:
        """Share of the time budget spent."""
        budget = self.settings.budget_seconds
        return (time.monotonic() - self._began) / budget if budget else 0.0

    def _look(self, work: Work) -> None:
        """Looks at the vitals of the step before, which the devices have done by now."""
        if self._unseen is None:
            return
        (step, vitals), self._unseen = self._unseen, None
        vitals = jax.device_get(vitals)
        # The same in all processes, whichever was told, and by the first one's clock.
        self._stop |= bool(vitals.notes.stop)
        self._budget_spent |= bool(self.settings.budget_seconds and vitals.notes.elapsed >= 1)
        if not vitals.is_finite:
            self._skip(step, float(vitals.loss), work)
        elif spike := self._spikes.observe(step, float(vitals.loss)):
            self.console.warn(str(spike))
            self._event(name="loss_spike", **dataclasses.asdict(spike))

    def _skip(self, step: int, loss: float, work: Work) -> None:
        self._skipped += 1
        path = self.folder / "nonfinite" / f"step_{step}.npz"
        if self.processes.is_first:
            path.parent.mkdir(exist_ok=True)
            np.savez(path, **work.example(step - 1))  # type: ignore[arg-type] # no "allow_pickle" there
            self._event(step, "skipped_update", loss=str(loss), batch=str(path))
        self.processes.gather(f"the batch of step {step}")  # before one of them ends the others
        what = f"the loss or the gradient of step {step:,} is not finite (loss {loss})"
        if self._skipped > self.settings.skip_nonfinite:
            last = self.checkpoints.latest_step
            kept = "nothing was saved yet" if last is None else f"step {last} is the last one saved"
            raise DivergenceError(
                f"{what}: training diverged; {kept}; its batch is in {path}; try a lower "
                "schedule.peak_learning_rate or a longer warm-up in another --workdir, or leave "
                "such updates out by skip_nonfinite"
            )
        self.console.warn(
            f"{what}; its update was left out, {self._skipped} of {self.settings.skip_nonfinite} "
            f"that may be; its batch is in {path}"
        )

    def _look_for_compilation(self, step: int, *, since: int, is_new: bool) -> None:
        """Warns once: whatever changed may do so at every step. A new shape is no surprise."""
        if is_new or self.compilations.count == since or self._recompiled:
            return
        self._recompiled = True
        self.console.warn(
            f"step {step:,} was compiled again: what went into it was of another type, or lay "
            "elsewhere, than before; training goes on, but slower"
        )
        self._event(step, "recompiled")

    def _event(self, step: int, name: EventName, **facts: Any) -> None:
        if self.metrics:
            self.metrics.event(step, name, **facts)

    def _forecast(self, step: int) -> None:
        self._forecast_at = float("inf")
        seconds = self.pace.seconds_per_step() * (self.settings.total_steps - step)
        if self.settings.budget_seconds:
            seconds = min(seconds, self.settings.budget_seconds * (1 - self._elapsed()))
        self.console.say(f"expected time: {duration(seconds)}, and that of the evaluations")

    def _report(self, step: int, work: Work, bar: Any) -> None:
        means = self._window.means()
        self._look(work)
        self._window = Window()
        clock = self.pace.figures()
        if not means:  # no update of this window was made
            return
        figures = with_real_rates(means, clock)
        if self.metrics:
            self.metrics.write(step, "train", figures)
        bar.set_postfix_str(brief(figures))
        if self.console.quiet:
            total = self.settings.total_steps
            self.console.say(f"step {step:,} of {total:,}: {brief(figures)}")

    def _save(self, state: TrainState, work: Work) -> None:
        totals = self._window.totals()
        self._look(work)  # what is wrong is found before it is saved
        if self._stop:
            self._event(int(state.step), "stopped")
        if self.metrics:
            self.metrics.flush()
        progress = Progress(
            window=totals,
            seconds=time.monotonic() - self._began,
            skipped=self._skipped,
            spikes=dataclasses.asdict(self._spikes),
            best=dataclasses.asdict(self.best),
        )
        self.checkpoints.save(
            whole(state, self.like, self.devices, self.parallelism),
            dataclasses.asdict(progress),
        )


def with_real_rates(means: dict[str, float], clock: dict[str, float]) -> dict[str, float]:
    """The figures of a report: the sums' and the clock's, and the clock's without padding.

    Args:
      means: of the sums of steps, with the shares of `real_shares`.
      clock: of `Pace.figures`.
    """
    figures = means | clock
    real_tokens, real_flops = (figures.pop(name) for name in ("real_tokens", "real_flops"))
    figures["padding"] = 1 - real_tokens
    for name, padded, share in (
        ("real_tokens_per_second", "tokens_per_second", real_tokens),
        ("mfu", "padded_mfu", real_flops),
    ):
        if padded in clock:
            figures[name] = share * clock[padded]
    return figures


def brief(figures: dict[str, float]) -> str:
    """The figures beside the progress bar."""
    parts = [
        f"{name.removesuffix('_loss')} {value:.3f}"
        for name, value in figures.items()
        if name.endswith("loss")
    ]
    if "real_tokens_per_second" in figures:
        parts.append(f"{figures['real_tokens_per_second'] / 1000:,.1f}k real tokens/s")
    if "mfu" in figures:
        parts.append(f"MFU {figures['mfu']:.1%}")
    return ", ".join(parts)
