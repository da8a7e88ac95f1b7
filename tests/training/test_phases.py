from typing import Any

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.training.phases import Stage, history, make_stages, rate_of
from bert_jax.training.schedule import make_schedule

PAPER = [{"steps": 900_000}, {"steps": 100_000, "seq_len": 512}]
# NVIDIA's, in steps of a thousand.
LAMB = [
    {"steps": 7, "batch_size": 64, "peak_learning_rate": 6e-3, "warmup_steps": 2},
    {
        "steps": 2,
        "batch_size": 32,
        "seq_len": 512,
        "schedule": "restart",
        "peak_learning_rate": 4e-3,
        "warmup_steps": 1,
    },
]


def make(
    phases: list[dict[str, Any]],
    *,
    total_steps: int,
    peak_learning_rate: float = 1e-4,
    warmup_steps: int = 2,
    **more: float,
) -> list[Stage]:
    schedule = {"peak_learning_rate": peak_learning_rate, "warmup_steps": warmup_steps, **more}
    return make_stages(
        phases,
        total_steps=total_steps,
        batch_size=256,
        micro_batch_size=0,
        seq_len=128,
        schedule=schedule,
    )


def rates(stages: list[Stage], steps: range) -> list[float]:
    """The rate at each step, by the stage that it is in."""
    return [
        float(rate_of(stage)(step, 0.0))
        for step in steps
        for stage in stages
        if stage.first_step <= step < stage.last_step
    ]


def test_without_phases_a_run_is_one_stage_of_its_own_values() -> None:
    (stage,) = make([], total_steps=1_000, power=0.5)
    assert stage == Stage(
        number=1,
        of=1,
        first_step=0,
        last_step=1_000,
        first_example=0,
        seq_len=128,
        batch_size=256,
        micro_batch_size=0,
        moments="keep",
        schedule_origin=0,
        schedule_steps=1_000,
        peak_learning_rate=1e-4,
        warmup_steps=2,
        power=0.5,
    )


def test_the_papers_phases_share_one_schedule() -> None:
    short, long = make(PAPER, total_steps=1_000_000, warmup_steps=10_000)
    assert (short.number, long.number, long.of) == (1, 2, 2)
    assert (short.first_step, short.last_step, short.seq_len) == (0, 900_000, 128)
    assert (long.first_step, long.last_step, long.seq_len) == (900_000, 1_000_000, 512)
    assert long.first_example == 900_000 * 256
    assert (long.schedule_origin, long.schedule_steps, long.power) == (0, 1_000_000, 1.0)
    assert float(rate_of(long)(900_000, 0.0)) == pytest.approx(1e-5)
    assert float(rate_of(short)(900_000, 0.0)) == float(rate_of(long)(900_000, 0.0))
    assert float(rate_of(long)(1_000_000, 0.0)) == 0


def test_a_split_run_has_the_rates_of_a_whole_one() -> None:
    whole, split = make([], total_steps=10), make([{"steps": 4}, {"steps": 6}], total_steps=10)
    assert rates(whole, range(10)) == rates(split, range(10))


def test_lambs_phases_have_a_schedule_each() -> None:
    first, second = stages = make(LAMB, total_steps=9, power=0.5)
    assert (second.schedule_origin, second.schedule_steps, second.moments) == (7, 2, "keep")
    assert (first.batch_size, second.batch_size, second.first_example) == (64, 32, 7 * 64)
    assert rates(stages, range(9)) == pytest.approx(
        [0, 3e-3, *(6e-3 * (1 - np.arange(2, 7) / 7) ** 0.5), 0, 4e-3 * 0.5**0.5]
    )


def test_a_restart_takes_the_runs_values_where_it_has_none() -> None:
    first, second, third = make(
        [{"steps": 5}, {"steps": 5, "schedule": "restart", "moments": "reset"}, {"steps": 5}],
        total_steps=15,
    )
    assert (first.moments, second.moments, third.moments) == ("keep", "reset", "keep")
    assert (first.schedule_steps, second.schedule_steps, third.schedule_steps) == (5, 10, 10)
    assert third.schedule_origin == 5
    assert (second.peak_learning_rate, second.warmup_steps) == (1e-4, 2)


