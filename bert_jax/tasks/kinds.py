"""All tasks by their kind, and which one a model is for."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from bert_jax.errors import UserError
from bert_jax.interop.settings import TASK_FILE
from bert_jax.model.labels import Labels
from bert_jax.model.labels import Task as Head
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.question_answering import QuestionAnswering
from bert_jax.tasks.tagging import Tagging
from bert_jax.tasks.task import Task

TASKS: dict[str, Callable[..., Task]] = {
    "classification": Classification,
    "question_answering": QuestionAnswering,
    "tagging": Tagging,
}

_OF_HEAD: dict[Head, str] = {
    "sentence": "classification",
    "tokens": "tagging",
    "spans": "question_answering",
}


def make_task(section: Mapping[str, Any]) -> Task:
    """The task that a config's section `task` describes."""
    return TASKS[section["kind"]](**section)


def to_file(task: Task) -> bytes:
    """A task as it is kept with a model."""
    return (json.dumps(dataclasses.asdict(task), indent=2, ensure_ascii=False) + "\n").encode()  # type: ignore[call-overload] # all are dataclasses


def task_of(labels: Labels | None, content: bytes | None, *, num_texts: int | None = None) -> Task:
    """The task that a model is for.

    Args:
      labels: of its classifier, None if it has none.
      content: of the file with its options; None for a model of another program's, which
        has the defaults of its kind.
      num_texts: how many texts each example has, where the model does not say it.

    Raises:
      UserError: it has no classifier, or the file is damaged.
    """
    if labels is None:
        raise UserError(
            "the model has no head for a task; fine-tune it first (python -m bert_jax.finetune)"
        )
    if content is None:
        section: dict[str, Any] = {"kind": _OF_HEAD[labels.task]}
        if labels.task == "sentence":
            pair = {"pair": "pair"} if num_texts == 2 else {}
            section |= {"text": "text", "max_length": 512, **pair}
        return make_task(section)
    try:
        return make_task(json.loads(content))
    except (ValueError, TypeError, KeyError):
        raise UserError(f"the model's {TASK_FILE} is damaged; copy the folder again") from None
