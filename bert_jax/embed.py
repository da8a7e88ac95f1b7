"""Turns texts into vectors.

python -m bert_jax.embed --model runs/tiny --input texts.txt --output vectors.npz
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import cli
from bert_jax.array_files import array_file
from bert_jax.atomic import replacing
from bert_jax.console import Console
from bert_jax.pretrained import Pretrained
from bert_jax.pretrained.vectors import WORD_POOLINGS
from bert_jax.usage import (
    Record,
    add_model,
    add_texts,
    add_vectors,
    check_output,
    chunks,
    json_numbers,
    located,
    open_model,
    read_texts,
    refuse,
)

_AT_ONCE = 4096  # texts; of so many, those of like length share batches


def main(arguments: list[str]) -> None:
    """Parses the command line, reads, embeds and writes."""
    parser = cli.Parser(
        "embed",
        "Writes a vector of each text, or of each of its words, from any layer: to standard "
        "output as JSON, or to a file.",
        example="python -m bert_jax.embed --model runs/tiny --input texts.txt --output vectors.npz",
    )
    add_model(parser)
    add_texts(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".npz: `vectors`, and for words the number of the `text`, `start` and `end`; "
        ".jsonl: an object for each text",
    )
    add_vectors(parser)
    parser.add_argument(
        "--words",
        choices=WORD_POOLINGS,
        help="vectors of words instead: mean of its pieces, or the first",
    )
    parser.add_argument("--normalize", action="store_true", help="make a text's vector 1 long")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    check_output(options.output, ".npz", ".jsonl")
    if options.words:
        refuse(parser, options, ("pooling", "normalize"), "--words")
    if options.pooling == "pooled":  # it has the last layer's [CLS] only
        refuse(parser, options, ("layers", "mix"), "--pooling pooled")

    console = Console(quiet=options.quiet or not options.output)
    records = read_texts(options)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    if options.output and options.output.suffix == ".npz":
        with array_file(options.output) as arrays:
            shape: tuple[int, ...] = ()
            if options.words:  # of a text it is the same, and any text has a vector
                shape = bert.embed([""], layers=options.layers, mix=options.mix)[0].shape
            for number, found in _embedded(bert, records, options, console):
                if options.words:
                    arrays.append(**_word_arrays(number, found, shape))
                else:
                    arrays.append(vectors=np.stack([item["vector"] for item in found]))
    elif options.output:
        with replacing(options.output) as new:
            for _, found in _embedded(bert, records, options, console):
                new.writelines(f"{_json(item)}\n".encode() for item in found)
    else:
        for _, found in _embedded(bert, records, options, console):
            for item in found:
                console.say(_json(item))


def _embedded(
    bert: Pretrained, records: Iterator[Record], options: argparse.Namespace, console: Console
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Some texts with their vectors at a time, and the number of the first."""
    empty = number = 0
    how = {"layers": options.layers, "mix": options.mix, "too_long": options.too_long}
    with console.bar("embedding", total=None, unit="text") as bar:
        for chunk in chunks(records, _AT_ONCE):
            texts = [record.texts[0] for record in chunk]
            empty += sum(not text.strip() for text in texts)
            found: list[dict[str, Any]]
            with located(chunk):
                if options.words:
                    words = bert.words(texts, pieces=options.words, **how)
                    found = [
                        {"text": text, "words": [word._asdict() for word in of_text]}
                        for text, of_text in zip(texts, words, strict=True)
                    ]
                else:
                    vectors = bert.embed(
                        texts, pooling=options.pooling, normalize=options.normalize, **how
                    )
                    found = [
                        {"text": text, "vector": vector}
                        for text, vector in zip(texts, vectors, strict=True)
                    ]
            yield number, found
            number += len(chunk)
            bar.update(len(chunk))
    if empty:
        what = "they have no words" if options.words else "their vectors are of [CLS] [SEP] alone"
        console.warn(f"{empty} of {number} texts are empty; {what}")
    if options.output:
        console.say(f"made {options.output}: {number:,} texts")


def _word_arrays(
    number: int, found: list[dict[str, Any]], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """What is appended to an `.npz` for some texts; there may be no word in them.

    Args:
      number: of the first.
      found: the texts with their words.
      shape: of a word's vector.
    """
    words = [(number + i, word) for i, item in enumerate(found) for word in item["words"]]
    vectors = np.array([word["vector"] for _, word in words], np.float32)
    return {
        "vectors": vectors.reshape(-1, *shape),
        "text": np.array([i for i, _ in words], np.int64),
        "start": np.array([word["start"] for _, word in words], np.int64),
        "end": np.array([word["end"] for _, word in words], np.int64),
    }


def _json(item: dict[str, Any]) -> str:
    """A line."""
    return json.dumps(item, ensure_ascii=False, default=json_numbers)


if __name__ == "__main__":
    cli.run(main)
