"""Where text comes from: one small interface, `open_source("python_docs")`.

A source yields documents, each a list of paragraphs, always in the same order.
It consists of parts, which several processes can share among themselves.
"""

import math
import re
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bert_jax.data.documents import Document, OnBytes, Part
from bert_jax.data.files import file_at, find_files
from bert_jax.data.python_docs import PythonDocs
from bert_jax.data.text_files import JsonLines, TextFiles, grouped
from bert_jax.errors import UserError

_KINDS = (
    "python_docs, text:GLOB, jsonl:GLOB, jsonl#FIELD:GLOB, tfds:NAME or tfds#FIELD:NAME, "
    "e.g. 'text:books/*.txt.gz', 'jsonl#content:web/*.jsonl.zst', 'tfds#book_text:pg19'"
)

_KIND = r"(?:python_docs\s*(?:,|$)|text:|(?:jsonl|tfds)[:#])"
_WEIGHT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ITEM = re.compile(rf"(?:^|,)\s*(?=(?:{_WEIGHT}\s+)?{_KIND})")
_WEIGHTED_ITEM = re.compile(rf"(?:^|,)\s*{_WEIGHT}\s+{_KIND}")


@dataclass(frozen=True)
class Source:
    """Raw text.

    Attributes:
      name: as it was asked for.
      parts: the documents of all, in a row, are the source's.
    """

    name: str
    parts: tuple[Part, ...]

    @property
    def num_bytes(self) -> int:
        """Size on disk, for a progress bar."""
        return sum(part.num_bytes for part in self.parts)

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """All documents; `on_bytes` is told how many more bytes were read."""
        for part in self.parts:
            yield from part.documents(on_bytes)


def open_source(source: str) -> Source:
    """The source of that name.

    Args:
      source: `python_docs` (Python's own documentation, on every machine),
        `text:GLOB` (see `TextFiles`), `jsonl:GLOB` (see `JsonLines`; its text is in
        the field `text`, or by `jsonl#FIELD:GLOB` in another, whose name holds no
        colon), or `tfds:NAME` or `tfds#FIELD:NAME` (see `tfds_parts`). All behind
        the first colon is the pattern, whatever it holds; see `find_files` for
        addresses of servers.

    Raises:
      UserError: an unknown kind, a pattern that matches no file, or a data set
        that cannot be had.
    """
    kind, _, argument = source.partition(":")
    if source == "python_docs":
        return Source(source, (PythonDocs(Path(sysconfig.get_path("stdlib"))),))
    if kind == "text" and argument:
        return Source(source, tuple(map(TextFiles, grouped(find_files(argument)))))
    family, _, field = kind.partition("#")
    if family == "jsonl" and argument and (field or kind == "jsonl"):
        groups = grouped(find_files(argument))
        return Source(source, tuple(JsonLines(group, field or "text") for group in groups))
    if family == "tfds" and argument and (field or kind == "tfds"):
        from bert_jax.data.tfds_source import tfds_parts  # TensorFlow, which no other source needs

        return Source(source, tfds_parts(argument, field))
    raise UserError(f"unknown data.source {source!r}; use {_KINDS}")


def text_source(paths: Sequence[Path]) -> Source:
    """Text files (see `TextFiles`) in the order given.

    Raises:
      UserError: a path is no file.
    """
    groups = grouped([file_at(path) for path in paths])
    return Source(" ".join(map(str, paths)), tuple(map(TextFiles, groups)))


class Weighted(NamedTuple):
    """A source and its share of a mixture."""

    weight: float
    source: str


def mixture(source: str) -> list[Weighted]:
    """The items of a mixture, with weights that sum to 1; a plain source is one of weight 1.

    Args:
      source: such as "0.2 text:books/*.gz, 0.8 tfds:wikipedia/20230601.en". An item
        begins with a number, a space and a kind of source, so the comma of a
        pattern parts nothing.

    Raises:
      UserError: an item without a weight, a weight that is not positive, or a
        source that occurs twice.
    """
    if not _WEIGHTED_ITEM.search(source):
        return [Weighted(1.0, source)]
    starts = [0, *(found.start() for found in _ITEM.finditer(source) if found.start())]
    items: dict[str, float] = {}
    for start, stop in zip(starts, [*starts[1:], len(source)], strict=True):
        item = source[start:stop].removeprefix(",").strip()
        if not _WEIGHTED_ITEM.match(item):
            raise UserError(
                f"data.source {source!r}: {item!r} has no weight and known source; write all "
                "as in '0.2 text:GLOB, 0.8 jsonl:GLOB'"
            )
        number, name = item.split(maxsplit=1)
        weight = float(number)
        if not (weight > 0 and math.isfinite(weight)):
            raise UserError(
                f"data.source {source!r}: the weight of {name!r} is {number}; it must be more "
                "than 0, or leave the item out"
            )
        if name in items:
            raise UserError(f"data.source {source!r} names {name!r} twice; add up its weights")
        items[name] = weight
    total = sum(items.values())
    if not math.isfinite(total):
        raise UserError(f"data.source {source!r}: the weights add up to more than can be counted")
    return [Weighted(weight / total, name) for name, weight in items.items()]
