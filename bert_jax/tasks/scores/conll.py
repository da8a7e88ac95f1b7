"""Precision, recall and F1 of entities, as conlleval has them."""

from collections.abc import Sequence


def chunks(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of a sentence's tags: type, first word, and one past the last."""
    found: list[tuple[str, int, int]] = []
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if mark == "I" and found and found[-1][0] == kind and found[-1][2] == place:
            found[-1] = (kind, found[-1][1], place + 1)
        elif mark != "O":
            found.append((kind, place, place + 1))
    return found


def evaluate(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """In percent; 0 where there is nothing to divide by."""
    in_gold = {(n, chunk) for n, tags in enumerate(gold) for chunk in chunks(tags)}
    in_predicted = {(n, chunk) for n, tags in enumerate(predicted) for chunk in chunks(tags)}
    right = len(in_gold & in_predicted)
    pairs = [pair for a, b in zip(gold, predicted, strict=True) for pair in zip(a, b, strict=True)]
    return {
        "precision": 100 * right / max(len(in_predicted), 1),
        "recall": 100 * right / max(len(in_gold), 1),
        "f1": 200 * right / max(len(in_gold) + len(in_predicted), 1),
        "accuracy": 100 * sum(a == b for a, b in pairs) / max(len(pairs), 1),
    }