def test_a_run_ends_at_its_last_step() -> None:
    (first,) = make(LAMB, total_steps=7)
    assert (first.of, first.last_step, first.schedule_steps) == (1, 7, 7)
    first, second = make(LAMB, total_steps=8)
    assert (second.last_step, second.schedule_steps) == (8, 1)
    (short,) = make(PAPER, total_steps=1_000)
    assert (short.last_step, short.schedule_steps) == (1_000, 1_000)


def test_a_budget_of_time_hastens_the_decay() -> None:
    (stage,) = make([], total_steps=100)
    rate = jax.jit(rate_of(stage))
    assert float(rate(50, 0.25)) == pytest.approx(0.5e-4)
    assert float(rate(50, 0.75)) == pytest.approx(0.25e-4)
    assert float(rate(50, 1.01)) == 0


def test_rates_are_of_traced_steps_too() -> None:
    _, second = make(LAMB, total_steps=9)
    rate = rate_of(second)
    assert float(jax.jit(rate)(8, 0.0)) == pytest.approx(float(rate(8, 0.0)))
    schedule = make_schedule(peak_learning_rate=4e-3, warmup_steps=1, total_steps=2)
    assert float(rate(8, 0.0)) == float(schedule(1, 0.5))


def test_history_is_what_was_trained() -> None:
    stages = make(PAPER, total_steps=1_000_000)
    assert history(stages, 0) == []
    assert history(stages, 10) == [(10, 256, 128)]
    assert history(stages, 900_000) == [(900_000, 256, 128)]
    assert history(stages, 900_001) == [(900_000, 256, 128), (1, 256, 512)]
    split = make([{"steps": 4}, {"steps": 3}, {"steps": 9, "batch_size": 64}], total_steps=16)
    assert history(split, 7) == history(make([], total_steps=100), 7) == [(7, 256, 128)]
    assert history(split, 16) == [(7, 256, 128), (9, 64, 128)]


@pytest.mark.parametrize(
    ("phases", "complaint"),
    [
        ([{"steps": 4}, {"steps": 5}], "have 9 steps together, fewer than total_steps, 10;"),
        ([{"steps": 10}, {"steps": 0}], r"phases\[1\].steps is 0; it must be at least 1"),
        (
            [{"steps": 10, "seq_len": -1}],
            r"phases\[0\].seq_len is -1; it must be at least 0 ",
        ),
        ([{"steps": 10, "batch_size": -8}], r"phases\[0\].batch_size is -8"),
        (
            [{"steps": 10, "warmup_steps": -2}],
            r"phases\[0\].warmup_steps is -2; it must be at least -1",
        ),
        ([{"steps": 10, "peak_learning_rate": -1.0}], r"phases\[0\].peak_learning_rate is -1.0"),
        ([{"steps": 10, "warmup_steps": 1_100}], r"\[0\].warmup_steps is 1,100; .* has 10 steps"),
        (
            [{"steps": 9}, {"steps": 1, "warmup_steps": 0}],
            r"phases\[1\].warmup_steps is 0, but the phase goes on with the schedule before it",
        ),
        ([{"steps": 5}, {"steps": 5, "peak_learning_rate": 1.0}], r"phases\[1\].peak_learning_ra"),
        ([{"steps": 9}, {"steps": 1, "schedule": "restart"}], "schedule.warmup_steps is 2"),
    ],
)
def test_impossible_phases_are_named(phases: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        make(phases, total_steps=10)
    assert "\n" not in str(caught.value)


def test_rows_at_a_time_are_the_phases_own_or_the_runs() -> None:
    phases = [{"steps": 4, "micro_batch_size": 64}, {"steps": 4}]
    stages = make_stages(
        phases,
        total_steps=8,
        batch_size=256,
        micro_batch_size=16,
        seq_len=128,
        schedule={"peak_learning_rate": 1e-4, "warmup_steps": 2},
    )
    assert [stage.micro_batch_size for stage in stages] == [64, 16]
