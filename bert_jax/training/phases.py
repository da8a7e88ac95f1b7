"""The phases of a run: parts of it with a length of rows, a batch size and a rate of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bert_jax.errors import UserError
from bert_jax.training.schedule import make_schedule, progress_of


@dataclass(frozen=True, kw_only=True)
class Phase:
    """An entry of `phases` in a config.

    Attributes:
      steps: its updates.
      seq_len: T; 0 for the run's.
      batch_size: B; 0 for the run's.
      micro_batch_size: see `Parallelism`; 0 for the run's.
      schedule: "continue" goes on with the schedule of the phase before; "restart"
        begins another, warm-up and all.
      moments: the optimizer's: "keep" those of the phase before, or "reset" them to 0.
      peak_learning_rate: of the schedule that begins here; 0 for the run's.
      warmup_steps: likewise; -1 for the run's.
    """

    steps: int
    seq_len: int = 0
    batch_size: int = 0
    micro_batch_size: int = 0
    schedule: Literal["continue", "restart"] = "continue"
    moments: Literal["keep", "reset"] = "keep"
    peak_learning_rate: float = 0.0
    warmup_steps: int = -1


class Stage(NamedTuple):
    """A phase in its place in a run. Phases that share a schedule are a group.

    Attributes:
      number: from 1.
      of: how many there are.
      first_step: updates made before it.
      last_step: updates made at its end.
      first_example: rows consumed before it, of an example each or of several.
      seq_len: T.
      batch_size: B.
      micro_batch_size: rows that a device takes at a time, 0 for all of its rows.
      moments: "keep" or "reset", at its beginning.
      schedule_origin: updates made before its group.
      schedule_steps: updates of its group.
      peak_learning_rate: of its group.
      warmup_steps: of its group.
      power: of the decay.
    """

    number: int
    of: int
    first_step: int
    last_step: int
    first_example: int
    seq_len: int
    batch_size: int
    micro_batch_size: int
    moments: Literal["keep", "reset"]
    schedule_origin: int
    schedule_steps: int
    peak_learning_rate: float
    warmup_steps: int
    power: float


def make_stages(
    phases: Sequence[Mapping[str, Any]],
    *,
    total_steps: int,
    batch_size: int,
    micro_batch_size: int,
    seq_len: int,
    schedule: Mapping[str, Any],
) -> list[Stage]:
    """Lays the phases of a run end to end, up to its last step.

    Without phases the run is one stage of its own values; a phase that would begin
    after the end is left out.

    Args:
      phases: keyword arguments of `Phase` each.
      total_steps: updates of the run.
      batch_size: B where a phase has none of its own.
      micro_batch_size: likewise.
      seq_len: T, likewise.
      schedule: arguments of `make_schedule` but `total_steps`, likewise.

    Raises:
      UserError: an impossible value, or phases that end before the run does.
    """
    entries = [Phase(**phase) for phase in phases] or [Phase(steps=total_steps)]
    for index, phase in enumerate(entries):
        _check(f"phases[{index}]", phase, is_first=index == 0)
    steps = sum(phase.steps for phase in entries)
    if steps < total_steps:
        raise UserError(
            f"the phases have {steps:,} steps together, fewer than total_steps, {total_steps:,}; "
            "lengthen a phase or shorten the run"
        )
    groups: list[list[tuple[int, Phase, int, int]]] = []  # index, phase, first step, last step
    step = 0
    for index, phase in enumerate(entries):
        if step >= total_steps:
            break
        if not groups or phase.schedule == "restart":
            groups.append([])
        groups[-1].append((index, phase, step, min(step + phase.steps, total_steps)))
        step += phase.steps
    stages: list[Stage] = []
    example = 0
    for group in groups:
        origin, end = group[0][2], group[-1][3]
        rates = _rates_of(*group[0][:2], schedule, steps=end - origin)
        for _, phase, first, last in group:
            stage = Stage(
                number=len(stages) + 1,
                of=sum(len(group) for group in groups),
                first_step=first,
                last_step=last,
                first_example=example,
                seq_len=phase.seq_len or seq_len,
                batch_size=phase.batch_size or batch_size,
                micro_batch_size=phase.micro_batch_size or micro_batch_size,
                moments=phase.moments,
                schedule_origin=origin,
                schedule_steps=end - origin,
                **rates,
            )
            stages.append(stage)
            example += (last - first) * stage.batch_size
    return stages


def _check(where: str, phase: Phase, *, is_first: bool) -> None:
    if phase.steps < 1:
        raise UserError(f"{where}.steps is {phase.steps}; it must be at least 1")
    for name, unset in (
        ("seq_len", 0),
        ("batch_size", 0),
        ("micro_batch_size", 0),
        ("peak_learning_rate", 0.0),
        ("warmup_steps", -1),
    ):
        value = getattr(phase, name)
        if value < unset:
            raise UserError(
                f"{where}.{name} is {value}; it must be at least {unset} (which is: as the run)"
            )
        of_schedule = name in ("peak_learning_rate", "warmup_steps")
        if of_schedule and value != unset and phase.schedule == "continue" and not is_first:
            raise UserError(
                f"{where}.{name} is {value}, but the phase goes on with the schedule before it; "
                "leave it away or set schedule='restart'"
            )


def _rates_of(
    index: int, phase: Phase, schedule: Mapping[str, Any], *, steps: int
) -> dict[str, Any]:
    """The arguments of `make_schedule` for the group that a phase begins, but its length."""
    if phase.warmup_steps > steps:
        raise UserError(
            f"phases[{index}].warmup_steps is {phase.warmup_steps:,}; "
            f"its schedule has {steps:,} steps"
        )
    rates = {"power": 1.0, **schedule}
    if phase.peak_learning_rate:
        rates["peak_learning_rate"] = phase.peak_learning_rate
    if phase.warmup_steps >= 0:
        rates["warmup_steps"] = phase.warmup_steps
    make_schedule(**rates, total_steps=steps)  # complains of what cannot be
    return rates


def rate_of(stage: Stage) -> Callable[[Any, Any], Any]:
    """The learning rate in a stage, by updates made in the whole run and share of its time spent.

    The time is that of the whole run, restarts or not.
    """
    schedule = make_schedule(
        peak_learning_rate=stage.peak_learning_rate,
        warmup_steps=stage.warmup_steps,
        power=stage.power,
        total_steps=stage.schedule_steps,
    )

    def rate(step: Any, elapsed: Any) -> Any:
        made = step - stage.schedule_origin
        progress = progress_of(made, total_steps=stage.schedule_steps, elapsed=elapsed)
        return schedule(made, progress)

    return rate


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    """The stage that update number `step` belonged to."""
    return next((stage for stage in stages if step <= stage.last_step), stages[-1])


def history(stages: Sequence[Stage], step: int) -> list[tuple[int, int, int]]:
    """What `step` updates were made of: (updates, batch size, sequence length), in order.

    Neighbours that are equal count as one. Two configs make the same run of data up
    to a step if these are equal.
    """
    past: list[tuple[int, int, int]] = []
    for stage in stages:
        made = min(step, stage.last_step) - stage.first_step
        if made <= 0:
            break
        if past and past[-1][1:] == (stage.batch_size, stage.seq_len):
            made += past.pop()[0]
        past.append((made, stage.batch_size, stage.seq_len))
    return past
