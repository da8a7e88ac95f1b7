"""Chunks as conlleval reads them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.tasks.scores.conll import chunks, evaluate


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("O I-PER I-PER", [("PER", 1, 3)]),  # illegal in IOB2, the rule in IOB1
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("I-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-PER E-PER S-LOC", [("PER", 0, 3), ("LOC", 3, 4)]),
        ("B-PER L-PER U-LOC U-LOC", [("PER", 0, 2), ("LOC", 2, 3), ("LOC", 3, 4)]),
        ("E-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_chunks(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert chunks(tags.split()) == expected


TAGS = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=12)


@given(TAGS)
def test_chunks_are_those_of_a_pattern(tags: list[str]) -> None:
    """A letter a tag: what a B or an I begins goes on with I of its type."""
    text = "".join({"O": "o", "B-X": "X", "I-X": "x", "B-Y": "Y", "I-Y": "y"}[tag] for tag in tags)
    found = [
        (match[0][0].upper(), match.start(), match.end())
        for match in re.finditer("[Xx]x*|[Yy]y*", text)
    ]
    assert chunks(tags) == found


def test_figures_are_conlleval_s() -> None:
    """Of its own documentation's kind: counts, and percents of them."""
    gold = ["B-PER I-PER O O B-LOC".split(), "I-ORG".split()]
    predicted = ["B-PER I-PER O I-LOC I-LOC".split(), "B-ORG".split()]
    found = evaluate(gold, predicted)
    assert found["accuracy"] == pytest.approx(100 * 3 / 6)
    for name in ("precision", "recall", "f1"):
        assert found[name] == pytest.approx(200 / 3)
    assert found["types"]["LOC"] == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "gold": 1,
        "predicted": 1,
        "correct": 0,
    }
    assert found["types"]["ORG"]["f1"] == 100


def test_nothing_found_and_nothing_there() -> None:
    assert evaluate([["O", "O"]], [["O", "O"]])["f1"] == 0
    assert evaluate([["B-X"]], [["O"]])["recall"] == 0
    assert evaluate([], [])["accuracy"] == 0
    with pytest.raises(ValueError, match="zip"):
        evaluate([["O"]], [["O", "O"]])


@given(st.lists(st.tuples(TAGS, st.randoms(use_true_random=False)), min_size=1, max_size=4))
def test_perfect_is_a_hundred(drawn: list) -> None:
    tags = [each for each, _ in drawn]
    found = evaluate(tags, tags)
    assert found["f1"] in (0, 100)
    assert (found["f1"] == 100) == any(tag != "O" for each in tags for tag in each)
