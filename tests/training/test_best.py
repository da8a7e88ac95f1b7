"""Which evaluation counts as the best."""

import dataclasses
import math

from bert_jax.training.best import Best


def test_only_more_is_better() -> None:
    best = Best()
    scores = [0.5, 0.4, 0.5, 0.6, math.nan, 0.1]
    assert [best.observe(step, score) for step, score in enumerate(scores)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert (best.step, best.score, best.since) == (3, 0.6, 2)
    again = Best(**dataclasses.asdict(best))
    assert not again.observe(6, 0.6)
    assert again.since == 3


def test_a_first_score_may_be_negative_but_is_a_number() -> None:
    best = Best()
    assert not best.observe(1, math.nan)
    assert best.observe(2, -0.5)
    assert not best.observe(3, -0.7)
