"""Fine-tuned folders in transformers, and transformers' here: the same labels and scores."""

from pathlib import Path

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax.model.heads import BertForPreTraining, BertForTask
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.kinds import make_task, to_file
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

WORDS = "anna lives in paris and sam in seoul . where does live ? i love hate it".split()
TEXT = "anna lives in paris and sam in seoul ."
TASKS = {
    "classification": (
        {"text": "sentence"},
        Labels("sentence", ("bad", "fine", "good"), "single_label_classification"),
    ),
    "regression": (
        {"text": "sentence", "metrics": "pearson"},
        Labels("sentence", ("score",), "regression"),
    ),
    "tagging": ({}, Labels("tokens", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))),
    "question_answering": ({"max_answer_length": 5}, Labels("spans", ("start", "end"))),
}

pytestmark = pytest.mark.torch


def make_folder(folder: Path, kind: str) -> Path:
    """A model for a task, with nothing learnt but weights wide enough to tell things apart."""
    options, labels = TASKS[kind]
    section = {"kind": "classification" if kind == "regression" else kind, **options}
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    tokenizer = Tokenizer(wordpiece_runtime([*Specials(), *dict.fromkeys(WORDS)], rules.bert()))
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, num_layers=2, num_heads=2, width=32, max_positions=512
    )
    ids = np.zeros((1, 4), np.int32)
    model = BertForTask(config, labels)
    params = jax.jit(model.init)(jax.random.key(1), ids, ids, np.array([4], np.int32))["params"]
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * (8 if leaf.ndim == 2 else 1), params)
    parts = {"classifier", "pooler"} if labels.task == "sentence" else {"classifier"}
    Pretrained(
        BertForPreTraining(config),
        params,
        tokenizer,
        parts=frozenset(parts),
        labels=labels,
        extras={"task.json": to_file(make_task(section))},
    ).save(folder)
    return folder


def test_sentences(tmp_path: Path) -> None:
    from transformers import pipeline

    folder = make_folder(tmp_path / "model", "classification")
    texts = [TEXT, "i love it", "i hate paris"]
    theirs = pipeline("text-classification", str(folder))(texts)
    for ours, other in zip(bert_jax.load(folder).predict(texts), theirs, strict=True):
        assert ours["label"] == other["label"]
        assert ours["score"] == pytest.approx(other["score"], abs=1e-5)


def test_numbers(tmp_path: Path) -> None:
    from transformers import pipeline

    folder = make_folder(tmp_path / "model", "regression")
    opened = pipeline("text-classification", str(folder), function_to_apply="none")
    (other,) = opened([TEXT])
    assert bert_jax.load(folder).predict([TEXT])[0]["value"] == pytest.approx(
        other["score"], abs=1e-5
    )


def test_entities(tmp_path: Path) -> None:
    from transformers import pipeline

    folder = make_folder(tmp_path / "model", "tagging")
    (found,) = bert_jax.load(folder).predict([TEXT])
    opened = pipeline("token-classification", str(folder), ignore_labels=[])
    theirs = opened(TEXT)
    names = [other["entity"] for other in theirs]
    assert len(names) == len(found["tokens"])
    # Ours are brought to IOB2, so that a lone I- is a B-; its type is the same.
    assert [tag[-3:] for tag in found["tags"]] == [name[-3:] for name in names]
    assert any(name != "O" for name in names)


def test_answers(tmp_path: Path) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = make_folder(tmp_path / "model", "question_answering")
    asked = {"question": "where does sam live ?", "context": TEXT}
    (found,) = bert_jax.load(folder).predict([asked])
    import torch

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    inputs = tokenizer(asked["question"], asked["context"], return_tensors="pt")
    with torch.inference_mode():
        made = model(**inputs)
    starts, ends = made.start_logits[0].numpy(), made.end_logits[0].numpy()
    first = inputs["input_ids"][0].tolist().index(tokenizer.sep_token_id) + 1
    last = len(starts) - 1
    spans = {
        (start, end): starts[start] + ends[end]
        for start in range(first, last)
        for end in range(start, min(start + 5, last))
    }
    start, end = max(spans, key=spans.__getitem__)
    words = TEXT.split()
    assert found["answer"] == " ".join(words[start - first : end - first + 1])
    assert TEXT[found["start"] : found["end"]] == found["answer"]


@pytest.mark.parametrize("kind", ["classification", "tagging", "question_answering"])
def test_their_folders_open_here(tmp_path: Path, kind: str) -> None:
    import transformers

    folder = make_folder(tmp_path / "ours", kind)
    architecture = {
        "classification": transformers.AutoModelForSequenceClassification,
        "tagging": transformers.AutoModelForTokenClassification,
        "question_answering": transformers.AutoModelForQuestionAnswering,
    }[kind]
    theirs = tmp_path / "theirs"
    architecture.from_pretrained(folder).save_pretrained(theirs)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(theirs)
    record = {"text": TEXT, "sentence": TEXT, "question": "where does sam live ?", "context": TEXT}
    (ours,), (other,) = (bert_jax.load(each).predict([record]) for each in (folder, theirs))
    for name in ours.keys() & {"label", "tags", "answer"}:
        assert ours[name] == other[name]
    if kind == "classification":  # the candidates of a span are others with other options
        assert ours["score"] == pytest.approx(other["score"], abs=1e-5)
