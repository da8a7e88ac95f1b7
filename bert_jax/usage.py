"""What the commands on a pretrained model share: which model, and which texts."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.files import file_at, unstripped_lines_of
from bert_jax.data.text_files import json_text
from bert_jax.errors import TextError, UserError
from bert_jax.pretrained import Pretrained, load
from bert_jax.pretrained.vectors import MIXES, POOLINGS, TOO_LONG
from bert_jax.training.compilation import keep_programs


def add_model(parser: cli.Parser) -> None:
    """The flags that name a model."""
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="a run, or a model of Hugging Face's or Google's, also as a zip archive",
    )
    add_allow_pickle(parser)


def add_allow_pickle(parser: cli.Parser) -> None:
    """The flag that lets old files of PyTorch in."""
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read weights, and nothing else, from pickles (pytorch_model.bin)",
    )


def open_model(folder: Path, console: Console, *, allow_pickle: bool) -> Pretrained:
    """Loads a model; its warnings are shown, and what is compiled is kept for the next time.

    Raises:
      UserError: see `load`.
    """
    show_warnings(console)
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    keep_programs(Path(home) / "bert_jax" / "compiled")
    return load(folder, allow_pickle=allow_pickle)


def show_warnings(console: Console) -> None:
    """Lets what the package logs be seen as a command's warnings."""
    logger = logging.getLogger("bert_jax")
    logger.handlers = [_Warnings(console)]
    logger.propagate = False


class _Warnings(logging.Handler):
    """Shows what the package logs as a command's warnings."""

    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(record.getMessage())


_FIELDS = {1: ("text",), 2: ("first", "second")}  # of a record, by default


class Record(NamedTuple):
    """A text or a pair, and where it stands: "line 3 of a.txt", or "" where there is no other."""

    texts: tuple[str, ...]
    where: str


@runtime_checkable
class Placed(Protocol):
    """Whatever knows where it stands."""

    @property
    def where(self) -> str:
        """As a `Record` says it."""


R = TypeVar("R")


def add_texts(parser: cli.Parser, *, num_texts: int = 1) -> None:
    """The flags that name texts, or pairs if `num_texts` is 2."""
    fields = _FIELDS[num_texts]
    pair = num_texts == 2
    parser.add_argument(
        "texts",
        nargs="*",
        metavar=" ".join(field.upper() for field in fields),
        help="two texts, or two and two" if pair else "a text each",
    )
    what = "two texts with a tab between them" if pair else "a text"
    parser.add_argument(
        "--input",
        metavar="FILE",
        help=f"{what} a line, or a JSON object a line if it is named .jsonl; packed too "
        "(.gz, .zst); - for standard input",
    )
    parser.add_argument(
        "--jsonl", action="store_true", help="the input is JSON objects, whatever its name"
    )
    parser.add_argument(
        "--field",
        dest="fields",
        metavar="NAME",
        help=f"of the JSON objects (default: {','.join(fields)})",
    )


def add_vectors(parser: cli.Parser) -> None:
    """The flags that say what a text's vector is: keyword arguments of `Pretrained.embed`."""
    parser.add_argument(
        "--pooling",
        default="mean",
        choices=POOLINGS,
        help="of a text: mean or maximum of its tokens with [CLS] and [SEP], the vector at [CLS], "
        "or the pooler's (default: mean)",
    )
    parser.add_argument(
        "--layers",
        type=_layers,
        default=-1,
        metavar="N,N",
        help="0 the embeddings, -1 the last (default), or all; write --layers=-2,-1",
    )
    parser.add_argument("--mix", choices=MIXES, help="of several layers (default: kept apart)")
    parser.add_argument(
        "--too-long",
        default="truncate",
        choices=TOO_LONG,
        help="what becomes of texts longer than the model (default: truncate, with a warning)",
    )


def _layers(text: str) -> int | list[int] | str:
    if text == "all":
        return text
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers of layers") from None
    return numbers[0] if len(numbers) == 1 else numbers


def refuse(
    parser: cli.Parser, options: argparse.Namespace, names: Sequence[str], mode: str
) -> None:
    """Refuses flags that would be ignored.

    Args:
      parser: whose defaults count as not given.
      options: what was given.
      names: of options that have no meaning in this mode.
      mode: what was given too, for the error.

    Raises:
      UserError: one of them is given.
    """
    for name in names:
        if getattr(options, name) != parser.get_default(name) and getattr(options, name) != []:
            flag = {"texts": "texts", "fields": "--field"}.get(name, f"--{name.replace('_', '-')}")
            raise UserError(f"{flag} cannot be given with {mode}; leave one of them out")


