"""Tells whether one text follows another.

python -m bert_jax.next_sentence --model runs/tiny "She cooked pasta." "It was delicious."
"""

import json

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.usage import add_model, add_texts, chunks, open_model, read_texts

_AT_ONCE = 1024  # pairs


def main(arguments: list[str]) -> None:
    """Parses the command line, predicts and prints."""
    parser = cli.Parser(
        "next_sentence",
        "Prints how probable it is that the second text of each pair follows the first.",
        example="python -m bert_jax.next_sentence --model runs/tiny "
        '"She cooked pasta." "It was delicious."',
    )
    add_model(parser)
    add_texts(parser, num_texts=2)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each pair")
    options = parser.parse_args(arguments)

    console = Console()
    records = read_texts(options, num_texts=2)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    for chunk in chunks(records, _AT_ONCE):
        pairs = [(record.texts[0], record.texts[1]) for record in chunk]
        for (first, second), probability in zip(pairs, bert.next_sentence(pairs), strict=True):
            if options.json:
                found = {"first": first, "second": second, "is_next": float(probability)}
                console.say(json.dumps(found, ensure_ascii=False))
            else:
                console.say(f"{probability:7.2%}  {first} | {second}")


if __name__ == "__main__":
    cli.run(main)
