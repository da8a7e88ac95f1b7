"""Writes where each token of a text looks.

python -m bert_jax.attentions --model runs/tiny "I love Paris." --layers 0 --heads 0
"""

import argparse
import json
from pathlib import Path

import numpy as np

from bert_jax import cli
from bert_jax.atomic import replacing
from bert_jax.console import Console
from bert_jax.usage import add_model, check_output, json_numbers, open_model


def main(arguments: list[str]) -> None:
    """Parses the command line, computes and writes."""
    parser = cli.Parser(
        "attentions",
        "Prints the attention of a text or pair, one table for each layer and head, or writes "
        "all of it to a file.",
        example='python -m bert_jax.attentions --model runs/tiny "I love Paris." '
        "--layers 0 --heads 0",
    )
    add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="the text")
    parser.add_argument("pair", nargs="?", metavar="PAIR", help="a second text, segment B")
    for name, what in (("layers", "from 0, the first"), ("heads", "from 0")):
        parser.add_argument(
            f"--{name}", type=_numbers, metavar="N,N", help=f"only these, {what} (default: all)"
        )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".npz: `tokens`, `attentions` [layers heads T T]; .jsonl: the same as an object",
    )
    options = parser.parse_args(arguments)
    check_output(options.output, ".npz", ".jsonl")

    console = Console()
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    found = bert.attentions(options.text, options.pair, layers=options.layers, heads=options.heads)
    if options.output is None:
        _print(found.tokens, found.weights, options, console)
        return
    with replacing(options.output) as file:
        if options.output.suffix == ".npz":
            np.savez(file, tokens=np.array(found.tokens), attentions=found.weights)
        else:
            content = {"tokens": found.tokens, "attentions": json_numbers(found.weights)}
            file.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    console.say(f"made {options.output}: attentions {list(found.weights.shape)}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} are no numbers") from None


def _print(
    tokens: list[str], weights: np.ndarray, options: argparse.Namespace, console: Console
) -> None:
    """A row for each token that looks, in percent of its attention."""
    layers = options.layers or range(len(weights))
    heads = options.heads or range(weights.shape[1])
    for layer, of_layer in zip(layers, weights, strict=True):
        for head, of_head in zip(heads, of_layer, strict=True):
            console.say(f"\nlayer {layer}, head {head}: percent of a row's attention")
            console.grid(
                ["", *tokens],
                [
                    [token, *(f"{100 * weight:.0f}" for weight in row)]
                    for token, row in zip(tokens, of_head, strict=True)
                ],
            )


if __name__ == "__main__":
    cli.run(main)
