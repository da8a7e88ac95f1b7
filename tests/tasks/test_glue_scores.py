"""GLUE's metrics, against scikit-learn and SciPy."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from bert_jax.tasks.scores.glue import GLUE, METRICS, metrics_of

CLASSES = np.random.default_rng(0).integers(0, 2, (2, 200)).astype(float)
NUMBERS = np.round(np.random.default_rng(1).normal(size=(2, 200)), 1)  # with ties
REFERENCES = {
    "accuracy": (metrics.accuracy_score, CLASSES),
    "f1": (metrics.f1_score, CLASSES),
    "macro_f1": (lambda a, b: metrics.f1_score(a, b, average="macro"), CLASSES),
    "matthews_correlation": (metrics.matthews_corrcoef, CLASSES),
    "pearson": (lambda a, b: stats.pearsonr(a, b)[0], NUMBERS),
    "spearmanr": (lambda a, b: stats.spearmanr(a, b)[0], NUMBERS),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_the_libraries(name: str) -> None:
    reference, (right, given) = REFERENCES[name]
    found = metrics_of([name], right.tolist(), given.tolist())
    assert found == {name: pytest.approx(reference(right, given))}
    mixed = np.where(np.arange(200) < 150, right, given)
    assert metrics_of([name], right.tolist(), mixed.tolist())[name] > found[name]


@pytest.mark.parametrize("name", METRICS)
def test_what_is_not_defined_is_nothing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = metrics_of([name], [0, 1, 1, 0], [0, 0, 0, 0])[name]
        assert constant == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}.get(name, 0.0)
        same = metrics_of([name], [0, 0], [0, 0])[name]
        assert same == {"accuracy": 1.0, "macro_f1": 1.0}.get(name, 0.0)


def test_every_task_has_metrics_that_there_are() -> None:
    assert {metric for names in GLUE.values() for metric in names} <= METRICS.keys()
    assert GLUE["cola"] == ("matthews_correlation",)
    assert GLUE["stsb"] == ("pearson", "spearmanr")
