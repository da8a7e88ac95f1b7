"""Windows on paragraphs, what is trained on, and how scores become answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.tasks.question_answering import QuestionAnswering
from bert_jax.tasks.squad_files import Answer, Question, read_questions
from bert_jax.tasks.task import Row
from bert_jax.tasks.windows import Window, paragraphs_of, windows_of
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.training import Recipe, train_tokenizer

TEXTS = [
    "Paris is the capital of France, and a beautiful city. She cooked pasta on the bank.",
    "나는 파리를 사랑한다. 나는 파리에서 파스타를 먹었다. 서울은 대한민국의 수도이다.",
]
LABELS = Labels("spans", ("start", "end"))
SMALL = QuestionAnswering(max_length=24, stride=5, max_question_length=6, max_answer_length=8)


@pytest.fixture(scope="module", params=["wordpiece", "byte_bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    sizes = {"wordpiece": 120, "byte_bpe": 330, "unigram": 60}
    recipe = Recipe(type=request.param, vocab_size=sizes[request.param])
    return train_tokenizer(count_chunks(TEXTS, recipe.cut), recipe)


def question(context: str, answer: str | None = None, name: str = "1", **more: object) -> Question:
    answers = () if answer is None else (Answer(answer, context.index(answer)),)
    return Question(name, "where is it?", context, answers, answer is None, **more)  # type: ignore[arg-type]


def windows(tokenizer: Tokenizer, asked: Question, task: QuestionAnswering) -> list[Window]:
    return list(
        windows_of(
            tokenizer,
            [asked],
            paragraphs_of(tokenizer, [asked]),
            max_length=task.max_length,
            stride=task.stride,
            max_question_length=task.max_question_length,
        )
    )


def one_hot(targets: list[tuple[int, int]], rows: list[Row]) -> list[np.ndarray]:
    """Scores of a model that is sure of these places."""
    found = []
    for (start, end), row in zip(targets, rows, strict=True):
        scores = np.zeros((len(row.ids), 2))
        scores[start, 0] = scores[end, 1] = 20
        found.append(scores)
    return found


def test_windows_show_every_token_with_most_around_it(tokenizer: Tokenizer) -> None:
    asked = question(TEXTS[0] + " " + TEXTS[1])
    whole = paragraphs_of(tokenizer, [asked])[asked.context]
    shown = windows(tokenizer, asked, SMALL)
    room = SMALL.max_length - shown[0].first - 1
    starts = [0]
    while starts[-1] + room < len(whole.ids):
        starts.append(starts[-1] + SMALL.stride)
    assert [window.start for window in shown] == starts
    for window in shown:
        tokens = [tokenizer.token(token) for token in window.row.ids]
        stop = window.first + len(window.starts)
        assert tokens[0] == "[CLS]"
        assert tokens[window.first - 1] == tokens[stop] == "[SEP]"
        assert len(tokens) == stop + 1 <= SMALL.max_length
        assert list(window.row.segment_ids) == [0] * window.first + [1] * (stop + 1 - window.first)
        part = slice(window.start, window.start + len(window.starts))
        assert list(window.row.ids[window.first : stop]) == whole.ids[part]
    for token in range(len(whole.ids)):
        # run_squad.py: the smaller of what is left and right of it, and 0.01 times the length.
        scores = [
            min(token - w.start, w.start + len(w.starts) - 1 - token) + 0.01 * len(w.starts)
            if w.start <= token < w.start + len(w.starts)
            else -1
            for w in shown
        ]
        flags = [
            bool(w.is_fullest[token - w.start]) if score >= 0 else False
            for w, score in zip(shown, scores, strict=True)
        ]
        assert flags.index(True) == int(np.argmax(scores))
        assert sum(flags) == 1


def test_long_questions_are_cut(tokenizer: Tokenizer) -> None:
    asked = Question("1", "the capital " * 50, TEXTS[0])
    assert windows(tokenizer, asked, SMALL)[0].first == 1 + SMALL.max_question_length + 1


@pytest.mark.parametrize("context", ["a" * 100_000, "Paris " * 16_667, "파" * 100_000])
def test_a_very_long_paragraph(tokenizer: Tokenizer, context: str) -> None:
    asked = question(context)
    task = QuestionAnswering()
    shown = windows(tokenizer, asked, task)
    assert sum(int(window.is_fullest.sum()) for window in shown) == len(
        paragraphs_of(tokenizer, [asked])[context].ids
    )
    (found,) = task.predict(
        tokenizer, [asked], LABELS, lambda rows: [np.zeros((len(row.ids), 2)) for row in rows]
    )
    assert found.best.text in context


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_trained_on_is_what_is_answered(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """A model that says what it was trained to say finds the answer, as far as tokens can."""
    context = data.draw(st.sampled_from([*TEXTS, f"{TEXTS[0]} {TEXTS[1]}"]))
    words = context.split(" ")
    first = data.draw(st.integers(0, len(words) - 1))
    count = data.draw(st.integers(1, 2))
    answer = " ".join(words[first : first + count])
    start = len(" ".join(words[:first])) + bool(first)
    asked = Question("1", "where?", context, (Answer(answer, start),))
    rows, remarks = SMALL.training_rows(tokenizer, [asked], LABELS)
    targets = [(int(row.targets["starts"]), int(row.targets["ends"])) for row in rows]  # type: ignore[arg-type]
    paragraph = paragraphs_of(tokenizer, [asked])[context]
    span = paragraph.tokens_of(start, start + len(answer))
    assert span is not None
    is_seen = False  # by the window that answers for its first token
    for window, (one, other) in zip(windows(tokenizer, asked, SMALL), targets, strict=True):
        inside = window.start <= span[0] and span[1] < window.start + len(window.starts)
        assert inside == (one > 0)
        if inside:
            text = context[window.starts[one - window.first] : window.ends[other - window.first]]
            assert answer in text or bool(remarks)
            is_seen |= bool(window.is_fullest[span[0] - window.start])
    if span[1] - span[0] < SMALL.max_answer_length and is_seen:
        (found,) = SMALL.predict(
            tokenizer, [asked], LABELS, lambda rows: one_hot(targets, list(rows))
        )
        if not remarks:
            assert found.best.text == answer
            assert context[found.best.start : found.best.end] == answer
            assert SMALL.evaluate([asked], [found], LABELS).figures["exact"] == 100


def test_the_best_spans_are_those_of_all_spans(tokenizer: Tokenizer) -> None:
    asked = question(TEXTS[0] + " " + TEXTS[1])
    task = QuestionAnswering(
        max_length=24, stride=5, max_question_length=6, max_answer_length=4, n_best=60
    )
    random = np.random.default_rng(0)
    shown = windows(tokenizer, asked, task)
    scores = [random.normal(size=(len(window.row.ids), 2)) for window in shown]
    (found,) = task.predict(tokenizer, [asked], LABELS, lambda _: scores)
    best: dict[str, float] = {}
    for window, of_window in zip(shown, scores, strict=True):
        for first in np.flatnonzero(window.is_fullest & window.has_text):
            for last in range(first, min(first + 4, len(window.starts))):
                if not window.has_text[last]:  # a text has no space around it
                    continue
                text = asked.context[window.starts[first] : window.ends[last]].strip()
                score = of_window[window.first + first, 0] + of_window[window.first + last, 1]
                if text:
                    best[text] = max(best.get(text, -np.inf), score)
    expected = sorted(best.items(), key=lambda item: -item[1])[:10]
    assert [each.text for each in found.candidates[:10]] == [text for text, _ in expected]
    assert [each.score for each in found.candidates[:10]] == pytest.approx(
        [score for _, score in expected]
    )
    assert sum(each.probability for each in found.candidates) == pytest.approx(1)
    null = min(float(of_window[0].sum()) for of_window in scores)
    assert found.null_difference == pytest.approx(null - expected[0][1])


def test_no_answer_where_its_score_is_ahead(tokenizer: Tokenizer) -> None:
    asked = question(TEXTS[0])

    def scores_of(rows: list[Row]) -> list[np.ndarray]:
        return [
            np.where(np.arange(len(row.ids))[:, None] == 0, 2.0, 1.0) + np.zeros((1, 2))
            for row in rows
        ]

    always = SMALL.predict(tokenizer, [asked], LABELS, scores_of)[0]
    assert always.null_difference == pytest.approx(2)
    assert always.best.text
    for threshold, is_none in ((1.9, True), (2.1, False)):
        task = QuestionAnswering(
            max_length=24, stride=5, max_question_length=6, null_threshold=threshold
        )
        (found,) = task.predict(tokenizer, [asked], LABELS, scores_of)
        assert (found.best.text == "") == is_none
        total = sum(each.probability for each in found.candidates)
        assert 0 < total < 1
        if is_none:
            assert found.best.probability == pytest.approx(1 - total)


def test_a_paragraph_without_a_token_has_no_answer(tokenizer: Tokenizer) -> None:
    asked = Question("1", "where?", "\u200b")
    (found,) = SMALL.predict(
        tokenizer, [asked], LABELS, lambda rows: [np.zeros((len(row.ids), 2)) for row in rows]
    )
    assert json.loads(json.dumps(SMALL.record(asked, found)))["answer"] in ("", "\u200b")


def test_thresholds_are_chosen_and_kept(tokenizer: Tokenizer) -> None:
    asked = [
        question(TEXTS[0], "France", "1", metric="squad_v2"),
        question(TEXTS[0], None, "2", metric="squad_v2"),
    ]

    def scores_of(rows: list[Row]) -> list[np.ndarray]:
        """No answer is always ahead, but more so for the second question."""
        found = [np.zeros((len(row.ids), 2)) for row in rows]
        for place, scores in enumerate(found):
            scores[0] = 5 if place < len(found) / 2 else 9
        for row, target in zip(SMALL.training_rows(tokenizer, asked[:1], LABELS)[0], found):  # noqa: B905
            scores = row.targets
            if scores["starts"]:
                target[int(scores["starts"]), 0] = target[int(scores["ends"]), 1] = 3  # type: ignore[arg-type]
        return found

    guesses = SMALL.predict(tokenizer, asked, LABELS, scores_of)
    evaluation = SMALL.evaluate(asked, guesses, LABELS)
    assert evaluation.score == 100
    assert evaluation.baseline == 50
    assert not evaluation.wrong
    tuned = SMALL.tuned(evaluation)
    assert tuned.null_threshold == pytest.approx(4)
    kept = tuned.predict(tokenizer, asked, LABELS, scores_of)
    assert [guess.best.text for guess in kept] == ["France", ""]
    assert tuned.evaluate(asked, kept, LABELS).score == 100


def test_korean_answers_end_inside_words() -> None:
    """A vocabulary that takes the particle off finds 서울; one that does not says so."""
    context = "서울은 대한민국의 수도이다."
    asked = Question("1", "수도는?", context, (Answer("서울", 0),), metric="korquad")
    for pieces, is_exact in ((["서울", "##은"], True), (["서울은"], False)):
        words = ["대한민국의", "수도이다", "수도는", ".", "?", *pieces]
        tokenizer = wordpiece(words)
        rows, remarks = SMALL.training_rows(tokenizer, [asked], LABELS)
        targets = [(int(row.targets["starts"]), int(row.targets["ends"])) for row in rows]  # type: ignore[arg-type]
        (found,) = SMALL.predict(
            tokenizer,
            [asked],
            LABELS,
            lambda rows, t=targets: one_hot(t, list(rows)),  # type: ignore[misc]
        )
        assert found.best.text == ("서울" if is_exact else "서울은")
        assert bool(remarks) != is_exact
        figures = SMALL.evaluate([asked], [found], LABELS).figures
        assert figures["exact_match"] == (100 if is_exact else 0)
        assert figures["f1"] == pytest.approx(100 if is_exact else 80)


def wordpiece(words: list[str]) -> Tokenizer:
    from bert_jax.tokenizers.normalize import TextRules
    from bert_jax.tokenizers.runtime import Specials
    from bert_jax.tokenizers.subwords import wordpiece_runtime

    rules = TextRules(lowercase=False, strip_accents=False, unicode_form="nfc")
    return Tokenizer(wordpiece_runtime([*Specials(), *words], rules.bert()))


def test_what_cannot_be_learnt_or_compared() -> None:
    nothing = [Question("1", "a?", "b", (Answer("c", -1),)), question("d")]
    with pytest.raises(UserError, match="no question has an answer in its paragraph"):
        SMALL.labels(nothing)
    with pytest.raises(UserError, match="have no answers to compare with"):
        SMALL.check([Question("1", "a?", "b")], LABELS, "dev.json")
    assert SMALL.groups([question("a", title="T"), question("b")]) == ["T", "b"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"stride": 0}, "stride is 0"),
        ({"n_best": 0}, "n_best is 0"),
        ({"max_length": 64}, "max_length is 64; with questions of 64 tokens it must be at least"),
    ],
)
def test_options_that_cannot_be_taken(options: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        QuestionAnswering(**options)


@pytest.mark.shared
def test_perfect_scores_are_perfect_but_for_what_tokens_cannot_say(shared_data: Path) -> None:
    questions = read_questions(str(shared_data / "tasks/squad/cs224n_dev-v2.0.json")).examples[::12]
    tokenizer = load_tokenizer(shared_data / "vocab" / "bert-base-uncased")
    task = QuestionAnswering(max_answer_length=100)
    rows, remarks = task.training_rows(tokenizer, questions, LABELS)
    targets = [(int(row.targets["starts"]), int(row.targets["ends"])) for row in rows]  # type: ignore[arg-type]
    found = task.predict(tokenizer, questions, LABELS, lambda rows: one_hot(targets, list(rows)))
    figures = task.evaluate(questions, found, LABELS).figures
    inexact = int(remarks[0].split(" of ")[0]) if remarks else 0
    assert figures["exact"] >= 100 * (1 - inexact / len(questions)) - 1e-9
    assert figures["exact"] > 99
