"""Answers to questions, as spans of a paragraph."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tasks.scores import squad
from bert_jax.tasks.squad_files import Question, read_questions
from bert_jax.tasks.task import (
    Evaluation,
    ScoresOf,
    Split,
    TrainingRow,
    Wrong,
    shortened,
    text_of,
)
from bert_jax.tasks.windows import Paragraph, Window, paragraphs_of, windows_of
from bert_jax.tokenizers import Tokenizer

_LEAST_ROOM = 8  # tokens of a paragraph that a window must have room for
_NO_SPAN = 1e4  # how far no answer is ahead where there is no span: above any score


class Candidate(NamedTuple):
    """A span that may be the answer.

    Attributes:
      text: as it stands in the paragraph, without space around it; "" for no answer.
      start: its first character in the paragraph.
      end: one past its last.
      score: the sum of the scores of its ends.
      probability: among the candidates.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float = 0.0


class AnswerGuess(NamedTuple):
    """What the model says of a question.

    Attributes:
      best: its answer.
      candidates: the best spans, best first.
      null_score: the score of no answer.
    """

    best: Candidate
    candidates: list[Candidate]
    null_score: float

    @property
    def null_difference(self) -> float:
        """By how much the score of no answer is above the best span's."""
        return self.null_score - self.candidates[0].score if self.candidates else _NO_SPAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswering:
    """The config's section `task` of question answering.

    Attributes:
      kind: which task it is.
      max_length: the most tokens of a row.
      stride: how many tokens one window on a paragraph begins after the one before.
      max_question_length: the most tokens of a question.
      max_answer_length: the most tokens of an answer.
      n_best: how many candidates are looked at.
      null_threshold: a question has no answer if the score of none is above that of the best
        span by more than this. None for an answer always; but where questions of the held-out
        examples have none, an evaluation then chooses the threshold with the best F1.
    """

    kind: Literal["question_answering"] = "question_answering"
    max_length: int = 384
    stride: int = 128
    max_question_length: int = 64
    max_answer_length: int = 30
    n_best: int = 20
    null_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("stride", "max_question_length", "max_answer_length", "n_best"):
            if getattr(self, name) < 1:
                raise UserError(f"task.{name} is {getattr(self, name)}; it must be at least 1")
        least = self.max_question_length + 3 + _LEAST_ROOM
        if self.max_length < least:
            raise UserError(
                f"task.max_length is {self.max_length}; with questions of "
                f"{self.max_question_length} tokens it must be at least {least}"
            )

    def read(self, source: str) -> Split:
        """See `Task` and `read_questions`."""
        return read_questions(source)

    def labels(self, examples: Sequence[Question]) -> Labels:
        """See `Task`."""
        if not any(_is_answered(each) for each in examples):
            raise UserError("no question has an answer in its paragraph; there is nothing to learn")
        return Labels("spans", ("start", "end"))

    def check(self, examples: Sequence[Question], labels: Labels, source: str) -> list[str]:
        """See `Task`."""
        del labels
        if not any(each.answers or each.is_impossible for each in examples):
            raise UserError(f"the questions of {source} have no answers to compare with")
        return []

    def groups(self, examples: Sequence[Question]) -> Sequence[Hashable]:
        """See `Task`: the article, or where it has no title the paragraph."""
        return [each.title or each.context for each in examples]

    def _windows(
        self,
        tokenizer: Tokenizer,
        questions: Sequence[Question],
        paragraphs: dict[str, Paragraph],
    ) -> list[Window]:
        return list(
            windows_of(
                tokenizer,
                questions,
                paragraphs,
                max_length=self.max_length,
                stride=self.stride,
                max_question_length=self.max_question_length,
            )
        )

    def training_rows(
        self, tokenizer: Tokenizer, examples: Sequence[Question], labels: Labels
    ) -> tuple[list[TrainingRow], list[str]]:
        """See `Task`. A window without the answer is trained to say so, by the place of [CLS]."""
        del labels
        questions = [each for each in examples if each.is_impossible or _is_answered(each)]
        paragraphs = paragraphs_of(tokenizer, questions)
        spans, inexact, lost = [], 0, 0
        for each in questions:
            span = None
            if not each.is_impossible:
                text, start = each.answers[0]
                # A token of bytes may hold the space before a word, which is not the answer's.
                start += len(text) - len(text.lstrip())
                text = text.strip()
                paragraph = paragraphs[each.context]
                span = paragraph.tokens_of(start, start + len(text))
                if span is None:
                    lost += 1
                else:
                    shown = each.context[paragraph.starts[span[0]] : paragraph.ends[span[1]]]
                    inexact += shown.strip() != text
            spans.append(span)
        rows = []
        for window in self._windows(tokenizer, questions, paragraphs):
            span = spans[window.question]
            if span is None and not questions[window.question].is_impossible:
                continue
            starts = ends = 0
            if span and window.start <= span[0] and span[1] < window.start + len(window.starts):
                starts, ends = (window.first + token - window.start for token in span)
            rows.append(TrainingRow(window.row, {"starts": starts, "ends": ends}))
        num_answered = sum(not each.is_impossible for each in questions)
        remarks = [
            f"{count:,} of {num_answered:,} answers {what}"
            for count, what in (
                (inexact, "begin or end inside a token: no span of tokens is quite that answer"),
                (lost, "have no token, and are not trained on"),
            )
            if count
        ]
        return rows, remarks

    def predict(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[Question],
        labels: Labels,
        scores_of: ScoresOf,
    ) -> list[AnswerGuess]:
        """See `Task`."""
        del labels
        windows = self._windows(tokenizer, examples, paragraphs_of(tokenizer, examples))
        spans: list[list[Candidate]] = [[] for _ in examples]
        null_scores = np.full(len(examples), np.inf)
        for window, scores in zip(windows, scores_of([each.row for each in windows]), strict=True):
            number = window.question
            null_scores[number] = min(null_scores[number], float(scores[0].sum()))
            spans[number] += self._candidates(window, scores, examples[number].context)
        return [
            self._guess(found, null)
            for found, null in zip(spans, null_scores.tolist(), strict=True)
        ]

    def _candidates(self, window: Window, scores: np.ndarray, context: str) -> list[Candidate]:
        """The best spans of a window."""
        inside = scores[window.first : window.first + len(window.starts)].astype(np.float64)
        # Near its edge a window sees too little to say that something begins there; and a text
        # has no space around it, which some tokenizers have tokens for.
        firsts = np.flatnonzero(window.is_fullest & window.has_text)
        longest = min(self.max_answer_length, len(inside))
        if not len(firsts):
            return []
        # All spans, [F longest], which run_squad.py takes from the n_best places of either end:
        # these may lie too far apart to be an answer.
        ends = np.full(len(inside) + longest - 1, -np.inf)
        ends[: len(inside)][window.has_text] = inside[window.has_text, 1]
        sums = (inside[firsts, :1] + sliding_window_view(ends, longest)[firsts]).ravel()
        found = []
        for place in _largest(sums, min(self.n_best, int(np.isfinite(sums).sum()))):
            first = firsts[place // longest]
            start, end = int(window.starts[first]), int(window.ends[first + place % longest])
            shown = context[start:end]
            start += len(shown) - len(shown.lstrip())
            text = shown.strip()
            found.append(Candidate(text, start, start + len(text), float(sums[place])))
        return found

    def _guess(self, found: list[Candidate], null_score: float) -> AnswerGuess:
        """The answer, of the candidates of all windows."""
        best: dict[str, Candidate] = {}  # a text may stand in several places
        for each in sorted(found, key=lambda each: -each.score):
            best.setdefault(each.text, each)
        candidates = list(best.values())[: self.n_best]
        none = Candidate("", 0, 0, null_score)
        if not candidates:
            return AnswerGuess(none._replace(probability=1.0), [], null_score)
        # Where an answer is always given, none is no candidate.
        among = candidates if self.null_threshold is None else [*candidates, none]
        scores = np.array([each.score for each in among])
        powers = np.exp(scores - scores.max())
        among = [
            each._replace(probability=probability)
            for each, probability in zip(among, (powers / powers.sum()).tolist(), strict=True)
        ]
        difference = null_score - candidates[0].score
        is_none = self.null_threshold is not None and difference > self.null_threshold
        return AnswerGuess(among[-1] if is_none else among[0], among[: len(candidates)], null_score)

    def evaluate(
        self, examples: Sequence[Question], predictions: Sequence[AnswerGuess], labels: Labels
    ) -> Evaluation:
        """See `Task`: by the official scorer of the data set."""
        del labels
        metric = examples[0].metric
        golds = {each.id: [answer.text for answer in each.answers] for each in examples}
        guesses = {each.id: guess for each, guess in zip(examples, predictions, strict=True)}
        chosen = {}
        if metric == "squad_v2":
            spans = {
                name: guess.candidates[0].text if guess.candidates else ""
                for name, guess in guesses.items()
            }
            differences = {name: guess.null_difference for name, guess in guesses.items()}
            chosen = squad.best_thresholds(golds, spans, differences)
            if self.null_threshold is None:
                task = dataclasses.replace(self, null_threshold=chosen["best_f1_thresh"])
                guesses = {
                    name: task._guess(guess.candidates, guess.null_score)
                    for name, guess in guesses.items()
                }
        texts = {name: guess.best.text for name, guess in guesses.items()}
        figures = squad.evaluate(golds, texts, metric) | chosen
        wrong = []
        for each in examples:
            exact, _ = squad.answer_scores(texts[each.id], golds[each.id], metric)
            if not exact:
                wrong.append(
                    Wrong(
                        shortened(f"{each.question} / {each.context}"),
                        " or ".join(dict.fromkeys(golds[each.id])) or "no answer",
                        texts[each.id] or "no answer",
                        guesses[each.id].best.probability,
                    )
                )
        return Evaluation(
            figures=figures,
            score=figures["f1"],
            baseline=100 * sum(each.is_impossible for each in examples) / len(examples),
            tables=[],
            wrong=sorted(wrong, key=lambda each: -each.probability),
        )

    def tuned(self, evaluation: Evaluation) -> "QuestionAnswering":
        """See `Task`: with the threshold for questions without an answer, unless it is given."""
        if self.null_threshold is not None:
            return self
        return dataclasses.replace(self, null_threshold=evaluation.figures.get("best_f1_thresh"))

    @property
    def fields(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("question", "context")

    def example(self, record: Mapping[str, Any]) -> Question:
        """See `Task`."""
        question, context = (text_of(record, name) for name in self.fields)
        return Question(str(record.get("id", "")), question, context)

    def record(self, example: Question, prediction: AnswerGuess) -> dict[str, Any]:
        """See `Task`: `answer` with `score`, `start` and `end`, and the other candidates."""
        best = prediction.best
        of_id = {"id": example.id} if example.id else {}
        return {
            **of_id,
            "question": example.question,
            "context": example.context,
            "answer": best.text,
            "score": round(best.probability, 6),
            "start": best.start,
            "end": best.end,
            "candidates": [
                {
                    "answer": each.text,
                    "score": round(each.probability, 6),
                    "start": each.start,
                    "end": each.end,
                }
                for each in prediction.candidates
            ],
        }


def _is_answered(question: Question) -> bool:
    """Whether its first answer is in the paragraph."""
    return bool(question.answers) and question.answers[0].start >= 0


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest values, largest first."""
    if len(values) > count:
        places = np.argpartition(-values, count - 1)[:count]
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]
