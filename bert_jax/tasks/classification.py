"""Classes of texts and of pairs of texts, and numbers: GLUE's tasks and others like these."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from bert_jax.data.tables import read_table
from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tasks.scores.glue import METRICS, metrics_of
from bert_jax.tasks.task import (
    Evaluation,
    Row,
    ScoresOf,
    Split,
    Table,
    TrainingRow,
    Wrong,
    shortened,
    text_of,
)
from bert_jax.tokenizers import Tokenizer

_SCORE = "score"  # the name of the one class of a regression
_FOR_NUMBERS = ("pearson", "spearmanr")
_NAMED = 5  # places that a remark names


@dataclasses.dataclass(frozen=True)
class LabelledText:
    """A text or a pair with its label.

    Attributes:
      text: the first segment.
      pair: the second one, None where there is one text.
      label: as it is called, "" where it is not known; of a regression, a number as text.
      where: such as "line 3 of dev.tsv".
    """

    text: str
    pair: str | None
    label: str
    where: str


class LabelGuess(NamedTuple):
    """What the model says of a text.

    Attributes:
      label: the likeliest; of a regression, "score".
      probabilities: [C] of the classes; of a regression, the number.
    """

    label: str
    probabilities: Float[np.ndarray, " C"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """The config's section `task` of a classification, or of a regression.

    Attributes:
      kind: which task it is.
      text: the column of the text.
      pair: the column of the second text, "" for single texts.
      label: the column of the label.
      columns: names of all columns, comma between them, for a table without a line of names.
      only: COLUMN=VALUE, which rows are taken of a table with such a column; "" for all.
      classes: the labels in the order of their numbers, comma between them; "" for those of the
        training examples, sorted.
      rename: OLD=NEW, comma between them: what labels of the files are called here.
      drop: labels, comma between them, whose rows are left out.
      metrics: of `tasks.scores.glue`, comma between them; pearson and spearmanr are those of a
        regression. Their mean is what the best checkpoint is chosen by.
      max_length: the most tokens; of a longer text the end is cut, of a pair that of the longer.
    """

    kind: Literal["classification"] = "classification"
    text: str = "sentence"
    pair: str = ""
    label: str = "label"
    columns: str = ""
    only: str = ""
    classes: str = ""
    rename: str = ""
    drop: str = ""
    metrics: str = "accuracy"
    max_length: int = 128

    def __post_init__(self) -> None:
        least = 8
        if self.max_length < least:
            raise UserError(f"task.max_length is {self.max_length}; it must be at least {least}")
        names = _listed(self.metrics)
        unknown = [name for name in names if name not in METRICS]
        if unknown or not names:
            raise UserError(
                f"task.metrics is {self.metrics!r}; choose from {', '.join(METRICS)}, with a comma "
                "between them"
            )
        if len({name in _FOR_NUMBERS for name in names}) > 1:
            raise UserError(
                f"task.metrics is {self.metrics!r}: some are of classes, some of numbers"
            )
        for option, pairs in (("rename", _listed(self.rename)), ("only", [self.only])):
            if any(pair and len(pair.split("=")) != 2 for pair in pairs):
                raise UserError(f"task.{option} is {getattr(self, option)!r}; write OLD=NEW")

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers."""
        return _listed(self.metrics)[0] in _FOR_NUMBERS

    def read(self, source: str) -> Split:
        """See `Task`. A row without a label is refused; one of an empty text is not."""
        texts = [self.text, self.pair] if self.pair else [self.text]
        column, _, value = self.only.partition("=")
        wanted = [*texts, self.label, *([column] if column else [])]
        renamed = dict(pair.split("=") for pair in _listed(self.rename))
        dropped, dropped_count = _listed(self.drop), 0
        examples: list[LabelledText] = []
        remarks: list[str] = []
        rows = _rows(source, wanted, _listed(self.columns), column, remarks)
        for values, where in rows:
            if len(values) == len(wanted) and column and values[-1] != value:
                continue
            label = values[len(texts)].strip()
            if label in dropped:
                dropped_count += 1
                continue
            if not label:
                raise UserError(f"{where} has no label; mend or leave out the line")
            pair = values[1].strip() if self.pair else None
            examples.append(LabelledText(values[0].strip(), pair, renamed.get(label, label), where))
        if not examples:
            raise UserError(f"{source} holds no example" + (f" with {self.only}" if column else ""))
        if dropped_count:
            remarks.append(f"{dropped_count:,} rows are left out for their label ({self.drop})")
        if empty := sum(not (each.text and each.pair != "") for each in examples):
            remarks.append(
                f"{empty:,} of {len(examples):,} examples of {source} have an empty text, and the "
                "model sees [CLS] and [SEP] alone"
            )
        return Split(examples, remarks)

    @property
    def fields(self) -> tuple[str, ...]:
        """See `Task`: the columns, by the first of their names."""
        names = (self.text, self.pair) if self.pair else (self.text,)
        return tuple(name.split("|")[0] for name in names)

    def example(self, record: Mapping[str, Any]) -> LabelledText:
        """See `Task`."""
        text, *pair = (text_of(record, name).strip() for name in self.fields)
        return LabelledText(text, pair[0] if pair else None, "", "")

    def labels(self, examples: Sequence[LabelledText]) -> Labels:
        """See `Task.labels`."""
        if self.is_regression:
            for example in examples:
                _number(example)
            return Labels("sentence", (_SCORE,), "regression")
        found = Counter(example.label for example in examples)
        names = tuple(_listed(self.classes)) or tuple(sorted(found))
        for example in examples:
            if example.label not in names:
                raise UserError(
                    f"{example.where}: label {example.label!r} is not one of task.classes "
                    f"({', '.join(names)}); name it there, or say task.rename or task.drop"
                )
        if len(found) < 2:
            raise UserError(
                f"all {len(examples):,} training examples have the label {next(iter(found))!r}; "
                "there is nothing to tell apart"
            )
        return Labels("sentence", names, "single_label_classification")

    def check(self, examples: Sequence[LabelledText], labels: Labels, source: str) -> list[str]:
        """See `Task`."""
        if labels.is_regression:
            for example in examples:
                _number(example)
            return []
        if unknown := [each for each in examples if each.label not in labels.names]:
            raise UserError(
                f"{unknown[0].where}: label {unknown[0].label!r} is not one of the training "
                f"examples ({', '.join(labels.names)[:200]})"
            )
        if missing := sorted(set(labels.names) - {each.label for each in examples}):
            return [f"{source} has no example of {', '.join(missing)[:200]}"]
        return []

    def groups(self, examples: Sequence[LabelledText]) -> Sequence[Hashable]:
        """See `Task`: every example is one."""
        return range(len(examples))

    def training_rows(
        self, tokenizer: Tokenizer, examples: Sequence[LabelledText], labels: Labels
    ) -> tuple[list[TrainingRow], list[str]]:
        """See `Task`."""
        rows, num_cut = self._rows(tokenizer, examples)
        target: Callable[[LabelledText], float]
        target = _number if labels.is_regression else lambda each: labels.names.index(each.label)
        remarks = []
        if num_cut:
            remarks.append(
                f"{num_cut:,} of {len(rows):,} examples are cut to {self.max_length} tokens"
            )
        return [
            TrainingRow(row, {"labels": target(each)})
            for row, each in zip(rows, examples, strict=True)
        ], remarks

    def _rows(
        self, tokenizer: Tokenizer, examples: Sequence[LabelledText]
    ) -> tuple[list[Row], int]:
        """What the model sees, and how many texts are cut for it."""
        texts = [each.text for each in examples]
        pairs = [each.pair or "" for each in examples] if self.pair else None
        whole = tokenizer.encode_batch(texts, pairs)
        num_cut = sum(each.length > self.max_length for each in whole)
        if num_cut:
            whole = tokenizer.encode_batch(texts, pairs, self.max_length)
        return [Row(each.ids, each.segment_ids) for each in whole], num_cut

    def predict(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[LabelledText],
        labels: Labels,
        scores_of: ScoresOf,
    ) -> list[LabelGuess]:
        """See `Task`."""
        scores = np.array(scores_of(self._rows(tokenizer, examples)[0])).reshape(
            -1, len(labels.names)
        )
        if not labels.is_regression:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
        return [LabelGuess(labels.names[int(each.argmax())], each) for each in scores]

    def evaluate(
        self, examples: Sequence[LabelledText], predictions: Sequence[LabelGuess], labels: Labels
    ) -> Evaluation:
        """See `Task`."""
        names = _listed(self.metrics)
        if labels.is_regression:
            numbers = [_number(each) for each in examples]
            given = [float(each.probabilities[0]) for each in predictions]
            figures = metrics_of(names, numbers, given)
            return Evaluation(figures, _mean(figures), 0.0, [], _far(examples, numbers, given))
        right = [labels.names.index(each.label) for each in examples]
        classes = [labels.names.index(each.label) for each in predictions]
        figures = metrics_of(names, right, classes)
        constants = [[number] * len(right) for number in range(len(labels.names))]
        baseline = max(_mean(metrics_of(names, right, each)) for each in constants)
        return Evaluation(
            figures,
            _mean(figures),
            baseline,
            [_confusion(right, classes, labels.names)],
            _wrong(examples, predictions),
        )

    def tuned(self, evaluation: Evaluation) -> "Classification":
        """See `Task`: there is nothing to choose."""
        del evaluation
        return self

    def record(self, example: LabelledText, prediction: LabelGuess) -> dict[str, Any]:
        """See `Task`: the texts, and `label` with its `score`; of a regression `value`."""
        texts = dict(zip(self.fields, (example.text, example.pair or ""), strict=False))
        if self.is_regression:
            return texts | {"value": round(float(prediction.probabilities[0]), 6)}
        return texts | {
            "label": prediction.label,
            "score": round(float(prediction.probabilities.max()), 6),
        }


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _rows(
    source: str,
    wanted: Sequence[str],
    names: Sequence[str],
    optional: str,
    remarks: list[str],
) -> list[tuple[tuple[str, ...], str]]:
    """Values of the wanted columns, and where they stand."""
    if source.startswith("tfds:"):
        from bert_jax.data.tfds_source import tfds_examples  # TensorFlow takes seconds

        return [
            (
                tuple(_field(example, column, source) for column in wanted if column != optional),
                f"example {n} of {source}",
            )
            for n, example in enumerate(tfds_examples(source.removeprefix("tfds:")))
        ]
    ragged: list[str] = []
    rows = read_table(Path(source), wanted, names=names, optional=optional, on_ragged=ragged.append)
    if ragged:
        remarks.append(f"{len(ragged):,} lines are left out; the first: {ragged[0]}")
    return [(row.values, f"line {row.line} of {source}") for row in rows]


