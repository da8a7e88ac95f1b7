import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.training.schedule import make_schedule, progress_of


def test_the_papers_schedule() -> None:
    schedule = make_schedule(peak_learning_rate=1e-4, warmup_steps=10_000, total_steps=1_000_000)

    def rate(step: int) -> float:
        return float(schedule(step, progress_of(step, total_steps=1_000_000)))

    assert rate(0) == 0
    assert rate(1) == pytest.approx(1e-8)
    assert rate(9_999) == pytest.approx(9.999e-5)
    assert rate(10_000) == pytest.approx(9.9e-5)  # the decay counts from step 0
    assert rate(500_000) == pytest.approx(5e-5)
    assert rate(1_000_000) == 0
    assert rate(1_100_000) == 0


def test_no_warmup() -> None:
    rate = make_schedule(peak_learning_rate=1.0, warmup_steps=0, total_steps=4)
    assert [float(rate(step, step / 4)) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_power_1_is_a_line() -> None:
    schedule = make_schedule(peak_learning_rate=3e-4, warmup_steps=10, total_steps=1_000)
    steps = jnp.arange(1_100)

    @jax.jit
    def ours(step: jax.Array) -> jax.Array:
        return schedule(step, progress_of(step, total_steps=1_000))

    @jax.jit
    def line(step: jax.Array) -> jax.Array:
        return 3e-4 * jnp.where(step < 10, step / 10, jnp.maximum(0.0, 1.0 - step / 1_000))

    # Rounded apart where the compiler fuses the one and not the other.
    np.testing.assert_allclose(jax.vmap(ours)(steps), jax.vmap(line)(steps), atol=1e-10)


def test_a_root_stays_high_and_ends_at_0() -> None:
    schedule = make_schedule(
        peak_learning_rate=6e-3, warmup_steps=2_000, power=0.5, total_steps=7_038
    )
    for rate in (schedule, jax.jit(schedule)):
        assert float(rate(2_000, 2_000 / 7_038)) == pytest.approx(6e-3 * (1 - 2_000 / 7_038) ** 0.5)
        assert float(rate(5_000, 0.75)) == pytest.approx(3e-3)
        assert float(rate(7_038, 1.0)) == 0
        assert float(rate(7_038, jnp.float32(1.01))) == 0


@pytest.mark.parametrize(("elapsed", "progress"), [(0.0, 0.25), (0.9, 0.9), (0.1, 0.25)])
def test_progress_is_of_the_steps_or_of_the_time(elapsed: float, progress: float) -> None:
    def of(step: object, elapsed: object) -> object:
        return progress_of(step, total_steps=100, elapsed=elapsed)

    assert float(of(25, elapsed)) == pytest.approx(progress)
    assert float(jax.jit(of)(25, elapsed)) == pytest.approx(progress)


@pytest.mark.parametrize("bad", [{"peak_learning_rate": 0.0}, {"warmup_steps": 5}, {"power": 0.0}])
def test_impossible_schedules_are_refused(bad: dict) -> None:
    with pytest.raises(UserError, match=f"schedule.{next(iter(bad))}"):
        make_schedule(**({"peak_learning_rate": 1e-4, "warmup_steps": 1, "total_steps": 4} | bad))
