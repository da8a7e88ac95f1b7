"""Files of text or of JSON objects, as parts that are read alone."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bert_jax.data.documents import Document, OnBytes, document_of
from bert_jax.data.files import File, lines_of
from bert_jax.errors import UserError

PART_BYTES = 8 << 20  # enough work for a worker to be worth the asking, some seconds of it


def grouped(files: Sequence[File]) -> list[tuple[File, ...]]:
    """Consecutive files in groups of `PART_BYTES` or more, but for the last one."""
    groups: list[list[File]] = []
    room = 0
    for file in files:
        if room <= 0:
            groups.append([])
            room = PART_BYTES
        groups[-1].append(file)
        room -= file.num_bytes
    return [tuple(group) for group in groups]


@dataclass(frozen=True)
class _OfFiles:
    """A part that is some files."""

    files: tuple[File, ...]

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        return sum(file.num_bytes for file in self.files)

    @property
    def version(self) -> str:
        """Names, sizes and times, which tell files from others and from themselves later."""
        return "\n".join(f"{file} {file.num_bytes} {file.version}" for file in self.files)


@dataclass(frozen=True)
class TextFiles(_OfFiles):
    """UTF-8 files, packed ones too: a paragraph or sentence a line, a blank line between documents.

    The end of a file ends its last document (google-research/bert joins files
    that lack a trailing blank line).
    """

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time."""
        for file in self.files:
            document: Document = []
            for line in lines_of(file, on_bytes):
                if line:
                    document.append(line)
                elif document:
                    yield document
                    document = []
            if document:
                yield document


@dataclass(frozen=True)
class JsonLines(_OfFiles):
    """UTF-8 files of one JSON object a line, packed ones too: each object is a document.

    The lines of one of its fields are the paragraphs; blank ones only part them.
    Objects without text, and blank lines of the file, are passed over.
    """

    field: str

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time."""
        for file in self.files:
            for number, line in enumerate(lines_of(file, on_bytes), start=1):
                if line:
                    place = f"{file}, line {number}"
                    text = json_text(line, self.field, place, other="jsonl#FIELD:GLOB")
                    document = document_of(text)
                    if document:
                        yield document


def json_text(line: str, field: str, place: str, *, other: str) -> str:
    """The text in a field of one object.

    Args:
      line: the object.
      field: its name.
      place: where the line stands, for errors.
      other: how to choose another field, for errors.

    Raises:
      UserError: no object, or no text in the field.
    """
    record = json_object(line, place, example=field)
    if field not in record:
        fields = ", ".join(map(repr, record)) or "none"
        raise UserError(f"{place} has no field {field!r}, only {fields}; choose another: {other}")
    text = record[field]
    if not isinstance(text, str):
        raise UserError(f"{place}: field {field!r} is no string; mend or leave out the line")
    refuse_half_characters(text, field, place)
    return text


def json_object(line: str, place: str, *, example: str) -> dict[str, Any]:
    """The object of a line.

    Args:
      line: the object.
      place: where the line stands, for errors.
      example: one of the fields it should have, for errors.

    Raises:
      UserError: it is none.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place} is not JSON: {error.msg} (column {error.colno}); "
            "every line must be one whole object"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
        raise UserError(f"{place} is JSON that Python cannot read: {error}") from None
    if not isinstance(record, dict):
        raise UserError(f"{place} is JSON, but no object like {{{example!r}: ...}}")
    return record


def refuse_half_characters(text: str, field: str, place: str) -> None:
    """Refuses a text that cannot be written as UTF-8.

    Raises:
      UserError: it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{place}: field {field!r} holds half a character, the escape "
            f"\\u{ord(text[error.start]):04x} alone; mend or leave out the line"
        ) from None
