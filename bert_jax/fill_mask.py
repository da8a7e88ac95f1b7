"""Fills in the [MASK]s of texts.

python -m bert_jax.fill_mask --model runs/tiny "Return a [MASK] of the object."
"""

import json

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.usage import add_model, add_texts, chunks, located, open_model, read_texts

_AT_ONCE = 256  # texts


def main(arguments: list[str]) -> None:
    """Parses the command line, predicts and prints."""
    parser = cli.Parser(
        "fill_mask",
        "Prints the likeliest tokens for each [MASK] of each text.",
        example='python -m bert_jax.fill_mask --model runs/tiny "Return a [MASK] of the object."',
    )
    add_model(parser)
    add_texts(parser)
    parser.add_argument(
        "--top-k", type=int, metavar="K", help="candidates (default: 5, or all --targets)"
    )
    parser.add_argument(
        "--targets", metavar="WORD,WORD", help="only these words, with their probabilities"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each text")
    options = parser.parse_args(arguments)

    console = Console()
    records = read_texts(options)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    targets = options.targets.split(",") if options.targets else None
    num_blank = 0
    for chunk in chunks(records, _AT_ONCE):
        written = [record for record in chunk if record.texts[0].strip()]
        num_blank += len(chunk) - len(written)
        texts = [record.texts[0] for record in written]
        with located(written):
            found = bert.fill_masks(texts, top_k=options.top_k, targets=targets)
        for text, masks in zip(texts, found, strict=True):
            if options.json:
                guesses = [[guess._asdict() for guess in candidates] for candidates in masks]
                console.say(json.dumps({"text": text, "masks": guesses}, ensure_ascii=False))
                continue
            for number, candidates in enumerate(masks, 1):
                title = text if len(masks) == 1 else f"{text} (mask {number} of {len(masks)})"
                rows = [(guess.token, f"{guess.probability:.1%}") for guess in candidates]
                console.table(title, rows)
    if num_blank:
        console.warn(f"skipped {num_blank:,} blank texts; there is nothing to find in them")


if __name__ == "__main__":
    cli.run(main)
