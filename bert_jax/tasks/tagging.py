"""Named entities: a tag for every word or character, and F1 of what they amount to."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tasks.conll_files import (
    Level,
    Sentence,
    read_sentences,
    sentence_of_fields,
)
from bert_jax.tasks.scores import conll
from bert_jax.tasks.tagging_rows import Unit, rows_of, spread, units_of
from bert_jax.tasks.tags import TagError, as_iob2
from bert_jax.tasks.task import Evaluation, ScoresOf, Split, Table, TrainingRow, Wrong
from bert_jax.tokenizers import Tokenizer

_FRAME = 2  # [CLS] and [SEP]


class Entity(NamedTuple):
    """A name in a text.

    Attributes:
      type: such as PER.
      text: as it stands there.
      start: its first character in the text.
      end: one past its last.
      score: the mean probability of its words' tags.
    """

    type: str
    text: str
    start: int
    end: int
    score: float


class Tagged(NamedTuple):
    """What a model says of a sentence.

    Attributes:
      tags: of each word or character, IOB2.
      probabilities: of these tags.
      entities: that they amount to, in order.
    """

    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    entities: tuple[Entity, ...]


class _Answer(NamedTuple):
    """The likeliest tag of a unit, as the model writes it, and its probability."""

    unit: Unit
    tag: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Tagging:
    """The task of naming entities; its attributes are the keys of the config's section.

    Attributes:
      kind: that it is this one.
      max_length: the most tokens of a row; longer sentences are read in parts that overlap,
        in training too, so no word goes without a tag.
      level: whether the words of the data are words, or characters as in KLUE-NER.
      token_column: see `read_sentences`.
      tag_column: see `read_sentences`.
    """

    kind: Literal["tagging"] = "tagging"
    max_length: int = 128
    level: Level = "word"
    token_column: str = ""
    tag_column: str = ""

    def __post_init__(self) -> None:
        if self.max_length <= _FRAME:
            raise UserError(f"max_length is {self.max_length}; [CLS] and [SEP] alone take {_FRAME}")
        if self.token_column and self.token_column == self.tag_column:
            raise UserError(f"token_column and tag_column are both {self.token_column!r}")

    @property
    def _room(self) -> int:
        return self.max_length - _FRAME

    def read(self, source: str) -> Split:
        """The sentences of a file, or of `tfds:NAME`; see `read_sentences`."""
        return read_sentences(
            source,
            level=self.level,
            token_column=self.token_column,
            tag_column=self.tag_column,
        )

    def labels(self, examples: Sequence[Sentence]) -> Labels:
        """O, and B- and I- of each type.

        Raises:
          UserError: there is no entity.
        """
        types = sorted(_counts(examples))
        if not types:
            raise UserError(
                f"all tags of the {len(examples):,} sentences to train on are O; there is nothing "
                "to tell apart: is tag_column the column of the tags?"
            )
        return Labels("tokens", ("O", *(f"{mark}-{each}" for each in types for mark in "BI")))

    def check(self, examples: Sequence[Sentence], labels: Labels, source: str) -> list[str]:
        """Remarks on types that only one side has.

        Raises:
          UserError: the sides share none, or the model's classes are no tags.
        """
        known = _types(labels)
        counts = _counts(examples)
        if not counts:
            return [f"{source} has no entity: its F1 is 0 whatever is found"]
        if known.isdisjoint(counts):
            raise UserError(
                f"{source} has entities of {_listed(counts)} and the model knows {_listed(known)}: "
                "none of them; give both the same names"
            )
        remarks = []
        if unknown := sorted(counts.keys() - known):
            missed = sum(counts[each] for each in unknown)
            remarks.append(
                f"{source}: {missed:,} of {counts.total():,} entities count as missed, for the "
                f"training data has none of their types: {_listed(unknown)}"
            )
        if absent := sorted(known - counts.keys()):
            remarks.append(f"{source} has no entity of {_listed(absent)}")
        return remarks

    def groups(self, examples: Sequence[Sentence]) -> Sequence[Hashable]:
        """The documents, where the source tells them apart, or else each sentence."""
        documents = [each.document for each in examples]
        return documents if len(set(documents)) > 1 else range(len(examples))

    def training_rows(
        self, tokenizer: Tokenizer, examples: Sequence[Sentence], labels: Labels
    ) -> tuple[list[TrainingRow], list[str]]:
        """Each word is labelled once, at its first piece, in the part that answers for it."""
        numbers = {name: number for number, name in enumerate(labels.names)}
        shown = units_of(tokenizer, examples, self.level, self._room)
        rows = []
        for row, sentence, answers in rows_of(tokenizer, shown, self._room):
            targets, weights = [0] * len(row.ids), [0.0] * len(row.ids)
            for number, place in answers:
                tag = examples[sentence].tags[shown[sentence][number].start]
                # Of a type that the model does not know there is nothing to learn.
                if tag in numbers:
                    targets[place], weights[place] = numbers[tag], 1.0
            rows.append(TrainingRow(row, {"labels": targets, "label_weights": weights}))
        return rows, self._remarks(examples, shown)

    def _remarks(self, examples: Sequence[Sentence], shown: Sequence[Sequence[Unit]]) -> list[str]:
        """What a person should know of how sentences are shown."""
        remarks = []
        long = sum(sum(len(unit.ids) for unit in units) > self._room for units in shown)
        if long:
            remarks.append(
                f"{long:,} of {len(examples):,} sentences have more than {self.max_length} tokens "
                "and are read in parts that overlap"
            )
        torn = sum(
            len(set(conll.chunks(each.tags)).difference(conll.chunks(_by_units(each, units))))
            for each, units in zip(examples, shown, strict=True)
        )
        if torn:
            remarks.append(
                f"{torn:,} of {_counts(examples).total():,} entities begin or end inside a piece "
                "of the tokenizer and cannot be found as they are"
            )
        return remarks

    def predict(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[Sentence],
        labels: Labels,
        scores_of: ScoresOf,
    ) -> list[Tagged]:
        """The likeliest tag of every word; long sentences are read in parts that overlap.

        Raises:
          UserError: the model's classes are no tags.
        """
        _types(labels)
        shown = units_of(tokenizer, examples, self.level, self._room)
        rows = list(rows_of(tokenizer, shown, self._room))
        scores = scores_of([each.row for each in rows]) if rows else []
        answered: list[list[_Answer]] = [[] for _ in examples]
        for (_, sentence, answers), row_scores in zip(rows, scores, strict=True):
            likeliest = row_scores.argmax(axis=-1)  # [T]
            probabilities = _softmax(row_scores).max(axis=-1)  # [T]
            answered[sentence].extend(
                _Answer(
                    shown[sentence][number],
                    labels.names[likeliest[place]],
                    float(probabilities[place]),
                )
                for number, place in answers
            )
        return list(map(_tagged, examples, answered))

    def evaluate(
        self, examples: Sequence[Sentence], predictions: Sequence[Tagged], labels: Labels
    ) -> Evaluation:
        """As conlleval, in percent."""
        gold = [each.tags for each in examples]
        found = [each.tags for each in predictions]
        figures = _figures(gold, found)
        counts = _counts(examples)
        rows = []
        for kind in sorted({*counts, *_types(labels)}):
            mine = _figures(*([_only(kind, each) for each in tags] for tags in (gold, found)))
            percents = [f"{mine[name]:.2f}" for name in ("precision", "recall", "f1")]
            rows.append([kind, *percents, f"{counts[kind]:,}"])
        shares = np.array([[float(each) / 100 for each in row[1:4]] for row in rows])
        header = ["type", "precision %", "recall %", "F1 %", "entities"]
        wrong = [
            wrong
            for each, tagged in zip(examples, predictions, strict=True)
            for wrong in _wrong(each, tagged)
        ]
        wrong.sort(key=lambda each: -each.probability)
        return Evaluation(
            figures=figures,
            score=figures["f1"],
            baseline=0.0,  # all O
            tables=[Table("Entities by type", header, rows, shares)],
            wrong=wrong,
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """See `Task`; a record may have words in `tokens` instead."""
        return ("text",)

    def example(self, record: Mapping[str, Any]) -> Sentence:
        """See `Task`."""
        return sentence_of_fields(record, self.level, "the record", self.token_column)

    def tuned(self, evaluation: Evaluation) -> "Tagging":
        """See `Task`: there is nothing to choose."""
        del evaluation
        return self

    def record(self, example: Sentence, prediction: Tagged) -> dict[str, Any]:
        """Text, words, their tags, and entities by their characters in the text."""
        words = {"tokens": list(example.words)} if self.level == "word" else {}
        return {
            "text": example.text,
            **words,
            "tags": list(prediction.tags),
            "entities": [each._asdict() for each in prediction.entities],
        }


def _counts(examples: Sequence[Sentence]) -> Counter[str]:
    """How many entities there are of each type."""
    return Counter(kind for each in examples for kind, _, _ in conll.chunks(each.tags))


def _types(labels: Labels) -> set[str]:
    """What the model's classes tell apart.

    Raises:
      UserError: they are no tags.
    """
    try:
        return {tag[2:] for tag in as_iob2(labels.names) if tag != "O"}
    except TagError as error:
        raise UserError(f"the model's classes are {_listed(labels.names)}: {error}") from None


def _listed(names: Iterable[str]) -> str:
    """Some names, for a message."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - 8} more" if len(ordered) > 8 else ""
    return ", ".join(ordered[:8]) + rest


