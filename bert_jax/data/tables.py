"""Labelled examples in files of columns: TSV, CSV or JSON lines, packed ones too."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bert_jax.data.files import file_at, local, unstripped_lines_of
from bert_jax.data.text_files import json_object, refuse_half_characters
from bert_jax.errors import UserError

_PACKINGS = (".gz", ".zst")


class Row(NamedTuple):
    """An example: the texts of the columns asked for, and the line that it begins in."""

    values: tuple[str, ...]
    line: int


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    r"""Some columns of a file, by their names.

    Args:
      path: its ending says what it is. `.tsv` or `.txt`: names in the first line, tabs,
        a quote is a quote and nothing more, as in GLUE; `.csv`: names in the first
        line, fields may be quoted and then hold commas and line breaks (RFC 4180);
        `.jsonl`: an object a line. All UTF-8, and packed if it ends in `.gz` or `.zst`.
      columns: those wanted; of objects, fields.

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
        hint = "; jq -c '.[]' makes .jsonl of an array" if ending == ".json" else ""
        raise UserError(f"{path} must end in .tsv, .csv or .jsonl, packed or not{hint}")
    lines = unstripped_lines_of(file_at(path), lambda _: None)
    first = next(lines, "").lstrip("\ufeff")
    rows = list(_READERS[ending](chain([first], lines), path, columns))
    if not rows:
        raise UserError(f"{path} is empty: it holds no examples")
    return rows


def _of_tsv(lines: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[Row]:
    split = (line.removesuffix("\n").removesuffix("\r").split("\t") for line in lines)
    return _of_fields(enumerate(split, 1), path, columns)


def _of_csv(lines: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[Row]:
    return _of_fields(_csv_fields(lines, path), path, columns)


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


def _of_fields(
    records: Iterator[tuple[int, list[str]]], path: Path, columns: Sequence[str]
) -> Iterator[Row]:
    """The first record is the names of the columns."""
    filled = ((line, fields) for line, fields in records if fields not in ([], [""]))
    _, names = next(filled, (0, []))
    if not names:
        return
    for column in columns:
        if names.count(column) != 1:
            raise UserError(
                f"{path} has {names.count(column) or 'no'} columns {column!r}; "
                f"its first line names {', '.join(map(repr, names))[:300]}"
            )
    places = [names.index(column) for column in columns]
    for line, fields in filled:
        if len(fields) != len(names):
            raise UserError(
                f"line {line} of {path} has {len(fields)} fields where the first line has "
                f"{len(names)}; mend or leave out the line"
            )
        yield Row(tuple(fields[place] for place in places), line)


def _of_json(lines: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number} of {path}"
        record = json_object(line, where, example=columns[0])
        values = []
        for column in columns:
            if column not in record:
                fields = ", ".join(map(repr, record)) or "none"
                raise UserError(f"{where} has no field {column!r}, only {fields}")
            value = record[column]
            if not isinstance(value, str | int | float):
                raise UserError(f"{where}: field {column!r} is neither a text nor a number")
            text = value if isinstance(value, str) else json.dumps(value)
            refuse_half_characters(text, column, where)
            values.append(text)
        yield Row(tuple(values), number)


_READERS: dict[str, Callable[[Iterator[str], Path, Sequence[str]], Iterator[Row]]] = {
    ".tsv": _of_tsv,
    ".txt": _of_tsv,
    ".csv": _of_csv,
    ".jsonl": _of_json,
}
