"""Questions as they are in SQuAD's and KorQuAD's files."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks.squad_files import Answer, read_questions

CONTEXT = "Paris is the capital of France. Paris is a city."


def asked(name: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": f"Question {name}?", "answers": listed, **more}


def write(folder: Path, *questions: dict, context: str = CONTEXT, version: str = "1.1") -> str:
    paragraphs = [{"context": context, "qas": list(questions)}]
    content = {"version": version, "data": [{"title": "France", "paragraphs": paragraphs}]}
    path = folder / "data.json"
    path.write_text(json.dumps(content, ensure_ascii=False))
    return str(path)


def test_what_a_question_has(tmp_path: Path) -> None:
    source = write(tmp_path, asked("1", ("France", 24), ("Paris", 32)))
    (question,) = read_questions(source).examples
    assert question.answers == (Answer("France", 24), Answer("Paris", 32))
    assert (question.title, question.metric, question.is_impossible) == ("France", "squad", False)
    packed = tmp_path / "data.json.gz"
    packed.write_bytes(gzip.compress(Path(source).read_bytes()))
    assert read_questions(str(packed)).examples == [question]


def test_whose_scorer_it_is(tmp_path: Path) -> None:
    source = write(tmp_path, asked("1", ("France", 24)), asked("2", is_impossible=True))
    assert {each.metric for each in read_questions(source).examples} == {"squad_v2"}
    source = write(tmp_path, asked("1", ("France", 24)), version="KorQuAD_v1.0_train")
    assert read_questions(source).examples[0].metric == "korquad"


def test_answers_that_are_elsewhere_or_nowhere(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        asked("near the second", ("Paris", 30)),
        asked("near the first", ("Paris", 3)),
        asked("nowhere", ("London", 5)),
        asked("right", ("Paris", 0)),
    )
    split = read_questions(source)
    assert [each.answers[0].start for each in split.examples] == [32, 0, -1, 0]
    lost, moved = split.remarks
    assert "1 answers are not in their paragraphs and are not trained on: nowhere" in lost
    assert "2 answers stand elsewhere in their paragraphs" in moved


def test_questions_without_a_text_are_left_out(tmp_path: Path) -> None:
    empty = {**asked("1", ("France", 24)), "question": " "}
    split = read_questions(write(tmp_path, empty, asked("2", ("France", 24))))
    assert [each.id for each in split.examples] == ["2"]
    assert "1 questions without a text or a paragraph are left out: 1" in split.remarks[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is no JSON"),
        ("[]", "is not laid out as SQuAD's files"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "holds no question"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}', "is not laid out"),
        ('{"data": []}', "holds no question"),
        (json.dumps({"data": [{"paragraphs": [{"context": 3, "qas": [asked("1")]}]}]}), "no text"),
    ],
)
def test_other_files(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(UserError, match=complaint):
        read_questions(str(tmp_path / "data.json"))


def test_two_questions_with_one_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two questions with the id '1'"):
        read_questions(write(tmp_path, asked("1"), asked("1")))


@pytest.mark.shared
def test_the_file_at_hand(shared_data: Path) -> None:
    split = read_questions(str(shared_data / "tasks" / "squad" / "cs224n_dev-v2.0.json"))
    assert len(split.examples) == 6_078
    assert sum(each.is_impossible for each in split.examples) == 3_168
    assert not split.remarks
