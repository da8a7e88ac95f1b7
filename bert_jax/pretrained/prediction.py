"""What a fine-tuned model says: scores of rows of tokens, and predictions of texts."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from bert_jax.errors import TextError, UserError
from bert_jax.pretrained.network import Network, Pass
from bert_jax.pretrained.rows import Row, compute_rows
from bert_jax.tasks.task import Evaluation, Task
from bert_jax.tasks.task import Row as TaskRow
from bert_jax.tokenizers import Tokenizer

_log = logging.getLogger(__name__)

# A record may have its texts under these names too, whatever the task calls them.
_PLAIN = {1: ("text",), 2: ("text", "pair")}


def task_scores(
    network: Network,
    pad_id: int,
    rows: Sequence[TaskRow],
    on_batch: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """Scores of every row, [C] of sentences, [T C] of tokens, [T 2] of spans each; see `ScoresOf`.

    Args:
      network: the model's.
      pad_id: the tokenizer's.
      rows: of tokens.
      on_batch: called after every batch.

    Raises:
      UserError: the model has no trained classifier, or a row is longer than it takes.
    """
    network.require("classifier", "a task")
    found: list[np.ndarray] = [np.zeros(0)] * len(rows)
    inputs = [Row(row.ids, row.segment_ids) for row in rows]
    for members, scores in compute_rows(network, pad_id, _class_logits, inputs):
        for member, of_row in zip(members.tolist(), scores, strict=True):
            found[member] = of_row[: len(rows[member].ids)] if of_row.ndim == 2 else of_row
        on_batch()
    return found


def _class_logits(seen: Pass) -> jax.Array:
    return seen.class_logits()


def predict(
    network: Network,
    tokenizer: Tokenizer,
    task: Task,
    records: Sequence[Any],
    fields: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """See `Pretrained.predict`."""
    assert network.labels is not None
    names = fields or task.fields
    if len(names) != len(task.fields):
        raise UserError(
            f"{', '.join(names)} are named, but the model takes {', '.join(task.fields)}"
        )
    examples = []
    for number, record in enumerate(records):
        try:
            examples.append(task.example(_texts(record, names, task.fields)))
        except UserError as error:
            raise TextError(str(error), number=number, num_texts=len(records)) from None
    scores_of = partial(task_scores, network, tokenizer.pad_id)
    predictions = task.predict(tokenizer, examples, network.labels, scores_of)
    found = []
    for record, example, prediction in zip(records, examples, predictions, strict=True):
        said = task.record(example, prediction)
        if isinstance(record, Mapping):  # has its texts already, under names of its own
            said = {**record, **{key: said[key] for key in said if key not in task.fields}}
        found.append(said)
    return found


def judge(
    network: Network, tokenizer: Tokenizer, task: Task, source: str
) -> tuple[list[dict[str, Any]], Evaluation]:
    """Predictions of labelled examples, and how good they are.

    Args:
      network: the model's.
      tokenizer: the model's.
      task: that it was fine-tuned for.
      source: a file, or `tfds:NAME`, as fine-tuning reads it.

    Raises:
      UserError: examples that cannot be read, or do not go with the model.
    """
    assert network.labels is not None
    split = task.read(source)
    for remark in [*split.remarks, *task.check(split.examples, network.labels, source)]:
        _log.warning("%s", remark)
    scores_of = partial(task_scores, network, tokenizer.pad_id)
    predictions = task.predict(tokenizer, split.examples, network.labels, scores_of)
    records = [
        task.record(example, prediction)
        for example, prediction in zip(split.examples, predictions, strict=True)
    ]
    return records, task.evaluate(split.examples, predictions, network.labels)


def _texts(record: Any, names: Sequence[str], fields: Sequence[str]) -> Mapping[str, Any]:
    """A record with its texts under the names that the task has for them.

    Args:
      record: a text, several, or texts by names.
      names: what the record calls them; or plainly text and pair.
      fields: what the task calls them.

    Raises:
      UserError: there are more or fewer texts.
    """
    texts = (record,) if isinstance(record, str) else record
    if not isinstance(texts, Mapping):
        if len(texts) != len(fields):
            raise UserError(f"there are {len(texts)} texts; the model takes {', '.join(fields)}")
        return dict(zip(fields, texts, strict=True))
    found = dict(texts)
    for name, plain, field in zip(names, _PLAIN[len(names)], fields, strict=True):
        there = [each for each in (name, plain) if each in texts]
        if there:
            found[field] = texts[there[0]]
    return found
