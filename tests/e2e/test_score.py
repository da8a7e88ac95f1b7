"""What `score` prints: the official figures, as JSON, of files as people have them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_jax import score

Scored = Callable[..., dict[str, Any]]


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Scored:
    def run(*arguments: object) -> dict[str, Any]:
        score.main([str(each) for each in arguments])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def squad_file(path: Path, answers: dict[str, list[str]], version: str) -> Path:
    """Questions by id with their right answers, all of one paragraph."""
    context = "The black cat sat on the mat in Paris, 파리에서."
    qas = [
        {
            "id": name,
            "question": "what?",
            "is_impossible": not texts,
            "answers": [{"text": text, "answer_start": context.index(text)} for text in texts],
        }
        for name, texts in answers.items()
    ]
    data = [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]
    path.write_text(json.dumps({"version": version, "data": data}))
    return path


def as_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_squad(scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {"1": ["The black cat", "black cat"], "2": ["the mat"], "3": ["Paris"], "4": ["sat"]}
    gold = squad_file(tmp_path / "gold.json", answers, "1.1")
    predictions = {"1": "a black cat!", "2": "on the mat", "3": "", "9": "?"}
    score.main(["squad", str(gold), str(as_json(tmp_path / "given.json", predictions))])
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["exact_match"], found["total"]) == (25, 4)
    assert found["f1"] == pytest.approx((100 + 100 * 2 / 3) / 4)
    assert "1 questions have no prediction" in printed.err
    assert "1 predictions are of questions that GOLD lacks" in printed.err
    assert not any(name.startswith(("HasAns", "NoAns")) for name in found)
    lines = tmp_path / "given.jsonl"
    rows = [{"id": name, "answer": text} for name, text in predictions.items()]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert scored("squad", gold, lines) == found


def test_questions_without_an_answer(scored: Scored, tmp_path: Path) -> None:
    answers: dict[str, list[str]] = {"1": ["cat"], "2": ["the mat"], "3": [], "4": []}
    gold = squad_file(tmp_path / "gold.json", answers, "v2.0")
    given = as_json(
        tmp_path / "given.json", {"1": "black cat", "2": "mat", "3": "Paris", "4": "sat"}
    )
    plain = scored("squad", gold, given)
    assert plain == {
        "exact_match": 25,
        "exact": 25,
        "f1": pytest.approx(100 * (2 / 3 + 1) / 4),
        "total": 4,
        "HasAns_exact": 50,
        "HasAns_f1": pytest.approx(100 * (2 / 3 + 1) / 2),
        "HasAns_total": 2,
        "NoAns_exact": 0,
        "NoAns_f1": 0,
        "NoAns_total": 2,
    }
    beliefs = as_json(tmp_path / "beliefs.json", {"1": 0.5, "2": -3, "3": 0.25, "4": 2})
    found = scored("squad", gold, given, "--no-answer", beliefs)
    # Only question 2 is answered: its answer is right, and so is none to 3 and 4.
    assert (found["best_exact"], found["best_exact_thresh"]) == (75, -3)
    assert (found["best_f1"], found["best_f1_thresh"]) == (75, -3)


def test_korquad(scored: Scored, tmp_path: Path) -> None:
    gold = squad_file(tmp_path / "gold.json", {"1": ["파리"]}, "KorQuAD_v1.0_dev")
    given = as_json(tmp_path / "given.json", {"1": "파리에서"})
    assert scored("squad", gold, given)["f1"] == pytest.approx(200 * 2 / 6)
    assert scored("squad", gold, given, "--name", "squad")["f1"] == 0


def test_conll(scored: Scored, tmp_path: Path) -> None:
    """The second sentence begins a chunk with I, as conlleval lets it."""
    both, gold, given = (tmp_path / name for name in ("both.txt", "gold.txt", "given.txt"))
    rows = [
        ("Anna", "NNP", "B-PER", "B-PER"),
        ("Lee", "NNP", "I-PER", "O"),
        (),
        ("in", "IN", "O", "O"),
        ("New", "NNP", "B-LOC", "I-LOC"),
        ("York", "NNP", "I-LOC", "I-LOC"),
    ]
    both.write_text("\n".join(" ".join(row) for row in rows) + "\n")
    found = scored("conll", both)
    assert found["accuracy"] == pytest.approx(60)
    assert (found["precision"], found["recall"], found["f1"]) == (50, 50, 50)
    assert found["types"]["LOC"]["f1"] == 100
    assert found["types"]["PER"] == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "gold": 1,
        "predicted": 1,
        "correct": 0,
    }
    gold.write_text("\n\n".join("\t".join(row[:1] + row[2:3]) for row in rows if row) + "\n")
    given.write_text("\n\n".join("\t".join(row[:1] + row[3:]) for row in rows if row) + "\n")
    assert scored("conll", gold, given)["accuracy"] == pytest.approx(60)
    gold.write_text("\n".join("\t".join(row[:1] + row[2:3]) for row in rows) + "\n\n\n")
    given.write_text("\n".join("\t".join(row[:1] + row[3:]) for row in rows) + "\n")
    assert scored("conll", gold, given) == found


@pytest.mark.parametrize(
    ("name", "gold", "predictions", "figures"),
    [
        ("", "label\nyes\nno\nno\n", "prediction\nyes\nyes\nno\n", {"accuracy": 2 / 3}),
        (
            "mrpc",
            "Quality\t#1 ID\n1\t7\n0\t8\n1\t9\n",
            "index\tprediction\n0\t1\n1\t1\n2\t1\n",
            {"accuracy": 2 / 3, "f1": 0.8},
        ),
        (
            "cola",
            "gj04\t1\t\tA fine one.\ngj04\t0\t*\tOne fine a.\ngj04\t1\t\tYes.\n",
            "prediction\n1\n0\n0\n",
            {"matthews_correlation": 0.5},
        ),
        (
            "STS-B",
            "index\tscore\n0\t5.0\n1\t2.5\n2\t0\n",
            "prediction\n4\n3\n2\n",
            {"pearson": 1.0, "spearmanr": 1.0},
        ),
        (
            "mnli",
            "gold_label\nneutral\nentailment\n",
            "prediction\nneutral\nneutral\n",
            {"accuracy": 0.5},
        ),
        ("qqp", "is_duplicate\n1\n1\n", "prediction\n1\n1\n", {"accuracy": 1.0, "f1": 1.0}),
        ("rte", "label\nentailment\n", "prediction\nnot_entailment\n", {"accuracy": 0.0}),
    ],
)
def test_glue(
    *,
    name: str,
    gold: str,
    predictions: str,
    figures: dict[str, float],
    scored: Scored,
    tmp_path: Path,
) -> None:
    (tmp_path / "dev.tsv").write_text(gold)
    (tmp_path / "given.tsv").write_text(predictions)
    named = ["--name", name] if name else []
    found = scored("glue", tmp_path / "dev.tsv", tmp_path / "given.tsv", *named)
    assert found == pytest.approx(figures)


def test_labels_a_line_and_records(scored: Scored, tmp_path: Path) -> None:
    gold, text, records = (tmp_path / name for name in ("gold.txt", "given.txt", "given.jsonl"))
    gold.write_text("good\nbad\nbad\ngood\n")
    text.write_text("good\nbad\ngood\ngood\n")
    labels = text.read_text().split()
    records.write_text("".join(json.dumps({"label": label}) + "\n" for label in labels))
    assert scored("glue", gold, text) == scored("glue", gold, records) == {"accuracy": 0.75}


@pytest.mark.parametrize("task", ["squad", "conll"])
def test_scoring_is_light(task: str, tmp_path: Path) -> None:
    """It needs no model, and does not wait for what models need."""
    if task == "squad":
        gold = squad_file(tmp_path / "gold.json", {"1": ["cat"]}, "1.1")
        files = [gold, as_json(tmp_path / "given.json", {"1": "cat"})]
    else:
        (tmp_path / "tagged.txt").write_text("Anna B-PER B-PER\n")
        files = [tmp_path / "tagged.txt"]
    program = (
        "import sys; from bert_jax import score; score.main(sys.argv[1:]); "
        "print([name for name in ('jax', 'tensorflow', 'numba', 'flax') if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, task, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.splitlines()[-1] == "[]"
