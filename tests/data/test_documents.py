"""Paragraphs of a text."""

import textwrap

import pytest

from bert_jax.data.documents import document_of

PARAGRAPH = "It is a truth universally acknowledged, that a single man must be in want. " * 9


def test_lines_are_paragraphs() -> None:
    assert document_of(" one\n\ntwo \n three\n") == ["one", "two", "three"]
    assert document_of("") == document_of(" \n\t\n") == []


@pytest.mark.parametrize("width", [60, 72, 80])
def test_lines_broken_to_fit_a_page_are_joined(width: int) -> None:
    text = "\n\n".join([textwrap.fill(PARAGRAPH, width)] * 5)
    assert document_of(text) == [PARAGRAPH.strip()] * 5


@pytest.mark.parametrize(
    "text",
    [
        "\n\n".join([textwrap.fill(PARAGRAPH, 72)] * 2),  # too few lines to tell
        "\n".join([textwrap.fill(PARAGRAPH, 72)] * 9),  # nothing parts paragraphs
        "\n\n".join([PARAGRAPH] * 50),  # long lines
        "\n\n".join(["A short line\nof a poem"] * 50),
    ],
)
def test_other_lines_are_left_alone(text: str) -> None:
    assert document_of(text) == [line.strip() for line in text.split("\n") if line]
