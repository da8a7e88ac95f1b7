import json
import random
from dataclasses import asdict

import pytest

from bert_jax.training.spikes import Spike, SpikeMonitor


def noise(steps: int, *, level: float, sigma: float, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(level, sigma) for _ in range(steps)]


def watch(monitor: SpikeMonitor, losses: list[float], start: int = 1) -> list[Spike]:
    spikes = (monitor.observe(step, loss) for step, loss in enumerate(losses, start))
    return [spike for spike in spikes if spike]


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.15, 1.0])
def test_noise_is_no_spike(sigma: float) -> None:
    assert not watch(SpikeMonitor(), noise(100_000, level=3.0, sigma=sigma))


def test_the_fall_of_the_first_steps_is_no_spike() -> None:
    falling = [
        7 * 0.98**step + bend + 3.0 for step, bend in enumerate(noise(2_000, level=0.0, sigma=0.13))
    ]
    assert not watch(SpikeMonitor(), falling)


@pytest.mark.parametrize("rising", [1, 10, 30])
@pytest.mark.parametrize("sigma", [0.01, 0.13])
def test_a_rise_is_seen_once_and_so_is_its_end(sigma: float, rising: int) -> None:
    rise = [2 * min(1, (step + 1) / rising) for step in range(rising + 20)]
    before = noise(500, level=2.0, sigma=sigma)
    during = noise(len(rise), level=2.0, sigma=sigma, seed=1)
    after = noise(500, level=1.9, sigma=sigma, seed=2)
    losses = [*before, *(loss + more for loss, more in zip(during, rise, strict=True)), *after]
    begins, ends = watch(SpikeMonitor(), losses)
    assert (begins.stage, ends.stage) == ("begins", "ends")
    assert 500 < begins.step <= 500 + rising
    assert ends.step == 500 + len(rise) + 1
    assert begins.began == ends.began == begins.step
    assert begins.mean == pytest.approx(2.0, abs=0.3)
    assert begins.loss > 2.1


def test_a_lasting_rise_becomes_the_new_level() -> None:
    losses = noise(300, level=2.0, sigma=0.05) + noise(5_000, level=4.0, sigma=0.05, seed=1)
    monitor = SpikeMonitor()
    begins, stays = watch(monitor, losses)
    assert (begins.stage, begins.step) == ("begins", 301)
    assert (stays.stage, stays.step, stays.began) == ("stays", 801, 301)
    assert stays.mean == begins.mean  # a spike does not move what it is measured by
    (again,) = watch(monitor, [6.0], start=5_301)
    assert again.stage == "begins"
    assert again.mean == pytest.approx(4.0, abs=0.05)


def test_small_rises_in_little_noise_are_no_event() -> None:
    losses = noise(500, level=2.0, sigma=0.001)
    assert not watch(SpikeMonitor(), [*losses, 2.09])
    assert watch(SpikeMonitor(), [*losses, 2.11])


def test_what_is_not_finite_is_left_to_others() -> None:
    losses = noise(300, level=2.0, sigma=0.05)
    disturbed, undisturbed = SpikeMonitor(), SpikeMonitor()
    assert not watch(disturbed, [*losses, float("nan"), float("inf")])
    watch(undisturbed, losses)
    assert disturbed == undisturbed


def test_a_resumed_monitor_says_the_same_to_the_bit() -> None:
    losses = noise(200, level=2.0, sigma=0.1) + [5.0] * 20 + noise(200, level=2.0, sigma=0.1)
    whole = SpikeMonitor()
    expected = watch(whole, losses)
    resumed, said = SpikeMonitor(), []
    for first in range(0, len(losses), 7):
        resumed = SpikeMonitor(**json.loads(json.dumps(asdict(resumed))))
        said += watch(resumed, losses[first : first + 7], start=first + 1)
    assert said == expected
    assert len(said) == 2
    assert resumed == whole


def test_lines() -> None:
    begins = Spike("begins", 1200, 4.0, 2.0, 0.1, 1200)
    assert str(begins) == "the loss leaps to 4.000 at step 1,200, from 2.000 ± 0.100"
    ends = Spike("ends", 1210, 2.1, 2.0, 0.1, 1200)
    assert str(ends) == "the leap of step 1,200 is over (loss 2.100 at step 1,210)"
    stays = Spike("stays", 1700, 4.1, 2.0, 0.1, 1200)
    assert "stays" in str(stays)
