"""Examples of TensorFlow Datasets, in the form of GLUE, SQuAD and CoNLL-2003 there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bert_jax.data.tfds_source import tfds_examples
from bert_jax.errors import UserError
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.question_answering import QuestionAnswering
from bert_jax.tasks.squad_files import Answer
from bert_jax.tasks.tagging import Tagging

TEXT = tfds.features.Text()
CONTEXT = "Paris is the capital of France."


def store(folder: Path, name: str, features: dict, examples: Sequence[dict[str, Any]]) -> str:
    """A prepared data set, as a source."""
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": list(enumerate(examples))},
        data_dir=folder,
        disable_shuffling=True,
    )
    return f"tfds:{builder.data_dir}"


def test_classes_have_their_names(tmp_path: Path) -> None:
    features = {
        "sentence": TEXT,
        "label": tfds.features.ClassLabel(names=["negative", "positive"]),
        "idx": tfds.features.Scalar(np.int32),
    }
    rows = [{"sentence": f"나는 {n}", "label": n % 2, "idx": n} for n in range(4)]
    source = store(tmp_path, "sentiment", features, rows)
    assert list(tfds_examples(source.removeprefix("tfds:"))) == [
        {**row, "label": ("negative", "positive")[row["label"]]} for row in rows
    ]
    split = Classification().read(f"{source}:train[:3]")
    assert [(each.text, each.label) for each in split.examples] == [
        ("나는 0", "negative"),
        ("나는 1", "positive"),
        ("나는 2", "negative"),
    ]
    with pytest.raises(UserError, match=r"has no field 'text'; it has"):
        Classification(text="text").read(source)


def test_secret_labels_are_missing_ones(tmp_path: Path) -> None:
    features = {"sentence": TEXT, "label": tfds.features.ClassLabel(names=["a", "b"])}
    source = store(tmp_path, "secret", features, [{"sentence": "x", "label": -1}])
    assert [each["label"] for each in tfds_examples(source.removeprefix("tfds:"))] == [None]
    with pytest.raises(UserError, match=r"example 0 of tfds:.* has no label"):
        Classification().read(source)


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    features = {
        "sentence1": TEXT,
        "sentence2": TEXT,
        "label": tfds.features.Scalar(np.float32),
    }
    row = {"sentence1": "a", "sentence2": "b", "label": 2.5}
    task = Classification(text="sentence1", pair="sentence2", metrics="pearson")
    (example,) = task.read(store(tmp_path, "numbers", features, [row])).examples
    assert (example.text, example.pair, float(example.label)) == ("a", "b", 2.5)


def test_questions_with_several_answers_or_none(tmp_path: Path) -> None:
    features = {
        "id": TEXT,
        "title": TEXT,
        "context": TEXT,
        "question": TEXT,
        "answers": tfds.features.Sequence(
            {"text": TEXT, "answer_start": tfds.features.Scalar(np.int32)}
        ),
        "is_impossible": tfds.features.Scalar(np.bool_),
    }
    rows = [
        {
            "id": str(number),
            "title": "France",
            "context": CONTEXT,
            "question": "what?",
            "answers": answers,
            "is_impossible": not answers["text"],
        }
        for number, answers in enumerate(
            [
                {"text": ["France", "Paris"], "answer_start": [24, 0]},
                {"text": [], "answer_start": []},
            ]
        )
    ]
    split = QuestionAnswering().read(store(tmp_path, "questions", features, rows))
    first, second = split.examples
    assert first.answers == (Answer("France", 24), Answer("Paris", 0))
    assert (first.title, first.metric, second.is_impossible) == ("France", "squad_v2", True)


def test_tags_have_their_names(tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER"]
    features = {
        "tokens": tfds.features.Sequence(TEXT),
        "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
    }
    rows = [{"tokens": ["Anna", "Lee", "sings"], "ner": [1, 2, 0]}, {"tokens": ["x"], "ner": [0]}]
    split = Tagging().read(store(tmp_path, "names", features, rows))
    assert [each.tags for each in split.examples] == [("B-PER", "I-PER", "O"), ("O",)]
    assert split.examples[0].words == ("Anna", "Lee", "sings")


def test_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no prepared TFDS data set"):
        Classification().read(f"tfds:{tmp_path}")
    source = store(tmp_path, "one", {"sentence": TEXT}, [{"sentence": "a"}])
    with pytest.raises(UserError, match="has no split 'dev'"):
        Classification().read(f"{source}:dev")
