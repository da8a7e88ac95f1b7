"""What is read: documents, and the parts that a source is read in."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

Document = list[str]
"""Paragraphs or sentences."""

OnBytes = Callable[[int], object]


@runtime_checkable
class Part(Protocol):
    """A share of a source that any process can read alone; can be pickled."""

    @property
    def num_bytes(self) -> int:
        """Size on disk, for a progress bar."""

    def documents(self, on_bytes: OnBytes = ...) -> Iterator[Document]:
        """All documents; `on_bytes` is told how many more bytes were read."""


def document_of(text: str) -> Document:
    """The lines of a text, which are its paragraphs; blank ones only part them."""
    return [line.strip() for line in text.split("\n") if line.strip()]
