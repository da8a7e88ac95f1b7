"""Questions on paragraphs: files of SQuAD 1.1 and 2.0 and of KorQuAD 1.0, and TFDS."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bert_jax.data.files import file_at, local, unstripped_lines_of
from bert_jax.data.text_files import refuse_half_characters
from bert_jax.errors import UserError
from bert_jax.tasks.scores.squad import Metric
from bert_jax.tasks.task import Split

_NAMED = 5  # ids that a remark names


class Answer(NamedTuple):
    """A right answer: its text, and its first character in the paragraph, −1 if it is not there."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question on a paragraph.

    Attributes:
      id: "" for one that is only to be answered.
      question: its text.
      context: the paragraph.
      answers: right ones; none if it has none, or if they are not known.
      is_impossible: whether the paragraph does not answer it.
      title: of the article, "" if there is none.
      metric: by which its data set is scored.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] = ()
    is_impossible: bool = False
    title: str = ""
    metric: Metric = "squad"


def read_questions(source: str) -> Split:
    """The questions of a file, which may be packed, or of `tfds:NAME`.

    An answer that is not where the file says is looked for elsewhere in its paragraph, the
    nearest place counts; one that is nowhere stays among the right answers, and is not
    trained on. Questions without a text or a paragraph are left out.

    Raises:
      UserError: a file that is missing, damaged or laid out otherwise, or without a question.
    """
    if source.startswith("tfds:"):
        raw, metric = _of_tfds(source)
    else:
        raw, metric = _of_file(source)
    if any(each["is_impossible"] for each in raw):
        metric = "squad_v2"
    questions, moved, lost, empty = [], [], [], []
    seen = set()
    for each in raw:
        name = each["id"]
        if name in seen:
            raise UserError(f"{source} has two questions with the id {name!r}; mend one of them")
        seen.add(name)
        if not each["question"].strip() or not each["context"].strip():
            empty.append(name)
            continue
        answers = [_placed(answer, each["context"]) for answer in each["answers"]]
        if answers and not each["is_impossible"]:
            if answers[0].start < 0:
                lost.append(name)
            elif answers[0].start != each["answers"][0][1]:
                moved.append(name)
        questions.append(Question(**{**each, "answers": tuple(answers), "metric": metric}))
    if not questions:
        raise UserError(f"{source} holds no question that has a text and a paragraph")
    remarks = [
        f"{source}: {len(names):,} {what}: {', '.join(names[:_NAMED])}"
        + (", …" if len(names) > _NAMED else "")
        for names, what in (
            (empty, "questions without a text or a paragraph are left out"),
            (lost, "answers are not in their paragraphs and are not trained on"),
            (moved, "answers stand elsewhere in their paragraphs and are taken there"),
        )
        if names
    ]
    return Split(questions, remarks)


def _placed(answer: tuple[str, int], context: str) -> Answer:
    """An answer where it is: there, or at the nearest other place."""
    text, start = answer
    if not text.strip():
        return Answer(text, -1)
    if start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    before = context.rfind(text, 0, max(0, start) + len(text))
    after = context.find(text, max(0, start))
    places = [place for place in (before, after) if place >= 0]
    return Answer(text, min(places, key=lambda place: abs(place - start), default=-1))


def _of_file(source: str) -> tuple[list[dict[str, Any]], Metric]:
    lines = unstripped_lines_of(file_at(local(source)), lambda _: None)
    try:
        content = json.loads("".join(lines).lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:  # the latter of brackets too deep
        raise UserError(f"{source} is no JSON ({error}); get it again") from None
    try:
        version = str(content.get("version", ""))
        raw = list(_of_articles(content["data"], source))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"{source} is not laid out as SQuAD's files, data → paragraphs → qas "
            f"({type(error).__name__}: {error})"
        ) from None
    return raw, "korquad" if version.startswith("KorQuAD") else "squad"


def _of_articles(data: Sequence[Mapping[str, Any]], source: str) -> Iterator[dict[str, Any]]:
    for article in data:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield _question(
                    source,
                    id=str(asked["id"]),
                    question=asked["question"],
                    context=paragraph["context"],
                    answers=[
                        (answer["text"], int(answer["answer_start"]))
                        for answer in asked.get("answers") or ()
                    ],
                    is_impossible=bool(asked.get("is_impossible", False)),
                    title=str(article.get("title") or ""),
                )


def _of_tfds(source: str) -> tuple[list[dict[str, Any]], Metric]:
    from bert_jax.data.tfds_source import tfds_examples  # TensorFlow takes seconds

    try:
        raw = [
            _question(
                source,
                id=str(each["id"]),
                question=each["question"],
                context=each["context"],
                answers=list(
                    zip(each["answers"]["text"], each["answers"]["answer_start"], strict=True)
                ),
                is_impossible=bool(each.get("is_impossible", False)),
                title=each.get("title", ""),
            )
            for each in tfds_examples(source.removeprefix("tfds:"))
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} has not the fields of squad ({type(error).__name__}: {error})"
        ) from None
    return raw, "squad"


def _question(source: str, **fields: Any) -> dict[str, Any]:
    """Fields of a `Question`, whose texts are texts."""
    texts = {name: fields[name] for name in ("id", "question", "context")}
    texts |= {f"answer {n + 1}": text for n, (text, _) in enumerate(fields["answers"])}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UserError(f"{source}: the {name} of question {fields['id']!r} is no text")
        refuse_half_characters(text, name, f"question {fields['id']!r} of {source}")
    return fields
