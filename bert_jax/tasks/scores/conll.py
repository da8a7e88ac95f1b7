"""Precision, recall and F1 of chunks, by the rules of CoNLL-2000's scorer, conlleval."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

# BILOU's last and unit tags are IOBES's end and single ones.
_MARKS = {"L": "E", "U": "S"}


def chunks(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The chunks that tags amount to, whatever their scheme, and whether legal or not.

    A chunk begins at B or S; at I or E after O, E or S; and where the type changes. It ends
    before O, B or S, after E or S, and where the type changes. A tag without a dash is of the
    type "".

    Returns:
      Type, first place, one past the last, in order.
    """
    return list(_chunks(tags))


def _chunks(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    mark, kind, start = "O", "", 0
    for place, tag in enumerate(chain(tags, ["O"])):
        next_mark, _, next_kind = tag.partition("-")
        next_mark = _MARKS.get(next_mark, next_mark)
        differs = next_kind != kind
        is_over = mark in ("E", "S") or next_mark in ("O", "B", "S") or differs
        if mark != "O" and is_over:
            yield kind, start, place
        if next_mark != "O" and (mark in ("O", "E", "S") or next_mark in ("B", "S") or differs):
            start = place
        mark, kind = next_mark, next_kind


def evaluate(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The figures of sentences, in percent, not rounded.

    Args:
      gold: the right tags of each sentence.
      predicted: as many.

    Returns:
      `accuracy` of tags; `precision`, `recall` and `f1` of chunks, 0 where they are not
      defined; `types`, of each type these three and its numbers of chunks, `gold`,
      `predicted` and `correct`.
    """
    of_gold: Counter[str] = Counter()
    of_predicted: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    right = total = 0
    for ours, theirs in zip(gold, predicted, strict=True):
        right += sum(one == other for one, other in zip(ours, theirs, strict=True))
        total += len(ours)
        there, found = set(_chunks(ours)), set(_chunks(theirs))
        of_gold.update(kind for kind, _, _ in there)
        of_predicted.update(kind for kind, _, _ in found)
        correct.update(kind for kind, _, _ in there & found)
    types = {
        kind: {
            **_figures(correct[kind], of_gold[kind], of_predicted[kind]),
            "gold": of_gold[kind],
            "predicted": of_predicted[kind],
            "correct": correct[kind],
        }
        for kind in sorted({*of_gold, *of_predicted})
    }
    return {
        "accuracy": 100 * right / max(total, 1),
        **_figures(correct.total(), of_gold.total(), of_predicted.total()),
        "types": types,
    }


def _figures(correct: int, gold: int, predicted: int) -> dict[str, float]:
    return {
        "precision": 100 * correct / max(predicted, 1),
        "recall": 100 * correct / max(gold, 1),
        "f1": 200 * correct / max(gold + predicted, 1),
    }
