"""Compares two models, layer by layer.

python -m bert_jax.parity runs/tiny exported/tiny
"""

import json
from pathlib import Path

import numpy as np

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.pretrained import Outputs, Pretrained
from bert_jax.pretrained.comparison import NASTY, Comparable, Comparison, Encode, compare
from bert_jax.pretrained.torch_reference import TorchReference
from bert_jax.usage import add_allow_pickle, open_model

_TORCH = "torch:"  # before a folder that transformers is to run


class _Ours:
    """A model of this package as a `Comparable`."""

    def __init__(self, name: str, bert: Pretrained):
        self.name = name
        self.vocab_size = bert.config.vocab_size
        self.max_positions = bert.config.max_positions
        self.encode: Encode | None = self._encode if bert.has_tokenizer else None
        self._bert = bert

    def _encode(self, text: str, pair: str | None) -> tuple[list[int], list[int]]:
        encoding = self._bert.tokenizer.encode(text, pair)
        return encoding.ids, encoding.segment_ids

    def forward(
        self, input_ids: np.ndarray, segment_ids: np.ndarray, lengths: np.ndarray
    ) -> Outputs:
        return self._bert.forward(input_ids, segment_ids, lengths, attentions=True)


def main(arguments: list[str]) -> None:
    """Parses the command line, compares and prints."""
    parser = cli.Parser(
        "parity",
        "Puts the same texts through two models and prints the largest difference at every layer "
        "and head, how often the likeliest tokens agree, and hard strings that the two tokenizers "
        "split differently. Models are runs, Hugging Face or Google folders, or torch:FOLDER for a "
        "Hugging Face folder run by transformers.",
        example="python -m bert_jax.parity exported/tiny torch:exported/tiny",
    )
    parser.add_argument("first", metavar="A", help="a model")
    parser.add_argument("second", metavar="B", help="another")
    add_allow_pickle(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)

    console = Console()
    # torch goes first: some builds crash where TensorFlow is, which reads Google's folders.
    names = sorted({options.first, options.second}, key=lambda name: not name.startswith(_TORCH))
    models = {name: _open(name, console, allow_pickle=options.allow_pickle) for name in names}
    found = compare(models[options.first], models[options.second])
    if options.json:
        rows = [{**row._asdict(), "is_rounding": row.is_rounding} for row in found.differences]
        content = {**found._asdict(), "differences": rows, "is_rounding": found.is_rounding}
        console.say(json.dumps(content, ensure_ascii=False))
    else:
        _print(found, console)


def _open(name: str, console: Console, *, allow_pickle: bool) -> Comparable:
    if name.startswith(_TORCH):
        return TorchReference(name.removeprefix(_TORCH))
    return _Ours(name, open_model(Path(name), console, allow_pickle=allow_pickle))


def _print(found: Comparison, console: Console) -> None:
    console.grid(
        ["", "largest difference", "scale", "relative", ""],
        [
            [
                row.what,
                f"{row.largest:.1e}",
                f"{row.scale:.3g}",
                f"{row.largest / (row.scale or 1):.1e}",
                "" if row.is_rounding else "differs",
            ]
            for row in found.differences
        ],
    )
    for part in found.not_compared:
        console.say(f"not compared: {part}")
    if found.same_first is not None and found.same_top is not None:
        console.say(
            f"masked words: the same first guess at {found.same_first:.1%} of the tokens, "
            f"{found.same_top:.1%} of the top ten shared"
        )
    if found.tokenized is None:
        console.say("tokenizers: not compared, one is missing")
    else:
        console.say(f"tokenizers: {len(found.tokenized)} of {len(NASTY)} hard strings differ")
        for text in found.tokenized:
            console.say(f"  {text!r}")
    console.say(found.verdict)


if __name__ == "__main__":
    cli.run(main)
