import jax.numpy as jnp
import pytest

from bert_jax.training.throughput import Pace, peak_flops


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v4", 275e12),
    ],
)
def test_peaks_are_found_by_kind(kind: str, peak: float) -> None:
    assert peak_flops(kind, 4) == 4 * peak


def test_an_unknown_device_has_no_peak() -> None:
    assert peak_flops("cpu", 4) is None


def test_pace_leaves_out_the_first_step_and_pauses() -> None:
    clock = [0.0]
    pace = Pace(tokens_per_step=100, flops_per_token=5.0, peak_flops=1000.0, clock=lambda: clock[0])
    result = jnp.zeros(())
    clock[0] = 30.0  # compilation
    pace.step(result)
    for _ in range(4):
        clock[0] += 0.5
        pace.step(result)
    with pace.paused():
        clock[0] += 60.0  # an evaluation
    assert pace.figures() == {"tokens_per_second": 200.0, "mfu": 1.0}
    assert pace.figures() == {}
