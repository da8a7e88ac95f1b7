"""Fills in the [MASK]s of a text.

python -m bert_jax.fill_mask --model runs/tiny "Return a [MASK] of the object."
"""

import json
from pathlib import Path

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.pretrained import load


def main(arguments: list[str]) -> None:
    """Parses the command line, predicts and prints."""
    parser = cli.Parser(
        "fill_mask",
        "Prints the likeliest tokens for each [MASK] of each text.",
        example='python -m bert_jax.fill_mask --model runs/tiny "Return a [MASK] of the object."',
    )
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="candidates (default: 5)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each text")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="text with at least one [MASK]")
    options = parser.parse_args(arguments)

    bert = load(options.model)
    console = Console()
    for text in options.texts:
        masks = bert.fill_mask(text, top_k=options.top_k)
        if options.json:
            found = [[prediction._asdict() for prediction in candidates] for candidates in masks]
            console.say(json.dumps({"text": text, "masks": found}, ensure_ascii=False))
            continue
        for number, candidates in enumerate(masks, 1):
            title = text if len(masks) == 1 else f"{text} (mask {number} of {len(masks)})"
            rows = [(guess.token, f"{guess.probability:.1%}") for guess in candidates]
            console.table(title, rows)


if __name__ == "__main__":
    cli.run(main)
