"""Labelled examples in files of columns: TSV, CSV or JSON, packed ones too."""

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from bert_jax.data.files import file_at, local, unstripped_lines_of
from bert_jax.data.text_files import json_object, refuse_half_characters
from bert_jax.errors import UserError

_PACKINGS = (".gz", ".zst")


Refuse = Callable[[str], None]
"""Called with what is wrong with a line; it is left out, unless this raises."""


class Row(NamedTuple):
    """An example: the texts of the columns asked for, and the line that it begins in.

    Of a `.json` file the line is the number of the object.
    """

    values: tuple[str, ...]
    line: int


def _raise(message: str) -> None:
    raise UserError(f"{message}; mend or leave out the line")


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    names: Sequence[str] = (),
    optional: str = "",
    on_ragged: Refuse = _raise,
) -> list[Row]:
    r"""Some columns of a file, by their names.

    Args:
      path: its ending says what it is. `.tsv` or `.txt`: names in the first line, tabs,
        a quote is a quote and nothing more, as in GLUE; `.csv`: names in the first
        line, fields may be quoted and then hold commas and line breaks (RFC 4180);
        `.jsonl`: an object a line; `.json`: an array of objects, or an object that has it as
        `data`. All UTF-8, and packed if it ends in `.gz` or `.zst`.
      columns: those wanted; of objects, fields. Of several names with | between them, such as
        "label|gold_label", the first that is there is meant.
      names: of all columns, for a table without a line of names.
      optional: the last of the columns if it may be missing; rows are then without its value.
      on_ragged: told of a line with more or fewer fields than there are names; refuses it if
        not given.

    Returns:
      The rows with their values in the order of `columns`: as they stand in the file,
      spaces and all; numbers of JSON as they are written there. Blank lines are no rows.

    Raises:
      UserError: the file is missing, empty or none of these; a column is not there; a
        line has more or fewer fields than the names; what stands there is no text.

    Examples:
      >>> _ = Path("reviews.tsv").write_text("id\ttext\tlabel\n7\tSam hated the movie\t0\n")
      >>> read_table(Path("reviews.tsv"), ["text", "label"])
      [Row(values=('Sam hated the movie', '0'), line=2)]
    """
    path = local(path)
    ending = path.with_suffix("").suffix if path.suffix in _PACKINGS else path.suffix
    if ending not in _READERS:
        raise UserError(f"{path} must end in .tsv, .csv, .jsonl or .json, packed or not")
    lines = unstripped_lines_of(file_at(path), lambda _: None)
    first = next(lines, "").lstrip("\ufeff")
    asked = _Asked(path, tuple(columns), tuple(names), optional, on_ragged)
    rows = list(_READERS[ending](chain([first], lines), asked))
    if not rows:
        raise UserError(f"{path} is empty: it holds no examples")
    return rows


class _Asked(NamedTuple):
    """What is to be read; see `read_table`."""

    path: Path
    columns: tuple[str, ...]
    names: tuple[str, ...]
    optional: str
    on_ragged: Refuse


def _of_tsv(lines: Iterator[str], asked: _Asked) -> Iterator[Row]:
    split = (line.removesuffix("\n").removesuffix("\r").split("\t") for line in lines)
    return _of_fields(enumerate(split, 1), asked)


def _of_csv(lines: Iterator[str], asked: _Asked) -> Iterator[Row]:
    return _of_fields(_csv_fields(lines, asked.path), asked)


def _csv_fields(lines: Iterator[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record, and the line that it begins in."""
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"line {line} of {path} is not CSV: {error}; is a quote not closed or not doubled?"
            ) from None
        yield line, fields


def _of_fields(records: Iterator[tuple[int, list[str]]], asked: _Asked) -> Iterator[Row]:
    """The first record is the names of the columns, unless they are given."""
    filled = ((line, fields) for line, fields in records if fields not in ([], [""]))
    names: Sequence[str] = asked.names
    if not names:
        _, names = next(filled, (0, []))
    if not names:
        return
    places = []
    for column in asked.columns:
        name = _chosen(column, names)
        if name == asked.optional and name not in names:
            continue
        if names.count(name) != 1:
            known = "the names given are" if asked.names else "its first line names"
            raise UserError(
                f"{asked.path} has {names.count(name) or 'no'} columns {name!r}; "
                f"{known} {', '.join(map(repr, names))[:300]}"
            )
        places.append(names.index(name))
    for line, fields in filled:
        if len(fields) == len(names):
            yield Row(tuple(fields[place] for place in places), line)
        else:
            asked.on_ragged(
                f"line {line} of {asked.path} has {len(fields)} fields where there are names for "
                f"{len(names)}"
            )


def _chosen(column: str, names: Collection[str]) -> str:
    """Of the names that a column may have, the first that is there."""
    return next(
        (name for name in column.split("|") if name in names), column.split("|", maxsplit=1)[0]
    )


def _of_json_lines(lines: Iterator[str], asked: _Asked) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"line {number} of {asked.path}"
            record = json_object(line, where, example=asked.columns[0])
            yield Row(_values(record, asked, where), number)


def _of_json(lines: Iterator[str], asked: _Asked) -> Iterator[Row]:
    try:
        content = json.loads("".join(lines))
    except ValueError as error:
        raise UserError(f"{asked.path} is no JSON ({error}); is it .jsonl?") from None
    records = content.get("data") if isinstance(content, dict) else content
    if not isinstance(records, list):
        raise UserError(f"{asked.path} is no array of JSON objects, nor has it one as 'data'")
    for number, record in enumerate(records, 1):
        where = f"object {number} of {asked.path}"
        if not isinstance(record, dict):
            raise UserError(f"{where} is no JSON object")
        yield Row(_values(record, asked, where), number)


def _values(record: Mapping[str, Any], asked: _Asked, where: str) -> tuple[str, ...]:
    values = []
    for column in asked.columns:
        name = _chosen(column, record)
        if name not in record:
            if name == asked.optional:
                continue
            fields = ", ".join(map(repr, record)) or "none"
            raise UserError(f"{where} has no field {name!r}, only {fields}")
        value = record[name]
        if not isinstance(value, str | int | float):
            raise UserError(f"{where}: field {name!r} is neither a text nor a number")
        text = value if isinstance(value, str) else json.dumps(value)
        refuse_half_characters(text, name, where)
        values.append(text)
    return tuple(values)


_READERS: dict[str, Callable[[Iterator[str], _Asked], Iterator[Row]]] = {
    ".tsv": _of_tsv,
    ".txt": _of_tsv,
    ".csv": _of_csv,
    ".jsonl": _of_json_lines,
    ".json": _of_json,
}