def _by_units(sentence: Sentence, units: Sequence[Unit]) -> tuple[str, ...]:
    """The best that can be said of a sentence by tags of its units."""
    speaking = [unit for unit in units if unit.start < unit.stop]
    tags = [sentence.tags[unit.start] for unit in speaking]
    return spread(speaking, tags, len(sentence.words))


def _softmax(scores: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "T C"]:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _tagged(sentence: Sentence, answers: Sequence[_Answer]) -> Tagged:
    units = [answer.unit for answer in answers]
    tags = spread(units, [answer.tag for answer in answers], len(sentence.words))
    # Characters without a piece have the probability of what stands before them.
    starts = [0, *(unit.start for unit in units), len(sentence.words)]
    known = [1.0, *(answer.probability for answer in answers)]
    lengths = np.diff(starts)
    probabilities = tuple(np.repeat(known, lengths).tolist())
    return Tagged(tags, probabilities, tuple(_entities(sentence, tags, probabilities)))


def _entities(
    sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float]
) -> Iterator[Entity]:
    """What tags amount to, in a sentence whose predicted tags have these probabilities."""
    for kind, first, stop in conll.chunks(tags):
        start, end = sentence.offsets[first][0], sentence.offsets[stop - 1][1]
        score = sum(probabilities[first:stop]) / (stop - first)
        yield Entity(kind, sentence.text[start:end], start, end, score)


def _figures(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    scores = conll.evaluate(gold, predicted)
    return {name: scores[name] for name in ("precision", "recall", "f1", "accuracy")}


def _only(kind: str, tags: Sequence[str]) -> list[str]:
    """Tags of one type, others O."""
    return [tag if tag[2:] == kind else "O" for tag in tags]


def _wrong(sentence: Sentence, tagged: Tagged) -> Iterator[Wrong]:
    """Entities that are none or other ones, and those of which nothing was found."""
    gold = list(_entities(sentence, sentence.tags, tagged.probabilities))
    for entity in tagged.entities:
        if entity not in gold:
            right = _described(each for each in gold if _overlap(each, entity))
            yield Wrong(sentence.text, right, _described([entity]), entity.score)
    for entity in gold:
        if not any(_overlap(each, entity) for each in tagged.entities):
            yield Wrong(sentence.text, _described([entity]), _described([]), entity.score)


def _overlap(one: Entity, other: Entity) -> bool:
    return one.start < other.end and other.start < one.end


def _described(entities: Iterable[Entity]) -> str:
    return ", ".join(f"{each.text} ({each.type})" for each in entities) or "no entity"
