"""Fine-tuning in real processes: it learns, survives kills to the bit, and keeps the best."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from small_runs import Group, reported
from task_cases import (
    EXAMPLES,
    finetune_command,
    make_inference,
    make_model,
    make_questions,
    make_tables,
    make_tags,
)

import bert_jax
from bert_jax.training.metrics import read_metrics


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/`, `train.jsonl` and `dev.tsv`."""
    folder = make_tables(tmp_path_factory.mktemp("sentences"))
    make_model(folder / "model")
    return folder


@pytest.fixture(scope="session")
def tuned(shell: Any, sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, fine-tuned to its end without disturbance; what it printed is in it."""
    workdir = tmp_path_factory.mktemp("tuned") / "straight"
    command = shell.command("finetune", *finetune_command(sentences, workdir))
    (workdir.parent / "printed.txt").write_text(shell.run(command))
    return workdir


def test_it_learns_and_tells(tuned: Path) -> None:
    printed = (tuned.parent / "printed.txt").read_text()
    results = json.loads((tuned / "results.json").read_text())["held out"]
    assert results["accuracy"] > 0.95
    assert results["baseline"] == pytest.approx(4 / 7, abs=0.1)
    assert "right label, and what was predicted" in printed
    report = (tuned / "report.md").read_text()
    assert f"| accuracy | {results['accuracy']:.6g} |" in report
    assert "![learning curves](curves.png)" in report
    assert "![right label, and what was predicted](table_1.png)" in report
    assert (tuned / "table_1.png").read_bytes().startswith(b"\x89PNG")
    assert (tuned / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_evaluation_is_kept(tuned: Path) -> None:
    rows = [row for row in read_metrics(tuned / "metrics.jsonl") if row["split"] == "held_out"]
    assert len(rows) == 6
    results = json.loads((tuned / "results.json").read_text())["held out"]
    assert results["score"] == max(row["score"] for row in rows)


def test_a_killed_run_ends_with_the_same_bits(
    tuned: Path, sentences: Path, shell: Any, tmp_path: Path
) -> None:
    workdir = tmp_path / "killed"
    command = shell.command("finetune", *finetune_command(sentences, workdir))
    process = shell.start(command)
    while process.poll() is None and not (workdir / "checkpoints" / "21").is_dir():
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "resuming at step" in shell.run(command)
    ours, theirs = bert_jax.load(workdir), bert_jax.load(tuned)
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    assert reported(workdir) == reported(tuned)


def test_the_specification_s_sentences(tuned: Path, shell: Any) -> None:
    """Spec §4.14 and §4.16: "I love Paris" is 1, "Sam hated the movie" is 0."""
    texts = ["I love Paris", "Sam hated the movie"]
    command = shell.command("predict", "--model", tuned, "--json", *texts)
    found = [json.loads(line) for line in shell.run(command).splitlines()]
    assert [each["label"] for each in found] == ["good", "bad"]
    assert all(each["score"] > 0.5 for each in found)
    assert [each["label"] for each in bert_jax.load(tuned).predict(texts)] == ["good", "bad"]


def test_records_go_in_and_out(tuned: Path, shell: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    records = [{"id": n, "text": item["sentence"]} for n, item in enumerate(EXAMPLES[:40])]
    source.write_text("\n".join(json.dumps(record) + "\n" for record in records))
    shell.run(
        shell.command("predict", "--model", tuned, "--input", source, "--output", target, "--quiet")
    )
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [{key: each[key] for key in ("id", "text")} for each in found] == records
    right = [item["label"] for item in EXAMPLES[:40]]
    assert np.mean([each["label"] == label for each, label in zip(found, right, strict=True)]) > 0.9


def test_inference_of_pairs(sentences: Path, shell: Any, tmp_path: Path) -> None:
    """Spec §4.16: premise and hypothesis are true, false or neutral."""
    workdir, more = tmp_path / "run", make_inference(tmp_path)
    printed = shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    assert json.loads((workdir / "results.json").read_text())["held out"]["accuracy"] > 0.9
    assert "false, neutral, true" in printed
    pairs = [("i love paris", "i hate paris"), ("i love paris", "i love paris")]
    found = bert_jax.load(workdir).predict(pairs)
    assert [each["label"] for each in found] == ["false", "true"]


def test_answers_to_questions(sentences: Path, shell: Any, tmp_path: Path) -> None:
    """Spec §4.16 and §18: the answer is a span of the paragraph, in Korean without the particle."""
    workdir, more = tmp_path / "run", make_questions(tmp_path)
    shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    assert json.loads((workdir / "results.json").read_text())["held out"]["exact"] > 95
    asked = [("what ?", "sam loved london ."), ("what ?", "파리는 anna 좋다 .")]
    for found, (_, context), answer in zip(
        bert_jax.load(workdir).predict(asked), asked, ("london", "파리"), strict=True
    ):
        assert found["answer"] == answer
        assert context[found["start"] : found["end"]] == answer
    gold, target = tmp_path / "questions.json", tmp_path / "answers.jsonl"
    command = shell.command("predict", "--model", workdir, "--labelled", gold)
    assert "exact_match" in shell.run([*command, "--output", str(target)])
    scored = json.loads(shell.run(shell.command("score", "squad", gold, target)))
    assert scored["exact_match"] > 95


def test_named_entities(sentences: Path, shell: Any, tmp_path: Path) -> None:
    """Spec §4.16: a label for every token."""
    workdir, more = tmp_path / "run", make_tags(tmp_path)
    shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    assert json.loads((workdir / "results.json").read_text())["held out"]["f1"] > 95
    assert (workdir / "table_1.png").read_bytes().startswith(b"\x89PNG")
    text = "anna loved  seoul."
    (found,) = bert_jax.load(workdir).predict([text])
    assert [(each["type"], each["text"]) for each in found["entities"]] == [
        ("PER", "anna"),
        ("LOC", "seoul"),
    ]
    for entity in found["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_what_is_typed_is_answered(tuned: Path, shell: Any) -> None:
    process = subprocess.run(
        shell.command("predict", "--model", tuned),
        input="i love paris\nsam hated it\n\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert [line.split()[0] for line in process.stdout.splitlines()] == ["good", "bad"]


@pytest.mark.slow
def test_patience_ends_a_run(sentences: Path, shell: Any, tmp_path: Path) -> None:
    workdir = tmp_path / "patient"
    more = ["--config.patience=2", "--config.epochs=40"]
    shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    rows = [row for row in read_metrics(workdir / "metrics.jsonl") if row["split"] == "held_out"]
    scores = [row["score"] for row in rows]
    best = scores.index(max(scores))
    assert len(scores) == best + 3 < 40
    shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    again = read_metrics(workdir / "metrics.jsonl")
    assert [row for row in again if row["split"] == "held_out"] == rows
    complaint = shell.run(shell.command("evaluate", "--model", workdir), status=2)
    assert "is fine-tuned; say python -m bert_jax.predict" in complaint


@pytest.mark.slow
def test_two_processes_learn_the_same(sentences: Path, shell: Any, tmp_path: Path) -> None:
    more = ["--config.parallelism.micro_batch_size=8", "--config.epochs=1"]
    alone, two = tmp_path / "one", tmp_path / "two"
    shell.run(shell.command("finetune", *finetune_command(sentences, alone, *more)))
    command = shell.command("finetune", *finetune_command(sentences, two, *more))
    with Group([command] * 2, tmp_path / "logs") as group:
        assert group.wait(240) == [0, 0], group.outputs
    assert "2 × cpu" in group.output(0)
    rows = [
        {row["step"]: row["loss"] for row in reported(folder) if row["split"] == "train"}
        for folder in (alone, two)
    ]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)
    assert (two / "report.md").exists()
    assert bert_jax.load(two).predict(["i love paris"])


@pytest.mark.slow
def test_a_setting_that_diverges_does_not_end_the_others(
    sentences: Path, shell: Any, tmp_path: Path
) -> None:
    grid = ["--grid=schedule.peak_learning_rate=1e30,3e-3", "--config.epochs=1"]
    command = shell.command("finetune", *finetune_command(sentences, tmp_path / "runs", *grid))
    printed = shell.run(command)
    assert "diverged" in (tmp_path / "runs" / "report.md").read_text()
    assert "the best median is that of schedule.peak_learning_rate=3e-3" in printed


def test_seeds_and_a_grid(sentences: Path, shell: Any, tmp_path: Path) -> None:
    workdir = tmp_path / "several"
    more = ["--seeds=2", "--grid=epochs=0.2,3", "--config.data.max_train=64"]
    printed = shell.run(shell.command("finetune", *finetune_command(sentences, workdir, *more)))
    folders = {path.name for path in workdir.iterdir() if path.is_dir()}
    assert folders == {f"epochs={e}_seed={s}" for e in ("0.2", "3") for s in (0, 1)}
    report = (workdir / "report.md").read_text()
    for text in (printed, report):
        assert "median" in text
        assert "degenerate" in text
    scores = {
        name: json.loads((workdir / name / "results.json").read_text())["held out"]["score"]
        for name in folders
    }
    median = (scores["epochs=3_seed=0"] + scores["epochs=3_seed=1"]) / 2
    assert f"| epochs=3 | 2 | {median:.4g} |" in report
    assert "the best median is that of epochs=3" in printed
