"""Cutting text into chunks and numbering the distinct ones."""

import unicodedata
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.tokenizers.chunks import Chunks, concatenated
from bert_jax.tokenizers.runtime import Cut

# Spaces of many kinds, and characters whose UTF-8 ends like theirs.
TEXT = st.text(
    "ab .'-(\t\n\x1c\x85\xa0\u1680\u2000\u200b\u2013\u2028\u202f\u205f\u3000é가😀\u0338中文="
)
TEXTS = st.lists(TEXT, max_size=8)


def chunks_of(texts: list[str], cut: Cut) -> list[list[str]]:
    chunks = Chunks(cut)
    numbers, counts = chunks.number(*concatenated(texts))
    held = list(chunks.texts())
    assert len(held) == len(set(held)) == len(chunks)
    found = iter(held[number] for number in numbers)
    return [[next(found) for _ in range(count)] for count in counts]


@pytest.mark.parametrize(
    ("cut", "chunks"),
    [
        ("nowhere", ["the cat's  (fat) café."]),
        ("spaces", ["the", " cat's", "  (fat)", " café."]),
        ("punctuation", ["the", " cat", "'", "s", "  (", "fat", ")", " café", "."]),
    ],
)
def test_text_is_cut_where_told(cut: Cut, chunks: list[str]) -> None:
    assert chunks_of(["the cat's  (fat) café."], cut) == [chunks]


@pytest.mark.parametrize(
    "space", "\t\n\r\x0b\x0c \x85\xa0\u1680\u2000\u200a\u2028\u202f\u205f\u3000"
)
def test_white_space_is_never_cut_before_a_space(space: str) -> None:
    assert chunks_of([f"a{space} b"], "spaces")[0][-1].endswith("b")
    assert chunks_of([f"a{space} b"], "spaces") in ([[f"a{space} b"]], [["a", f"{space} b"]])


@pytest.mark.parametrize("character", "\u2013\u200b\u202a\u2060é가😀\u3001\u00a1")
def test_a_space_after_anything_else_is_a_cut(character: str) -> None:
    """The last bytes of these are those of some white space, or near."""
    assert chunks_of([f"a{character} b"], "spaces") == [[f"a{character}", " b"]]


def test_a_mark_that_may_combine_with_punctuation_stays_with_it() -> None:
    """It could make a letter of both, which is then one word with those beside it."""
    assert chunks_of(["a=\u0338b", "a=", "a=b"], "punctuation") == [
        ["a=\u0338b"],
        ["a", "="],
        ["a", "=", "b"],
    ]
    assert unicodedata.normalize("NFC", "=\u0338") == "≠"


def test_ideographs_stand_alone_where_told() -> None:
    text = "漢字とかな、Ext. \u4dbf\u4e00\u9fff\ua000 a中(文\u0301"
    pieces = ["漢", "字", "とかな、Ext", ".", " \u4dbf", "\u4e00", "\u9fff", "\ua000", " a"]
    assert chunks_of([text], "ideographs") == [[*pieces, "中", "(", "文", "\u0301"]]
    assert len(chunks_of([text], "punctuation")[0]) == 4


@pytest.mark.parametrize("cut", get_args(Cut))
@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXTS)
def test_chunks_make_up_the_texts(cut: Cut, texts: list[str]) -> None:
    found = chunks_of(texts, cut)
    assert ["".join(chunks) for chunks in found] == texts
    assert all(all(chunks) for chunks in found)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(TEXTS, max_size=5))
def test_numbers_stay_the_same_as_more_texts_come(batches: list[list[str]]) -> None:
    chunks = Chunks("spaces")
    for texts in batches:
        before = list(chunks.texts())
        numbers, _ = chunks.number(*concatenated(texts))
        assert list(chunks.texts())[: len(before)] == before
        held = list(chunks.texts())
        assert "".join(held[number] for number in numbers) == "".join(texts)
        assert list(chunks.texts(len(before))) == held[len(before) :]
        assert chunks.num_bytes == sum(len(chunk.encode()) for chunk in held)


def test_as_many_chunks_as_there_are_find_room() -> None:
    words = [f"w{number}" for number in range(100_000)]
    chunks = Chunks("spaces")
    for first in range(0, len(words), 7_000):
        chunks.number(*concatenated(words[first : first + 7_000]))
    assert list(chunks.texts()) == words
    numbers, counts = chunks.number(*concatenated(words))
    np.testing.assert_array_equal(numbers, np.arange(len(words)))
    assert (counts == 1).all()


def test_no_text_has_no_chunk() -> None:
    assert chunks_of([], "spaces") == []
    assert chunks_of(["", "a", ""], "punctuation") == [[], ["a"], []]
