"""GLUE's metrics, as shares (Wang et al. 2018), by the names of Hugging Face's `evaluate`."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, " n"]

# What each of the tasks is judged by; where there are two, by their mean.
GLUE: dict[str, tuple[str, ...]] = {
    "cola": ("matthews_correlation",),
    "sst2": ("accuracy",),
    "mrpc": ("accuracy", "f1"),
    "qqp": ("accuracy", "f1"),
    "stsb": ("pearson", "spearmanr"),
    "mnli": ("accuracy",),
    "qnli": ("accuracy",),
    "rte": ("accuracy",),
    "wnli": ("accuracy",),
    "ax": ("matthews_correlation",),
    "nsmc": ("accuracy",),
    "klue_nli": ("accuracy",),
    "xnli": ("accuracy",),
}


def metrics_of(
    names: Sequence[str],
    right: Sequence[int] | Sequence[float],
    given: Sequence[int] | Sequence[float],
) -> dict[str, float]:
    """Some metrics of predictions.

    Args:
      names: of `METRICS`.
      right: class numbers, or numbers of a regression.
      given: what was predicted, as many.

    Returns:
      Shares. A correlation with what is always the same is not defined, and 0 here.
    """
    assert len(right) == len(given) > 0
    both = np.array(right, np.float64), np.array(given, np.float64)
    return {name: METRICS[name](*both) for name in names}


def _accuracy(right: Numbers, given: Numbers) -> float:
    return float(np.mean(right == given))


def _f1(right: Numbers, given: Numbers) -> float:
    """Of class 1."""
    hits = float(np.sum((right == 1) & (given == 1)))
    return 2 * hits / max(float(np.sum(right == 1) + np.sum(given == 1)), 1.0)


def _macro_f1(right: Numbers, given: Numbers) -> float:
    """The mean over the classes that occur, each for itself."""
    classes = np.union1d(right, given)
    return float(np.mean([_f1((right == c) * 1.0, (given == c) * 1.0) for c in classes]))


def _matthews(right: Numbers, given: Numbers) -> float:
    # It takes a second to import, and few tasks need it.
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():  # of a single class, of which it gives 0
        warnings.simplefilter("ignore")
        return float(matthews_corrcoef(right, given))


def _pearson(right: Numbers, given: Numbers) -> float:
    if np.ptp(right) == 0 or np.ptp(given) == 0:
        return 0.0
    return float(np.corrcoef(right, given)[0, 1])


def _spearman(right: Numbers, given: Numbers) -> float:
    """Pearson's of the ranks; equal numbers share the mean of theirs."""
    from scipy.stats import rankdata

    return _pearson(rankdata(right), rankdata(given))


METRICS: dict[str, Callable[[Numbers, Numbers], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearmanr": _spearman,
}