def _field(example: Mapping[str, Any], column: str, source: str) -> str:
    name = next((each for each in column.split("|") if each in example), None)
    if name is None:
        raise UserError(f"{source} has no field {column!r}; it has {', '.join(example)}")
    return "" if example[name] is None else str(example[name])


def _number(example: LabelledText) -> float:
    try:
        number = float(example.label)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise UserError(f"{example.where}: label {example.label!r} is no number")
    return number


def _mean(figures: Mapping[str, float]) -> float:
    return sum(figures.values()) / len(figures)


def _confusion(right: Sequence[int], given: Sequence[int], names: Sequence[str]) -> Table:
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (right, given), 1)
    return Table(
        "right label, and what was predicted",
        ["", *names],
        [[name, *(f"{n:,}" for n in row)] for name, row in zip(names, counts, strict=True)],
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
    )


def _wrong(examples: Sequence[LabelledText], predictions: Sequence[LabelGuess]) -> list[Wrong]:
    found = [
        Wrong(_shown(each), each.label, guess.label, float(guess.probabilities.max()))
        for each, guess in zip(examples, predictions, strict=True)
        if guess.label != each.label
    ]
    return sorted(found, key=lambda wrong: -wrong.probability)


def _far(
    examples: Sequence[LabelledText], right: Sequence[float], given: Sequence[float]
) -> list[Wrong]:
    """Of a regression, what is farthest off first."""
    order = np.argsort(-np.abs(np.subtract(right, given)), kind="stable")
    return [Wrong(_shown(examples[i]), f"{right[i]:g}", f"{given[i]:.2f}", 1.0) for i in order]


def _shown(example: LabelledText) -> str:
    return shortened(example.text if example.pair is None else f"{example.text} / {example.pair}")
