"""Trains a linear classifier on a model's vectors, or uses one; the model stays as it is.

python -m bert_jax.linear_probe --model runs/tiny --train train.tsv --eval dev.tsv
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.keyed_random import Stream, permutation
from bert_jax.data.tables import read_table
from bert_jax.errors import UserError
from bert_jax.pretrained import Pretrained
from bert_jax.pretrained.probe import TextClassifier, fit, load_classifier
from bert_jax.usage import (
    Record,
    add_model,
    add_texts,
    add_vectors,
    check_output,
    chunks,
    located,
    open_model,
    read_texts,
    refuse,
)

_AT_ONCE = 4096  # texts; of so many, those of like length share batches
_SHOWN_WRONG = 5
_MOST_COLUMNS = 12  # of a confusion matrix in a terminal

_FOR_TRAINING = ("train", "eval", "output", "max_train", "text_column", "label_column", "seed")
_FOR_VECTORS = ("pooling", "layers", "mix", "too_long")
_FOR_USE = ("texts", "input", "jsonl", "fields")


def main(arguments: list[str]) -> None:
    """Parses the command line; trains, evaluates and writes, or predicts."""
    parser = cli.Parser(
        "linear_probe",
        "Trains logistic regression on the vectors of labelled texts and evaluates it on others; "
        "or, with --classifier, labels texts by one that it wrote.",
        example="python -m bert_jax.linear_probe --model runs/tiny --train train.tsv "
        "--eval dev.tsv --output sentiment.npz\n"
        "  python -m bert_jax.linear_probe --model runs/tiny --classifier sentiment.npz "
        '"I love Paris"',
    )
    add_model(parser)
    what = "labelled texts: .tsv, .csv or .jsonl with named columns, packed too (.gz, .zst)"
    parser.add_argument("--train", type=Path, metavar="FILE", help=what)
    parser.add_argument("--eval", type=Path, metavar="FILE", help="the same, to evaluate on")
    for column, default in (("text", "sentence"), ("label", "label")):
        parser.add_argument(
            f"--{column}-column", default=default, metavar="NAME", help=f"(default: {default})"
        )
    parser.add_argument("--max-train", type=int, metavar="N", help="train on so many, by chance")
    parser.add_argument("--seed", type=int, default=0, help="of that choice, and of the folds")
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="write the classifier")
    parser.add_argument("--classifier", type=Path, metavar="FILE.npz", help="use this one")
    add_vectors(parser)
    add_texts(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)

    console = Console(quiet=options.quiet)
    if options.classifier:
        refuse(parser, options, (*_FOR_TRAINING, *_FOR_VECTORS), "--classifier")
        _classify(options, console)
    elif options.train and options.eval:
        refuse(parser, options, _FOR_USE, "--train")
        _train(options, console)
    else:
        raise UserError("give --train and --eval, or a --classifier and texts")


def _classify(options: argparse.Namespace, console: Console) -> None:
    classifier = load_classifier(options.classifier)
    records = read_texts(options)
    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    labels = classifier.probe.labels
    for chunk in chunks(records, _AT_ONCE):
        texts = _texts(chunk)
        _warn_of_empty(texts, "texts", console)
        with located(chunk):
            found = classifier.probabilities(bert, texts)
        for text, probabilities in zip(texts, found, strict=True):
            best = int(probabilities.argmax())
            if options.json:
                of_label = dict(zip(labels, probabilities.round(6).tolist(), strict=True))
                item = {"text": text, "label": labels[best], "probabilities": of_label}
                console.say(json.dumps(item, ensure_ascii=False))
            else:
                console.say(f"{labels[best]}  {probabilities[best]:6.1%}  {_line(text)}")


def _train(options: argparse.Namespace, console: Console) -> None:
    check_output(options.output, ".npz")
    if isinstance(options.layers, list | str) and not options.mix and options.pooling != "pooled":
        raise UserError("several layers must become one vector; give a --mix")
    if options.max_train is not None and options.max_train < 4:
        raise UserError(f"--max-train is {options.max_train}; two labels want 4 or more")
    available, held_out = _read(options.train, options), _read(options.eval, options)
    order = permutation(len(available), options.seed, Stream.ORDER)[: options.max_train]
    records, labels = zip(*(available[i] for i in order), strict=True)
    held_out_records, held_out_labels = zip(*held_out, strict=True)
    texts, held_out_texts = _texts(records), _texts(held_out_records)
    if unknown := sorted(set(held_out_labels) - set(labels)):
        names = ", ".join(map(repr, unknown))[:200]
        raise UserError(f"{options.eval} has labels that the training examples lack: {names}")
    _warn_of_empty(texts, f"texts of {options.train}", console)
    _warn_of_empty(held_out_texts, f"texts of {options.eval}", console)

    bert = open_model(options.model, console, allow_pickle=options.allow_pickle)
    how = {name: getattr(options, name) for name in _FOR_VECTORS}
    vectors = _vectors(bert, records, how, console)
    with console.bar("fitting", total=1, unit="classifier") as bar:
        probe = fit(vectors, labels)
        bar.update()
    found = probe.probabilities(_vectors(bert, held_out_records, how, console))
    summary = {
        "train": {
            "examples": len(texts),
            "of": len(available),
            "accuracy": float(np.mean(np.array(probe.predict(vectors)) == labels)),
        },
        "vectors": how | {"width": vectors.shape[1]},
        "C": probe.strength,
        "labels": list(probe.labels),
        **evaluate(held_out_texts, held_out_labels, probe.labels, found),
    }
    if options.output:
        TextClassifier.of(bert, probe, how).save(options.output)
    if options.json:
        console.say(json.dumps(summary, ensure_ascii=False))
    else:
        _show(summary, options, console)


def _read(path: Path, options: argparse.Namespace) -> list[tuple[Record, str]]:
    """Texts and their labels."""
    rows = read_table(path, [options.text_column, options.label_column])
    for row in rows:
        if not row.values[1].strip():
            raise UserError(f"line {row.line} of {path} has no label; mend or leave out the line")
    return [
        (Record((row.values[0],), f"line {row.line} of {path}"), row.values[1].strip())
        for row in rows
    ]


def _texts(records: Sequence[Record]) -> list[str]:
    return [record.texts[0] for record in records]


def _warn_of_empty(texts: Sequence[str], what: str, console: Console) -> None:
    if empty := sum(not text.strip() for text in texts):
        console.warn(
            f"{empty} of {len(texts)} {what} are empty; their vectors are of [CLS] [SEP] alone"
        )


def _vectors(
    bert: Pretrained, records: Sequence[Record], how: dict[str, Any], console: Console
) -> np.ndarray:
    found = []
    with console.bar("embedding", total=len(records), unit="text") as bar:
        for chunk in chunks(records, _AT_ONCE):
            with located(chunk):
                found.append(bert.embed(_texts(chunk), **how))
            bar.update(len(found[-1]))
    return np.concatenate(found)


def evaluate(
    texts: Sequence[str], labels: Sequence[str], names: Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """Accuracy and what is wrong.

    Args:
      texts: n of them.
      labels: the right ones, all among `names`.
      names: K of them.
      probabilities: [n K].

    Returns:
      `accuracy` with its `standard_error`, `majority` (the accuracy of always giving the
      most frequent of `labels`), `confusion` (rows are right labels, columns predicted
      ones), and the `wrong` predictions, the most confident first.
    """
    right = np.array([names.index(label) for label in labels])
    given = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (right, given), 1)
    accuracy = float(np.mean(given == right))
    (label, count), *_ = Counter(labels).most_common(1)
    wrong = sorted(np.flatnonzero(given != right).tolist(), key=lambda i: -probabilities[i].max())
    return {
        "examples": len(labels),
        "accuracy": accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(labels)),
        "majority": {"label": label, "accuracy": count / len(labels)},
        "confusion": confusion.tolist(),
        "wrong": [
            {
                "text": texts[i],
                "label": labels[i],
                "predicted": names[given[i]],
                "probability": round(float(probabilities[i].max()), 6),
            }
            for i in wrong
        ],
    }


def _show(summary: dict[str, Any], options: argparse.Namespace, console: Console) -> None:
    train, names, wrong = summary["train"], summary["labels"], summary["wrong"]
    vectors, majority = summary["vectors"], summary["majority"]
    layers = "" if options.pooling == "pooled" else f", layers {vectors['layers']}"
    mix = f", {options.mix}" if options.mix else ""
    console.table(
        "logistic regression on frozen vectors",
        [
            ("model", str(options.model)),
            ("vectors", f"{options.pooling}{layers}{mix}; {vectors['width']:,} numbers"),
            ("examples", f"{train['examples']:,} of the {train['of']:,} in {options.train}"),
            ("labels", f"{len(names)}: {', '.join(names)}"[:100]),
            ("C", f"{summary['C']:g}, by cross-validation"),
            ("accuracy", f"{train['accuracy']:.1%} on these examples"),
        ],
    )
    console.say(f"{summary['examples']:,} other examples, {options.eval}")
    console.say(
        f"  accuracy  {summary['accuracy']:.1%} ± {summary['standard_error']:.1%} "
        f"(always {majority['label']!r}: {majority['accuracy']:.1%})"
    )
    if len(names) <= _MOST_COLUMNS:
        console.say("\nright label, and below what was predicted")
        rows = zip(names, summary["confusion"], strict=True)
        console.grid(["", *names], [[name, *(f"{n:,}" for n in row)] for name, row in rows])
    if wrong:
        console.say(f"\nthe surest of {len(wrong):,} wrong predictions")
        for item in wrong[:_SHOWN_WRONG]:
            console.say(
                f"  {item['predicted']} {item['probability']:.1%}, right is {item['label']}: "
                f"{_line(item['text'])}"
            )
    if options.output:
        console.say(f"\nmade {options.output}")


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    cli.run(main)
