"""The official metrics of predictions.

python -m bert_jax.score squad dev-v1.1.json predictions.json
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_jax import cli
from bert_jax.data.files import file_at, unstripped_lines_of
from bert_jax.errors import UserError
from bert_jax.tasks.scores import conll, squad

# The label's column of GLUE's files where it is not `label`, and the columns of those without a
# line of names.
_COLUMNS = {
    "mnli": "label|gold_label",
    "klue_nli": "gold_label|label",
    "xnli": "gold_label|label",
    "qqp": "label|is_duplicate",
    "mrpc": "label|Quality",
    "stsb": "label|score",
}
_NAMELESS = {"cola": ("source", "label", "star", "sentence")}


def main(arguments: list[str]) -> None:
    """Parses the command line, scores and prints JSON."""
    parser = cli.Parser(
        "score",
        "Scores predictions as the task's official script does, and prints the figures as JSON: "
        "those of squad and conll in percent, those of glue as shares.",
        example="python -m bert_jax.score squad dev-v2.0.json predictions.json\n"
        "  python -m bert_jax.score conll tagged.txt\n"
        "  python -m bert_jax.score glue CoLA/dev.tsv predictions.tsv --name cola",
    )
    parser.add_argument("task", choices=("squad", "conll", "glue"))
    parser.add_argument(
        "gold",
        type=Path,
        metavar="GOLD",
        help="squad: the data set's JSON; conll: columns `token … gold predicted`, or with "
        "PREDICTIONS `token … gold`; glue: a table with the label's column, or .txt with a label a "
        "line",
    )
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="?",
        metavar="PREDICTIONS",
        help="squad: JSON of answers by id, or JSON lines with id and answer; conll: columns "
        "`token … predicted`; glue: a table with the column prediction, JSON lines with label or "
        "value, or .txt with a label a line",
    )
    parser.add_argument(
        "--name",
        help="squad: squad, squad_v2 or korquad (default: as the file says); glue: cola, sst2, "
        "mrpc, … (default: accuracy of column label). Class 1, of which F1 is, is the label 1, or "
        "the last one by name",
    )
    parser.add_argument("--column", help="glue: the label's column in GOLD")
    parser.add_argument(
        "--no-answer",
        type=Path,
        metavar="FILE",
        help="squad: JSON of numbers by id that grow with the belief that there is no answer; adds "
        "best_exact, best_f1 and their thresholds",
    )
    options = parser.parse_args(arguments)
    if options.task != "conll" and options.predictions is None:
        parser.error(f"{options.task} needs PREDICTIONS")
    figures = {"squad": _squad, "conll": _conll, "glue": _glue}[options.task](options)
    print(json.dumps(figures, indent=2, ensure_ascii=False))


def _lines(path: Path) -> Iterator[str]:
    return unstripped_lines_of(file_at(path), lambda _: None)


def _json(path: Path) -> Any:
    try:
        return json.loads("".join(_lines(path)).lstrip("\ufeff"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}); get it again") from None


def _squad(options: argparse.Namespace) -> dict[str, Any]:
    from bert_jax.tasks.squad_files import read_questions

    questions = read_questions(str(options.gold)).examples
    metric = options.name or questions[0].metric
    if metric not in ("squad", "squad_v2", "korquad"):
        raise UserError(f"--name is {metric!r}; choose from squad, squad_v2, korquad")
    golds = {each.id: [answer.text for answer in each.answers] for each in questions}
    predictions = _answers(options.predictions)
    _warn(len(golds.keys() - predictions.keys()), "questions have no prediction")
    _warn(len(predictions.keys() - golds.keys()), "predictions are of questions that GOLD lacks")
    predictions = {name: predictions[name] for name in golds if name in predictions}
    if not predictions:
        raise UserError(f"{options.predictions} has an answer to none of the questions")
    figures: dict[str, Any] = squad.evaluate(golds, predictions, metric)
    if options.no_answer:
        numbers = _json(options.no_answer)
        if not isinstance(numbers, dict) or not all(
            isinstance(number, int | float) for number in numbers.values()
        ):
            raise UserError(f"{options.no_answer} is no JSON object of numbers by id")
        if missing := sorted(predictions.keys() - numbers.keys()):
            raise UserError(f"{options.no_answer} has no number for {missing[0]}")
        figures |= squad.best_thresholds(golds, predictions, numbers)
    return {
        name: int(value) if name.endswith("total") else value for name, value in figures.items()
    }


def _answers(path: Path) -> dict[str, str]:
    """Answers by id, of a JSON object or of JSON lines."""
    if ".jsonl" in path.suffixes:
        from bert_jax.data.tables import read_table

        return {row.values[0]: row.values[1] for row in read_table(path, ["id", "answer"])}
    content = _json(path)
    if not isinstance(content, dict) or not all(isinstance(a, str) for a in content.values()):
        raise UserError(f"{path} is no JSON object of answers by id; name JSON lines .jsonl")
    return content


def _conll(options: argparse.Namespace) -> dict[str, Any]:
    if options.predictions is None:
        rows = list(_columns(options.gold, 3))
        gold = [[fields[-2] for fields in sentence] for sentence in _sentences(rows)]
        predicted = [[fields[-1] for fields in sentence] for sentence in _sentences(rows)]
        return conll.evaluate(gold, predicted)
    ours, theirs = (list(_columns(path, 2)) for path in (options.gold, options.predictions))
    for (one, fields), (other, others) in zip(ours, theirs, strict=False):
        if fields[:1] != others[:1]:
            raise UserError(
                f"line {one} of {options.gold} and line {other} of {options.predictions} are of "
                f"different tokens, {_token(fields)} and {_token(others)}; give the same sentences"
            )
    if len(ours) != len(theirs):
        raise UserError(
            f"{options.gold} and {options.predictions} are of different lengths: {len(ours):,} and "
            f"{len(theirs):,} lines that count; give the same sentences"
        )
    gold, predicted = (
        [[fields[-1] for fields in sentence] for sentence in _sentences(rows)]
        for rows in (ours, theirs)
    )
    return conll.evaluate(gold, predicted)


def _token(fields: Sequence[str]) -> str:
    return repr(fields[0]) if fields else "the end of a sentence"


def _columns(path: Path, least: int) -> Iterator[tuple[int, list[str]]]:
    """The columns of each line, none at the end of a sentence; ends are not repeated."""
    was_end = True
    for number, line in enumerate(_lines(path), 1):
        text = line.lstrip("\ufeff").rstrip("\r\n")
        fields = text.split("\t") if "\t" in text else text.split(" ")
        fields = [field for field in fields if field.strip()] if "\t" not in text else fields
        is_end = not text.strip()
        if not is_end and len(fields) < least:
            raise UserError(
                f"line {number} of {path} has {len(fields)} columns; it must have {least} or more"
            )
        if not (is_end and was_end):
            yield number, [] if is_end else fields
        was_end = is_end
    if not was_end:
        yield number + 1, []


def _sentences(rows: Iterable[tuple[int, list[str]]]) -> Iterator[list[list[str]]]:
    sentence: list[list[str]] = []
    for _, fields in rows:
        if fields:
            sentence.append(fields)
        else:
            yield sentence
            sentence = []


def _glue(options: argparse.Namespace) -> dict[str, Any]:
    from bert_jax.tasks.scores.glue import GLUE, metrics_of

    name = (options.name or "").lower().replace("-", "_")
    name = {"sst_2": "sst2", "sts_b": "stsb", "mnli_mm": "mnli", "mnli_m": "mnli"}.get(name, name)
    if name and name not in GLUE:
        raise UserError(f"--name is {options.name!r}; choose from {', '.join(GLUE)}")
    column = options.column or _COLUMNS.get(name, "label")
    right = _labels(options.gold, column, _NAMELESS.get(name, ()))
    given = _labels(options.predictions, "prediction|label|value", ())
    if len(right) != len(given):
        raise UserError(
            f"{options.gold} has {len(right):,} labels and {options.predictions} {len(given):,}; "
            "give one for each"
        )
    metrics = GLUE[name] if name else ("accuracy",)
    if name == "stsb":
        numbers = [
            _numbers(each, path)
            for each, path in ((right, options.gold), (given, options.predictions))
        ]
        return metrics_of(metrics, *numbers)
    classes = sorted({*right, *given})
    if "f1" in metrics and len(classes) > 2:
        raise UserError(f"F1 is of two classes, and there are {', '.join(classes)[:200]}")
    if len(classes) == 2 and "1" in classes:
        classes.sort(key=lambda label: label == "1")
    number = {label: place for place, label in enumerate(classes)}
    if classes == ["1"]:
        number = {"1": 1}
    return metrics_of(metrics, [number[each] for each in right], [number[each] for each in given])


def _labels(path: Path, column: str, names: Sequence[str]) -> list[str]:
    """A label for each example."""
    if path.suffix == ".txt":
        return [line.strip() for line in _lines(path) if line.strip()]
    from bert_jax.data.tables import read_table

    return [row.values[0].strip() for row in read_table(path, [column], names=names)]


def _numbers(labels: Sequence[str], path: Path) -> list[float]:
    try:
        return [float(label) for label in labels]
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _warn(count: int, what: str) -> None:
    if count:
        print(f"warning: {count:,} {what}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
