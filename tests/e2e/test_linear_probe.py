"""The command that trains a classifier on frozen vectors, and labels texts with it."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.linear_probe import evaluate, main
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.training.steps import init_params

SUBJECTS = "i we you they sam anna".split()
VERBS = {"love": 1, "loved": 1, "like": 1, "enjoyed": 1, "hate": 0, "hated": 0, "dislike": 0}
OBJECTS = "paris it this the movie food book".split()
EVERY = [
    {"sentence": f"{subject} {verb} {thing}", "label": label}
    for subject in SUBJECTS
    for thing in ("paris", "it", "this", "the movie", "the food", "the book")
    for verb, label in VERBS.items()
]


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the words of this file and nothing learnt, in a folder."""
    words = [*Specials(), *SUBJECTS, *VERBS, *OBJECTS]
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    model = BertForPreTraining(
        BertConfig(vocab_size=len(words), num_layers=2, num_heads=2, width=32, max_positions=16)
    )
    folder = tmp_path_factory.mktemp("random") / "model"
    tokenizer = Tokenizer(wordpiece_runtime(words, rules.bert()))
    params = jax.tree.map(np.asarray, init_params(model, jax.random.key(0)))
    Pretrained(model, params, tokenizer).save(folder)
    return folder


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.jsonl` and `dev.tsv`, of other sentences, and some bad ones."""
    folder = tmp_path_factory.mktemp("tables")
    held_out = EVERY[::5]
    train = [item for item in EVERY if item not in held_out]
    (folder / "train.jsonl").write_text("".join(json.dumps(item) + "\n" for item in train))
    lines = [f"{item['sentence']}\t{item['label']}" for item in held_out]
    (folder / "dev.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    (folder / "one.csv").write_text("sentence,label\ni love it,1\nwe love it,1\n")
    (folder / "rare.csv").write_text("sentence,label\ni love it,1\nwe love it,1\ni hate it,0\n")
    (folder / "other.csv").write_text("sentence,label\ni love it,1\nwe love it,maybe\n")
    (folder / "unlabelled.csv").write_text("sentence,label\ni love it,1\nwe love it, \n")
    (folder / "empty.csv").write_text("sentence,label\ni love it,1\n ,0\n")
    return folder


@pytest.fixture(scope="session")
def classifier(shell: Any, random_model: Path, tables: Path) -> tuple[Path, str]:
    """A classifier, and what was printed when it was made."""
    path = tables / "opinion.npz"
    command = shell.command("linear_probe", "--model", random_model, "--output", path, "--quiet")
    printed = shell.run(
        [*command, "--train", str(tables / "train.jsonl"), "--eval", str(tables / "dev.tsv")]
    )
    return path, printed


def test_it_learns_and_tells(classifier: tuple[Path, str]) -> None:
    path, printed = classifier
    lines = printed.splitlines()
    assert f"{len(EVERY[::5])} other examples" in printed
    accuracy = next(line for line in lines[8:] if line.startswith("  accuracy"))
    share = float(accuracy.split()[1].rstrip("%"))
    assert share > 90
    majority = np.mean([item["label"] for item in EVERY[::5]])
    assert accuracy.endswith(f"(always '1': {majority:.1%})")
    start = lines.index("right label, and below what was predicted")
    confusion = np.array([[int(n) for n in line.split()[1:]] for line in lines[start + 2 :][:2]])
    assert confusion.sum() == len(EVERY[::5])
    assert round(100 * np.trace(confusion) / confusion.sum(), 1) == share
    assert lines[-1] == f"made {path}"


def test_a_written_classifier_labels_texts(
    shell: Any, random_model: Path, classifier: tuple[Path, str], tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("I love Paris\nSam hated the movie\n\n")
    command = shell.command(
        "linear_probe", "--model", random_model, "--classifier", classifier[0], "--input", texts
    )
    first, second, _ = shell.run(command).splitlines()
    assert (first[0], second[0]) == ("1", "0")
    assert first.endswith("%  I love Paris")
    items = [json.loads(line) for line in shell.run([*command, "--json"]).splitlines()]
    assert [item["label"] for item in items[:2]] == ["1", "0"]
    for item in items:
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert item["label"] == max(item["probabilities"], key=item["probabilities"].get)


def test_json_has_all_that_is_wrong_and_the_seed_chooses(
    shell: Any, random_model: Path, tables: Path
) -> None:
    command = shell.command("linear_probe", "--model", random_model, "--json", "--quiet")
    command += ["--train", str(tables / "train.jsonl"), "--eval", str(tables / "dev.tsv")]
    command += ["--max-train", "12", "--layers=0,-1", "--mix", "concat", "--pooling", "max"]
    first = shell.run([*command, "--seed", "1"])
    assert shell.run([*command, "--seed", "1"]) == first
    found = json.loads(first)
    assert found["train"]["examples"] == 12
    assert found["vectors"]["width"] == 64
    assert len(found["wrong"]) == found["examples"] - np.trace(found["confusion"])
    assert json.loads(shell.run([*command, "--seed", "2"]))["wrong"] != found["wrong"]


def test_empty_texts_are_counted_and_too_few_examples_refused(
    shell: Any, random_model: Path, tables: Path
) -> None:
    command = shell.command("linear_probe", "--model", random_model, "--quiet")
    files = ["--train", str(tables / "rare.csv"), "--eval", str(tables / "empty.csv")]
    *_, warning, error = shell.run([*command, *files], status=2).splitlines()
    assert warning == (
        f"warning: 1 of 2 texts of {tables / 'empty.csv'} are empty; "
        "their vectors are of [CLS] [SEP] alone"
    )
    assert error == "error: label '0' has a single example to learn from; give two or more"


# What is refused before a model is loaded.


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "give --train and --eval, or a --classifier and texts"),
        ("--train train.jsonl", "give --train and --eval, or a --classifier and texts"),
        ("--train none.tsv --eval dev.tsv", "none.tsv is no file"),
        (
            "--train train.jsonl --eval dev.tsv --text-column text",
            "line 1 of .*train.jsonl has no field 'text', only 'sentence', 'label'",
        ),
        (
            "--train dev.tsv --eval train.jsonl --label-column gold",
            "dev.tsv has no columns 'gold'; its first line names 'sentence', 'label'",
        ),
        (
            "--train train.jsonl --eval other.csv",
            "other.csv has labels that the training examples lack: 'maybe'",
        ),
        ("--train unlabelled.csv --eval dev.tsv", "line 3 of .*unlabelled.csv has no label"),
        ("--train one.csv --eval one.csv --layers all", "several layers must become one vector"),
        ("--train one.csv --eval one.csv --layers=-2,-1", "several layers must become one vector"),
        ("--train one.csv --eval one.csv --max-train 0", "--max-train is 0"),
        ("--train one.csv --eval one.csv --output a.txt", "--output is a.txt; it must end in .npz"),
        ("--train one.csv --eval one.csv --output no/a.npz", "but no is no folder; make it"),
        ("--train one.csv --eval one.csv text", "texts cannot be given with --train"),
        ("--train one.csv --eval one.csv --field a", "--field cannot be given with --train"),
        ("--classifier one.csv text", "one.csv is no classifier that linear_probe --output"),
        ("--classifier none.npz text", "none.npz is no file"),
        ("--classifier a.npz --layers -2 text", "--layers cannot be given with --classifier"),
        ("--classifier a.npz --train a.tsv", "--train cannot be given with --classifier"),
    ],
)
def test_bad_arguments_are_refused(
    tables: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, problem: str
) -> None:
    monkeypatch.chdir(tables)
    with pytest.raises(UserError, match=problem):
        main(["--model", "no model", *arguments.split()])


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "\n  python -m bert_jax.linear_probe --model runs/tiny --train" in printed


def test_figures_of_predictions_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    found = evaluate(["s", "t", "u", "v"], ["a", "a", "b", "b"], ["a", "b"], probabilities)
    assert found["accuracy"] == 0.5
    assert found["standard_error"] == 0.25
    assert found["majority"]["accuracy"] == 0.5
    assert found["confusion"] == [[1, 1], [1, 1]]
    assert [item["text"] for item in found["wrong"]] == ["t", "u"]  # the surest first
    assert found["wrong"][1] == {"text": "u", "label": "b", "predicted": "a", "probability": 0.6}