def check_output(path: Path | None, *suffixes: str) -> None:
    """Refuses what could not be written, before a model is loaded for it.

    Raises:
      UserError: another suffix than these, or a folder that is not there.
    """
    if path is None:
        return
    if path.suffix not in suffixes:
        raise UserError(f"--output is {path}; it must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise UserError(f"--output is {path}, but {path.parent} is no folder; make it first")
    if path.is_dir():
        raise UserError(f"--output is {path}, which is a folder; name a file")


def read_texts(options: argparse.Namespace, *, num_texts: int = 1) -> Iterator[Record]:
    """The texts, one by one; a blank line is an empty text, so that rows keep their numbers.

    The first one is read at once, so that what is wrong with all is told at once.

    Raises:
      UserError: none are named, or a line that cannot be read.
    """
    records = _records(options, num_texts)
    first = next(records, None)
    if first is None:
        raise UserError("there is no text in the input")
    return chain([first], records)


def _records(options: argparse.Namespace, num_texts: int) -> Iterator[Record]:
    if bool(options.texts) == bool(options.input):
        raise UserError("give texts, or a file of them by --input")
    if options.input:
        yield from _of_file(options, num_texts)
        return
    if options.fields or options.jsonl:
        flag = "--field" if options.fields else "--jsonl"
        raise UserError(f"{flag} is for an --input; leave it out with texts")
    if len(options.texts) % num_texts:
        raise UserError(f"{len(options.texts)} texts are no pairs; give two and two")
    for start in range(0, len(options.texts), num_texts):
        texts = tuple(options.texts[start : start + num_texts])
        is_only = len(options.texts) == num_texts
        yield Record(texts, "" if is_only else f"text {start // num_texts + 1}")


def _of_file(options: argparse.Namespace, num_texts: int) -> Iterator[Record]:
    fields = options.fields.split(",") if options.fields else _FIELDS[num_texts]
    if len(fields) != num_texts:
        raise UserError(f"--field names {len(fields)} fields; it must be {num_texts}")
    if options.input == "-":
        name, lines, is_json = "standard input", standard_input(), options.jsonl
    else:
        name, path = options.input, Path(options.input)
        lines = unstripped_lines_of(file_at(path), lambda _: None)
        is_json = options.jsonl or ".jsonl" in path.suffixes
    if options.fields and not is_json:
        raise UserError(f"--field is for JSON objects; leave it out, or say --jsonl of {name}")
    for number, line in enumerate(lines, 1):
        where = f"line {number} of {name}"
        unmarked = line.lstrip("\ufeff")
        text = unmarked.strip()
        if is_json and text:
            texts = tuple(json_text(text, field, where, other="--field") for field in fields)
            yield Record(texts, where)
        elif not is_json and num_texts == 1:
            yield Record((text,), where)
        elif not is_json and (text or "\t" in unmarked):
            # Split before it is stripped: one of the two may be empty.
            texts = tuple(half.strip() for half in unmarked.split("\t"))
            if len(texts) != num_texts:
                raise UserError(f"{where} has {len(texts) - 1} tabs; put one between two texts")
            yield Record(texts, where)


def standard_input() -> Iterator[str]:
    """Its lines with their line feeds."""
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\n")
    try:
        yield from stream
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 ({error.reason}); convert it") from None


def chunks(records: Iterable[R], size: int) -> Iterator[list[R]]:
    """Some records at a time, so that any number of them can be read."""
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk


@contextmanager
def located(chunk: Sequence[Placed]) -> Iterator[None]:
    """Says where a text stands that something is wrong with.

    Raises:
      UserError: what was a `TextError`.
    """
    try:
        yield
    except TextError as error:
        where = chunk[error.number].where
        raise UserError(f"{where}: {error.reason}" if where else error.reason) from None


def json_numbers(array: np.ndarray) -> Any:
    """Lists of its numbers, for JSON: nine significant digits, which float32 needs."""
    short = [float(f"{number:.9g}") for number in array.ravel().tolist()]
    return np.array(short).reshape(array.shape).tolist()
