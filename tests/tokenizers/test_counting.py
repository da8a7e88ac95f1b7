"""Counting words: any number of workers, any size of block."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import counting
from bert_jax.tokenizers.counting import count_chunks

LINES = st.lists(st.text("ab 가.", max_size=20), max_size=30)


def test_chunks_are_counted_over_all_texts_and_sorted() -> None:
    counts = count_chunks(["to be or", "not to be", ""], "spaces")
    assert list(counts.items()) == [
        (" be", 2),
        (" or", 1),
        (" to", 1),
        ("not", 1),
        ("to", 1),
    ]


@pytest.mark.parametrize("block_characters", [1, 7, 1 << 22])
@pytest.mark.parametrize("workers", [1, 2, 4])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(lines=LINES)
def test_the_number_of_workers_changes_nothing(
    block_characters: int, workers: int, lines: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_BLOCK_CHARACTERS", block_characters)
        counts = count_chunks(lines, "punctuation", workers=workers)
    one_by_one = (count_chunks([line], "punctuation", workers=1) for line in lines)
    expected = sum(map(Counter, one_by_one), Counter())
    assert list(counts.items()) == sorted(expected.items())


@pytest.mark.parametrize("workers", [1, 3])
def test_what_the_text_raises_is_raised(workers: int) -> None:
    def lines() -> Iterator[str]:
        yield "a"
        raise UserError("the file ends in the middle")

    with pytest.raises(UserError, match="in the middle"):
        count_chunks(lines(), "spaces", workers=workers)


def test_memory_holds_distinct_chunks_only() -> None:
    """The texts are read as they are counted: never all of them at once."""
    alive = most = 0

    class Line(str):
        def __new__(cls, text: str) -> "Line":
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, text)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_BLOCK_CHARACTERS", 1_000)
        counts = count_chunks((Line("0123456789") for _ in range(20_000)), "spaces", workers=2)
    assert counts == {"0123456789": 20_000}
    assert most < 1_000
