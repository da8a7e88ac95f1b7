"""What every task says of itself; `finetune`, `predict` and reports know no more of it.

Nothing here runs a model: a task turns its examples into rows of tokens, and the
scores that a model gives these back into answers.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tokenizers import Tokenizer

_SHOWN = 300  # characters of a wrong prediction


class Row(NamedTuple):
    """What the model sees of an example, or of a part of it.

    Attributes:
      ids: T token ids, [CLS] and [SEP] included.
      segment_ids: 0 or 1 each.
    """

    ids: Sequence[int]
    segment_ids: Sequence[int]


class TrainingRow(NamedTuple):
    """A row, and what the model is to say of it.

    Attributes:
      row: what it sees.
      targets: by name; whole numbers are classes or places. Of a sentence `labels`, a class,
        or in a regression a number; of spans `starts` and `ends`, tokens; of tokens `labels`,
        a class for each of the T tokens, and `label_weights`, 1.0 for those that count.
    """

    row: Row
    targets: Mapping[str, float | Sequence[int] | Sequence[float]]


class Split(NamedTuple):
    """The examples of a source.

    Attributes:
      examples: in the order of the source.
      remarks: a line for whatever a person should know of them, such as what was left out.
    """

    examples: list[Any]
    remarks: list[str]


class Table(NamedTuple):
    """For a report: the first column is names, the others are figures.

    Attributes:
      shares: [rows, columns without names], 0 to 1, to draw it by; None if it is not drawn.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    shares: np.ndarray | None = None


class Wrong(NamedTuple):
    """A wrong prediction to read."""

    text: str
    right: str
    predicted: str
    probability: float


class Evaluation(NamedTuple):
    """How good predictions are.

    Attributes:
      figures: by the names under which they are published; in percent for spans and
        entities, as their official scorers have them, and else as shares.
      score: what the best checkpoint is chosen by, the larger the better.
      baseline: the score of the best answer that does not look at the text.
      tables: such as the confusion matrix.
      wrong: the surest wrong predictions first.
    """

    figures: dict[str, float]
    score: float
    baseline: float
    tables: list[Table]
    wrong: list[Wrong]


ScoresOf = Callable[[Sequence[Row]], list[np.ndarray]]
"""What the model says of rows: [C] of a sentence, [T C] of tokens, [T 2] of spans, each."""


def shortened(text: str) -> str:
    """A text in one line, short enough to read."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"


def text_of(record: Mapping[str, Any], field: str) -> str:
    """A text of a record to predict.

    Raises:
      UserError: it is missing, or no text.
    """
    if field not in record:
        others = ", ".join(map(repr, record)) or "none"
        raise UserError(f"there is no field {field!r}, only {others}")
    if not isinstance(record[field], str):
        raise UserError(f"field {field!r} is no text")
    return record[field]


@runtime_checkable
class Task(Protocol):
    """A task with its options: what the config's section `task` says."""

    @property
    def max_length(self) -> int:
        """The most tokens of a row."""

    def read(self, source: str) -> Split:
        """The examples of a file, or of `tfds:NAME`.

        Raises:
          UserError: what is there cannot be learnt from.
        """

    def labels(self, examples: Sequence[Any]) -> Labels:
        """The classes that these training examples have.

        Raises:
          UserError: there is nothing to tell apart.
        """

    def check(self, examples: Sequence[Any], labels: Labels, source: str) -> list[str]:
        """Remarks on whether examples of another source go with these labels.

        Raises:
          UserError: they do not.
        """

    def groups(self, examples: Sequence[Any]) -> Sequence[Hashable]:
        """Of each example, what must not be torn apart when some are held out."""

    def training_rows(
        self, tokenizer: Tokenizer, examples: Sequence[Any], labels: Labels
    ) -> tuple[list[TrainingRow], list[str]]:
        """What is trained on, and remarks, such as how many texts were cut."""

    def predict(
        self, tokenizer: Tokenizer, examples: Sequence[Any], labels: Labels, scores_of: ScoresOf
    ) -> list[Any]:
        """A prediction of each example; long ones are read in parts."""

    def evaluate(
        self, examples: Sequence[Any], predictions: Sequence[Any], labels: Labels
    ) -> Evaluation:
        """How good predictions of examples are whose answers are known."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the texts that a record to predict has."""

    def example(self, record: Mapping[str, Any]) -> Any:
        """An example to predict, of a record with these fields, which are texts.

        Raises:
          UserError: it cannot be read.
        """

    def tuned(self, evaluation: Evaluation) -> "Task":
        """The task with the options that are chosen by an evaluation, if it has such."""

    def record(self, example: Any, prediction: Any) -> dict[str, Any]:
        """A prediction as `predict` writes it, for JSON."""
