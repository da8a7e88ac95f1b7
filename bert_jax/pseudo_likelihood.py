"""Scores how likely texts are, by masking each of their tokens in turn.

python -m bert_jax.pseudo_likelihood --model runs/tiny "Return a copy." "Copy a return."
"""

import json

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.usage import add_model, add_texts, chunks, located, open_model, read_texts

_AT_ONCE = 64  # texts, each read as often as it has tokens


def main(arguments: list[str]) -> None:
    """Parses the command line, scores and prints."""
    parser = cli.Parser(
        "pseudo_likelihood",
        "Prints the pseudo-log-likelihood of each text in nats (the sum over its tokens of the "
        "log-probability of each, given all others) and its perplexity a token.",
        example="python -m bert_jax.pseudo_likelihood --model runs/tiny "
        '"Return a copy." "Copy a return."',
    )
    add_model(parser)
    add_texts(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each text")
    options = parser.parse_args(arguments)

    console = Console()
    records = read_texts(options)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    for chunk in chunks(records, _AT_ONCE):
        texts = [record.texts[0] for record in chunk]
        with located(chunk):
            likelihoods = bert.pseudo_log_likelihood(texts)
        for text, found in zip(texts, likelihoods, strict=True):
            if options.json:
                scores = {"total": found.total, "perplexity": found.perplexity, **found._asdict()}
                console.say(json.dumps({"text": text, **scores}, ensure_ascii=False))
            else:
                console.say(f"{found.total:10.2f}  perplexity {found.perplexity:10.1f}  {text}")


if __name__ == "__main__":
    cli.run(main)
