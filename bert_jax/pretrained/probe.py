"""A linear classifier on a model's vectors, while the model stays as it is."""

import dataclasses
import json
import logging
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from bert_jax.atomic import replacing
from bert_jax.errors import UserError
from bert_jax.pretrained.model import Pretrained

_log = logging.getLogger(__name__)

# On 2,000 sentences of SST-2 in MiniLM's vectors, accuracy on dev is 73.3% with the first of these,
# 79.0% with the second and falls to 77.3% with the last.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5
_MOST_STEPS = 1000  # MiniLM's vectors need about 50

# A classifier knows its model again by the vector of this text.
_ANCHOR = "I love Paris"


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """Softmax of a linear function.

    Attributes:
      weights: [D K], float64.
      bias: [K].
      labels: what the K columns stand for.
      strength: the C that was chosen, the inverse of the penalty on the weights.
    """

    weights: Float[np.ndarray, "D K"]
    bias: Float[np.ndarray, " K"]
    labels: tuple[str, ...]
    strength: float

    def probabilities(self, vectors: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n K"]:
        """Of each label, for each vector."""
        scores = vectors.astype(np.float64) @ self.weights + self.bias[None]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def predict(self, vectors: Float[np.ndarray, "n D"]) -> list[str]:
        """The likeliest label of each vector."""
        return [self.labels[best] for best in self.probabilities(vectors).argmax(axis=1)]


def fit(vectors: Float[np.ndarray, "n D"], labels: Sequence[str]) -> LinearProbe:
    """Logistic regression on standardised vectors; the standardisation is folded into it.

    The strength of its penalty is the one with the lowest cross-entropy in 5-fold
    cross-validation (fewer folds where a label has fewer examples). The folds follow
    the order of the examples, so shuffle these before.

    Raises:
      UserError: fewer than two labels, or one with a single example.

    Examples:
      >>> probe = fit(np.array([[0.0], [0.1], [0.9], [1.0]]), ["no", "no", "yes", "yes"])
      >>> probe.predict(np.array([[0.05], [0.95]]))
      ['no', 'yes']
    """
    # It takes a second to import, and whoever only uses a classifier does not need it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    counts = Counter(labels)
    if len(counts) < 2:
        raise UserError(f"all {len(labels)} examples have one label; give some of another, too")
    rarest, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < 2:
        raise UserError(f"label {rarest!r} has a single example to learn from; give two or more")
    regression = LogisticRegression(max_iter=_MOST_STEPS)
    search = GridSearchCV(
        Pipeline([("scaler", StandardScaler()), ("regression", regression)]),
        {"regression__C": _STRENGTHS},
        scoring="neg_log_loss",
        cv=StratifiedKFold(min(_FOLDS, fewest)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(vectors.astype(np.float64), np.array(labels))
    scaler, regression = search.best_estimator_[0], search.best_estimator_[1]
    if regression.n_iter_.max() >= _MOST_STEPS:
        _log.warning("the regression had not converged after %d steps", _MOST_STEPS)
    coefficients, bias = regression.coef_, regression.intercept_
    if len(counts) == 2:  # one row, of the second label against the first
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        bias = np.append(0.0, bias)
    weights = (coefficients / scaler.scale_[None]).T
    return LinearProbe(
        weights,
        bias - scaler.mean_ @ weights,
        tuple(map(str, regression.classes_)),
        float(search.best_params_["regression__C"]),
    )


@dataclasses.dataclass(frozen=True)
class TextClassifier:
    """A probe, and what it needs to read texts.

    Attributes:
      probe: the linear part.
      how: keyword arguments of `Pretrained.embed`.
      anchor: the vector of a certain text by the model that the probe was trained with.
    """

    probe: LinearProbe
    how: dict[str, Any]
    anchor: Float[np.ndarray, " D"]

    @classmethod
    def of(cls, bert: Pretrained, probe: LinearProbe, how: dict[str, Any]) -> "TextClassifier":
        """Of a probe that was trained on `bert.embed(texts, **how)`."""
        return cls(probe, how, bert.embed([_ANCHOR], **how)[0])

    def probabilities(self, bert: Pretrained, texts: Sequence[str]) -> Float[np.ndarray, "n K"]:
        """Of each label, for each text.

        Raises:
          UserError: another model than the one it was trained with.
        """
        (anchor,) = bert.embed([_ANCHOR], **self.how)
        if anchor.shape != self.anchor.shape or (
            np.linalg.norm(anchor - self.anchor) > 0.1 * np.linalg.norm(self.anchor)
        ):
            raise UserError("the classifier was trained with another model; give that one")
        return self.probe.probabilities(bert.embed(texts, **self.how))

    def save(self, path: Path) -> None:
        """Writes an `.npz` of numbers and JSON, no pickle."""
        about = {"labels": self.probe.labels, "strength": self.probe.strength, "how": self.how}
        with replacing(path) as file:
            np.savez(
                file,
                weights=self.probe.weights,
                bias=self.probe.bias,
                anchor=self.anchor,
                about=np.array(json.dumps(about)),
            )


def load_classifier(path: Path) -> TextClassifier:
    """What `TextClassifier.save` wrote.

    Raises:
      UserError: something else.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; give one that linear_probe --output wrote")
    try:
        # NumPy would leave a file that it opened itself open where it is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            labels = tuple(about["labels"])
            weights, bias, anchor = arrays["weights"], arrays["bias"], arrays["anchor"]
        if weights.shape != (len(anchor), len(labels)) or bias.shape != (len(labels),):
            raise ValueError("its arrays do not fit together")
        probe = LinearProbe(weights, bias, labels, about["strength"])
        return TextClassifier(probe, dict(about["how"]), anchor)
    except (AttributeError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} is no classifier that linear_probe --output wrote") from None
