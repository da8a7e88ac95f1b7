"""What may be wrong with the data and models of tasks: one line each, status 2."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from task_cases import finetune_command, make_model, make_tables

from bert_jax import cli, finetune, predict, score

Run = Callable[..., str]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tables(tmp_path_factory.mktemp("sentences"))
    make_model(folder / "model")
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command that must fail with status 2; returns its last line, the error."""

    def run(main: Callable, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.chdir(Path(__file__).parents[2])
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
        printed = capsys.readouterr().err
        assert caught.value.code == 2, printed
        *before, last = printed.splitlines()
        assert last.startswith("error: "), printed
        assert all(line.startswith("warning: ") for line in before), printed
        return last

    return run


@pytest.fixture
def tune(run: Run, sentences: Path, tmp_path: Path) -> Run:
    """`finetune` with some values changed."""

    def tune(*more: str) -> str:
        return run(finetune.main, *finetune_command(sentences, tmp_path / "run", *more))

    return tune


def train(tmp_path: Path, content: str, name: str = "bad.tsv") -> str:
    (tmp_path / name).write_text(content)
    return f"--config.data.train={tmp_path / name}"


def test_configs(tune: Run) -> None:
    assert "name the model to fine-tune: --config.init=FOLDER" in tune("--config.init=")
    assert "there is no nowhere; name a model's folder" in tune("--config.init=nowhere")
    assert "task.kind is 'clasification'; choose from classification" in tune(
        "--config.task.kind=clasification"
    )
    assert "did you mean 'task.max_length'?" in tune("--config.task.max_lenth=3")
    assert "epochs is 0.0; it must be positive" in tune("--config.epochs=0.0")
    assert "--config.task.max_length=64" in tune("--config.task.max_length=65")
    assert "dev_share is 1.0" in tune("--config.data.dev_share=1.0")
    assert "warmup_share is 2.0" in tune("--config.schedule.warmup_share=2.0")
    assert "--seeds is 0" in tune("--seeds=0")
    assert "write KEY=VALUE,VALUE" in tune("--grid=epochs")
    assert "no key 'epoch'" in tune("--grid=epoch=1,2")
    assert "classifier_dropout is 1.0" in tune("--config.model.classifier_dropout=1.0")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("sentence\tlabel\n", "is empty: it holds no examples"),
        ("text\tlabel\ni love it\tgood\n", "no columns 'sentence'; its first line names 'text'"),
        ("sentence\tlabel\ni love it\tgood\nwe hate it\t\n", "line 3 of"),
        ("sentence\tlabel\ni love it\tgood\nwe love it\tgood\n", "all 2 training examples have"),
        ("sentence\tlabel\ni love it\tfine\nwe hate it\tbad\n", "label 'good' is not one of"),
    ],
)
def test_tables(tune: Run, tmp_path: Path, content: str, complaint: str) -> None:
    assert complaint in tune(train(tmp_path, content))


def test_unknown_labels(tune: Run) -> None:
    assert "label 'good' is not one of task.classes (bad, fine)" in tune(
        "--config.task.classes=bad,fine"
    ) or "label 'bad'" in tune("--config.task.classes=fine,good")


def tags(tmp_path: Path, content: str) -> list[str]:
    config = ["--config=configs/finetune/conll2003.py", "--config.task.max_length=64"]
    (tmp_path / "dev.txt").write_text("anna B-PER\nlove O\n")
    return [*config, f"--config.data.dev={tmp_path / 'dev.txt'}", train(tmp_path, content, "a.txt")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("anna B-PER\nloves\nit O\n", "line 2 of"),
        ("anna O\nlove O\n", "all tags of the 1 sentences to train on are O"),
        ("anna PER\nlove O\n", "line 1 of"),
        ("anna B-LOC\nlove O\n", "none of them; give both the same names"),
        ("\n\n", "holds no sentence"),
    ],
)
def test_columns(tune: Run, tmp_path: Path, content: str, complaint: str) -> None:
    assert complaint in tune(*tags(tmp_path, content))


def questions(tmp_path: Path, *answers: dict) -> list[str]:
    asked = [
        {"id": str(n), "question": "who love it ?", "answers": [answer]}
        for n, answer in enumerate(answers)
    ]
    articles = [
        {"title": str(n), "paragraphs": [{"context": "anna love it", "qas": [one]}]}
        for n, one in enumerate(asked)
    ]
    content = {"data": articles}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return [
        "--config=configs/finetune/squad.py",
        "--config.task.max_length=32",
        "--config.task.max_question_length=8",
        f"--config.data.train={tmp_path / 'a.json'}",
        "--config.data.dev=",
    ]


def test_paragraphs(tune: Run, tmp_path: Path) -> None:
    nowhere = {"text": "sam", "answer_start": 0}
    assert "no question has an answer in its paragraph" in tune(
        *questions(tmp_path, nowhere, nowhere)
    )
    assert "cannot be split into two" in tune(
        *questions(tmp_path, {"text": "anna", "answer_start": 0})
    )
    asked = questions(tmp_path, nowhere)
    (tmp_path / "a.json").write_text("{}")
    assert "is not laid out as SQuAD's files" in tune(*asked)


def test_models_without_a_head(run: Run, sentences: Path) -> None:
    complaint = "the model has no head for a task; fine-tune it first"
    assert complaint in run(predict.main, "--model", sentences / "model", "i love it")


def test_scores(run: Run, tmp_path: Path) -> None:
    gold, given = tmp_path / "gold.txt", tmp_path / "given.txt"
    gold.write_text("a B-X\nb O\n")
    given.write_text("a B-X\nc O\n")
    assert "different tokens, 'b' and 'c'" in run(score.main, "conll", gold, given)
    given.write_text("a B-X\n\nb O\n")
    assert "'b' and the end of a sentence" in run(score.main, "conll", gold, given)
    assert "line 1 of" in run(score.main, "conll", gold)
    gold.write_text("1\n0\n")
    given.write_text("1\n")
    assert "has 2 labels and" in run(score.main, "glue", gold, given)
    assert "--name is 'cools'; choose from cola" in run(
        score.main, "glue", gold, given, "--name", "cools"
    )
    assert "squad needs PREDICTIONS" in run(score.main, "squad", gold)
    assert "is no JSON" in run(score.main, "squad", gold, given)
