"""What is read: documents, and the parts that a source is read in."""

from collections.abc import Callable, Iterator
from itertools import groupby
from statistics import median
from typing import Protocol, runtime_checkable

_PAGE = 80  # characters; Project Gutenberg breaks lines at 72 or so
_FEW_LINES = 30  # too few to tell from

Document = list[str]
"""Paragraphs or sentences."""

OnBytes = Callable[[int], object]


@runtime_checkable
class Part(Protocol):
    """A share of a source that any process can read alone; can be pickled."""

    @property
    def num_bytes(self) -> int:
        """Size on disk, for a progress bar; 0 if it is not known."""

    @property
    def version(self) -> str:
        """Changes when the text does, as far as can be told without reading it."""

    def documents(self, on_bytes: OnBytes = ...) -> Iterator[Document]:
        """All documents; `on_bytes` is told how many more bytes were read."""


def document_of(text: str) -> Document:
    """The lines of a text, which are its paragraphs; blank ones only part them.

    Where lines were broken by hand to fit a page, as in the books of Project
    Gutenberg, those between blank lines are one paragraph.
    """
    lines = [line.strip() for line in text.split("\n")]
    if _is_wrapped(lines):
        return [" ".join(block) for is_text, block in groupby(lines, bool) if is_text]
    return [line for line in lines if line]


def _is_wrapped(lines: list[str]) -> bool:
    """Whether hardly any line is longer than a page is wide, and most are about as long."""
    lengths = [len(line) for line in lines if line]
    if not _FEW_LINES < len(lengths) < len(lines):
        return False
    short = sum(length <= _PAGE for length in lengths)
    return short > 0.95 * len(lengths) and median(lengths) > 0.6 * _PAGE
