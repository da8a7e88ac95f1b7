import pytest

from bert_jax.training.loop import with_real_rates


def test_padding_is_taken_off_the_rates() -> None:
    means = {"mlm_loss": 3.0, "real_tokens": 0.75, "real_flops": 0.5}
    clock = {"tokens_per_second": 1000.0, "padded_mfu": 0.4, "goodput": 1.0}
    assert with_real_rates(means, clock) == pytest.approx(
        {
            "mlm_loss": 3.0,
            "padding": 0.25,
            "tokens_per_second": 1000.0,
            "real_tokens_per_second": 750.0,
            "padded_mfu": 0.4,
            "mfu": 0.2,
            "goodput": 1.0,
        }
    )
    assert with_real_rates(means, {}) == {"mlm_loss": 3.0, "padding": 0.25}
