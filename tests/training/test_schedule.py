import pytest

from bert_jax.errors import UserError
from bert_jax.training.schedule import make_schedule


def test_the_papers_schedule() -> None:
    rate = make_schedule(peak_learning_rate=1e-4, warmup_steps=10_000, total_steps=1_000_000)
    assert rate(0) == 0
    assert rate(1) == pytest.approx(1e-8)
    assert rate(9_999) == pytest.approx(9.999e-5)
    assert rate(10_000) == pytest.approx(9.9e-5)  # the decay counts from step 0
    assert rate(500_000) == pytest.approx(5e-5)
    assert rate(1_000_000) == 0
    assert rate(1_100_000) == 0


def test_no_warmup() -> None:
    rate = make_schedule(peak_learning_rate=1.0, warmup_steps=0, total_steps=4)
    assert [float(rate(step)) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize("bad", [{"peak_learning_rate": 0.0}, {"warmup_steps": 5}])
def test_impossible_schedules_are_refused(bad: dict) -> None:
    with pytest.raises(UserError):
        make_schedule(**({"peak_learning_rate": 1e-4, "warmup_steps": 1, "total_steps": 4} | bad))
