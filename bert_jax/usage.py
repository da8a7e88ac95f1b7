"""What the commands on a pretrained model share: which model, and which texts."""

import argparse
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.files import file_at, lines_of
from bert_jax.data.text_files import json_text
from bert_jax.errors import UserError
from bert_jax.pretrained import Pretrained, load
from bert_jax.pretrained.vectors import MIXES, POOLINGS, TOO_LONG


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
    logger = logging.getLogger("bert_jax")
    logger.handlers = [_Warnings(console)]
    logger.propagate = False
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "bert_jax" / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return load(folder, allow_pickle=allow_pickle)


class _Warnings(logging.Handler):
    """Shows what the package logs as a command's warnings."""

    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(record.getMessage())


class Record(NamedTuple):
    """A text or a pair, and where it stands, such as "line 3 of a.txt"."""

    texts: tuple[str, ...]
    where: str


def add_texts(parser: cli.Parser, *, fields: Sequence[str] = ("text",)) -> None:
    """The flags that name texts, or pairs where there are two fields."""
    pair = len(fields) == 2
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
        default=",".join(fields),
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


def read_texts(options: argparse.Namespace, *, num_texts: int = 1) -> Iterator[Record]:
    """The texts, one by one; a blank line is an empty text, so that rows keep their numbers.

    Raises:
      UserError: none are named, or a line that cannot be read.
    """
    if bool(options.texts) == bool(options.input):
        raise UserError("give texts, or a file of them by --input")
    if options.input:
        yield from _of_file(options, num_texts)
    elif len(options.texts) % num_texts:
        raise UserError(f"{len(options.texts)} texts are no pairs; give two and two")
    else:
        for start in range(0, len(options.texts), num_texts):
            texts = tuple(options.texts[start : start + num_texts])
            yield Record(texts, f"text {start // num_texts + 1}")


def _of_file(options: argparse.Namespace, num_texts: int) -> Iterator[Record]:
    fields = options.fields.split(",")
    if len(fields) != num_texts:
        raise UserError(f"--field names {len(fields)} fields; it must be {num_texts}")
    if options.input == "-":
        name, lines, is_json = "standard input", _standard_input(), options.jsonl
    else:
        name, path = options.input, Path(options.input)
        lines = lines_of(file_at(path), lambda _: None)
        is_json = options.jsonl or ".jsonl" in path.suffixes
    for number, line in enumerate(lines, 1):
        where = f"line {number} of {name}"
        if is_json and line:
            texts = tuple(json_text(line, field, where, other="--field") for field in fields)
            yield Record(texts, where)
        elif not is_json and num_texts == 1:
            yield Record((line,), where)
        elif not is_json and line:
            texts = tuple(line.split("\t"))
            if len(texts) != num_texts:
                raise UserError(f"{where} has {len(texts) - 1} tabs; put one between two texts")
            yield Record(texts, where)


def _standard_input() -> Iterator[str]:
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\n")
    try:
        for line in stream:
            yield line.strip()
    except UnicodeDecodeError as error:
        raise UserError(f"standard input is not UTF-8 ({error.reason}); convert it") from None


def chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Some records at a time, so that any number of them can be read."""
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk
