"""The official scorers of SQuAD 1.1, SQuAD 2.0 and KorQuAD 1.0."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

Metric = Literal["squad", "squad_v2", "korquad"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_KOREAN_MARKS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


def answer_scores(prediction: str, golds: Sequence[str], metric: Metric) -> tuple[float, float]:
    """Exact match and F1 of an answer, 0 to 1 each: of the right answers the best counts.

    Args:
      prediction: "" for no answer.
      golds: right answers, none if the question has none.
      metric: whose rules. SQuAD 2.0 leaves out right answers of which normalisation leaves
        nothing; KorQuAD keeps articles, and compares characters.
    """
    normalized = [_normalized(gold, metric) for gold in golds]
    if metric == "squad_v2":
        normalized = [gold for gold in normalized if gold] or [""]
    given = _normalized(prediction, metric)
    if not normalized:
        return 0.0, 0.0
    exact = max(float(given == gold) for gold in normalized)
    return exact, max(_f1(given, gold, metric) for gold in normalized)


def _normalized(text: str, metric: Metric) -> str:
    if metric == "korquad":
        text = text.translate(_KOREAN_MARKS)
    text = text.lower().translate(_PUNCTUATION)
    if metric != "korquad":
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())


def _f1(given: str, gold: str, metric: Metric) -> float:
    parts = [text.split() for text in (given, gold)]
    if metric == "korquad":
        parts = [list("".join(words)) for words in parts]
    if metric == "squad_v2" and not all(parts):
        return float(parts[0] == parts[1])
    shared = sum((Counter(parts[0]) & Counter(parts[1])).values())
    return 2 * shared / (len(parts[0]) + len(parts[1])) if shared else 0.0


def evaluate(
    golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str], metric: Metric
) -> dict[str, float]:
    """The figures of a whole data set, in percent, under the names of the official scripts.

    Args:
      golds: right answers of each question by its id.
      predictions: an answer each. One that is missing counts 0; in SQuAD 2.0 the question is
        left out.
      metric: whose rules.

    Returns:
      `exact_match` as the script of 1.1 calls it and `exact` as that of 2.0 does, `f1`, `total`;
      of SQuAD 2.0 also for questions with an answer (`HasAns_`) and without (`NoAns_`).
    """
    answered = {name: texts for name, texts in golds.items() if name in predictions}
    scores = {
        name: answer_scores(predictions[name], texts, metric) for name, texts in answered.items()
    }
    if metric != "squad_v2":
        scores |= dict.fromkeys(golds.keys() - answered.keys(), (0.0, 0.0))
    exact, f1, total = _summed(list(scores.values()))
    figures = {"exact_match": exact, "exact": exact, "f1": f1, "total": total}
    if metric == "squad_v2":
        for title, has_answer in (("HasAns", True), ("NoAns", False)):
            group = [score for name, score in scores.items() if bool(golds[name]) == has_answer]
            if group:
                names = [f"{title}_{figure}" for figure in ("exact", "f1", "total")]
                figures |= dict(zip(names, _summed(group), strict=True))
    return figures


def _summed(scores: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Mean exact match and F1, in percent, and how many."""
    if not scores:
        return 0.0, 0.0, 0.0
    exact, f1 = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    return exact, f1, float(len(scores))


def best_thresholds(
    golds: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    null_differences: Mapping[str, float],
) -> dict[str, float]:
    """Where SQuAD 2.0's script would stop answering, and what that gives.

    Args:
      golds: right answers of each question by its id.
      predictions: the best span of each question.
      null_differences: how far no answer is ahead of it, or any number that grows with that.

    Returns:
      `best_exact`, `best_exact_thresh`, `best_f1` and `best_f1_thresh`, in percent: questions
      with more than the threshold have no answer. Where it is best to answer none, the threshold
      is below all numbers (the script says 0, which may not be).
    """
    scores = {
        name: answer_scores(text, golds[name], "squad_v2") for name, text in predictions.items()
    }
    found: dict[str, float] = {}
    for number, title in enumerate(("exact", "f1")):
        current = best = float(sum(not texts for texts in golds.values()))
        threshold = min([0.0, *(number - 1 for number in null_differences.values())])
        for name in sorted(null_differences, key=null_differences.__getitem__):
            if name not in scores:
                continue
            if golds[name]:
                current += scores[name][number]
            elif predictions[name]:
                current -= 1
            if current > best:
                best, threshold = current, null_differences[name]
        found |= {f"best_{title}": 100 * best / len(scores), f"best_{title}_thresh": threshold}
    return found
