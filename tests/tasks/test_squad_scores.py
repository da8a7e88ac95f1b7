"""The scorers of SQuAD and KorQuAD, on cases whose official result is known."""

import random

import pytest

from bert_jax.tasks.scores.squad import answer_scores, best_thresholds, evaluate


@pytest.mark.parametrize(
    ("prediction", "golds", "metric", "exact", "f1"),
    [
        ("The Cat!", ["cat"], "squad", 1, 1),
        ("a the an", ["the"], "squad", 1, 0),  # nothing is left of either; 1.1 finds no shared word
        ("a the an", ["the"], "squad_v2", 1, 1),
        ("", ["cat"], "squad", 0, 0),
        ("", ["cat"], "squad_v2", 0, 0),
        ("", [], "squad_v2", 1, 1),
        ("cat", [], "squad_v2", 0, 0),
        ("cat", ["the", "dog"], "squad_v2", 0, 0),  # "the" is left out
        ("", ["the"], "squad_v2", 1, 1),  # nothing but "the" is as no answer
        ("cat sat", ["the dog", "a cat sat down"], "squad", 0, 0.8),
        ("cat cat", ["cat"], "squad", 0, 2 / 3),
        ("U.S.", ["us"], "squad", 1, 1),
        ("anther", ["another"], "squad", 0, 0),  # an article is a whole word
        ("파리는", ["파리"], "squad", 0, 0),
        ("파리는", ["파리"], "korquad", 0, 0.8),
        ("《파리》", ["‘파리’"], "korquad", 1, 1),
        ("the 파리", ["파리"], "korquad", 0, 2 * 2 / 7),  # articles stay
        ("나라 사랑", ["나라사랑"], "korquad", 0, 1),  # characters, whatever the spaces
    ],
)
def test_answers(prediction: str, golds: list[str], metric: str, exact: float, f1: float) -> None:
    found = answer_scores(prediction, golds, metric)  # type: ignore[arg-type]
    assert found == pytest.approx((exact, f1))


def test_missing_predictions() -> None:
    """The script of 1.1 counts them as wrong, that of 2.0 leaves them out."""
    golds = {"a": ["cat"], "b": ["dog", "a dog"]}
    assert evaluate(golds, {"b": "dog"}, "squad") == {
        "exact_match": 50,
        "exact": 50,
        "f1": 50,
        "total": 2,
    }
    golds["c"] = []
    found = evaluate(golds, {"b": "big dog", "c": ""}, "squad_v2")
    assert found["exact"] == 50
    assert found["f1"] == pytest.approx((200 / 3 + 100) / 2)
    assert {name: found[name] for name in found if name.endswith("total")} == {
        "total": 2,
        "HasAns_total": 1,
        "NoAns_total": 1,
    }


def test_no_questions_of_a_kind_no_figures_of_it() -> None:
    assert "NoAns_f1" not in evaluate({"a": ["cat"]}, {"a": "cat"}, "squad_v2")
    assert evaluate({"a": ["cat"]}, {}, "squad_v2")["total"] == 0


def brute_force(
    golds: dict[str, list[str]], spans: dict[str, str], numbers: dict[str, float]
) -> float:
    """The best F1 over all thresholds."""
    found = []
    for threshold in [-1e9, *numbers.values()]:
        texts = {name: "" if numbers[name] > threshold else spans[name] for name in golds}
        found.append(evaluate(golds, texts, "squad_v2")["f1"])
    return max(found)


def test_the_threshold_is_the_best_one() -> None:
    chosen = random.Random(0)
    for _ in range(40):
        names = [str(n) for n in range(chosen.randint(1, 9))]
        golds = {name: chosen.choice([[], ["big cat"], ["dog"]]) for name in names}
        spans = {name: chosen.choice(["big cat", "dog", "cat"]) for name in names}
        numbers = {name: place + chosen.random() for place, name in enumerate(names)}
        found = best_thresholds(golds, spans, numbers)
        assert found["best_f1"] == pytest.approx(brute_force(golds, spans, numbers))
        texts = {
            name: "" if numbers[name] > found["best_f1_thresh"] else spans[name] for name in names
        }
        assert evaluate(golds, texts, "squad_v2")["f1"] == pytest.approx(found["best_f1"])
