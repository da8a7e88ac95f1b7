"""The whole job as a person does it: train, train again, evaluate, fill masks."""

import json
import math
import shutil
from pathlib import Path

import pytest

import bert_jax
from bert_jax import benchmark, fill_mask, train
from bert_jax.errors import UserError
from bert_jax.training.metrics import read_metrics


def test_a_run_leaves_everything_in_its_folder(trained: Path) -> None:
    present = {path.name for path in trained.iterdir()}
    assert {"config.json", "checkpoints", "corpus", "tokenizer", "metrics.jsonl", "curves.png"} <= (
        present
    )
    assert any(name.startswith("events.out.tfevents") for name in present)
    rows = read_metrics(trained / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(5, 61, 5))
    assert [row["step"] for row in rows if row["split"] == "held_out"] == [30, 60]
    record = json.loads((trained / "config.json").read_text())
    assert record["config"]["total_steps"] == 60
    assert len(record["tokenizer_hash"]) == len(record["corpus_hash"]) == 64


def test_it_learns(trained: Path) -> None:
    rows = [row for row in read_metrics(trained / "metrics.jsonl") if row["split"] == "train"]
    assert rows[0]["mlm_loss"] == pytest.approx(math.log(150), rel=0.05)
    assert rows[-1]["mlm_loss"] < rows[0]["mlm_loss"] - 0.2


def test_a_person_sees_a_summary_and_a_result(trained: Path) -> None:
    printed = (trained / "printed.txt").read_text()
    for expected in (
        "devices         1 × cpu",
        "parameters",
        "tokens in 60 documents",
        "tokens in 3 documents",
        "epochs",
        "expected time",
        "step 60 of 60: mlm ",
        "held-out: 3 documents never trained on",
        "MLM perplexity",
        "always guessing one answer",
        "fill-mask on held-out sentences",
        "hidden: ",
    ):
        assert expected in printed, expected


@pytest.mark.parametrize("negatives", ["random", "swapped"])
def test_documents_of_one_sentence_have_an_order_but_no_next_one(
    negatives: str,
    trained: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.txt").write_text((text / "a.txt").read_text().replace("\n", "\n\n"))
    overrides = [
        f"--config.data.source=text:{tmp_path}/text.txt",
        f"--config.tokenizer.path={trained}/tokenizer",
        f"--config.pairs.negatives={negatives}",
        "--config.masking.max_ngram=3",
        "--config.total_steps=2",
        "--config.schedule.warmup_steps=1",
    ]
    config = str(Path(__file__).parents[2] / "configs" / "debug.py")
    train.main(["--config", config, "--workdir", str(tmp_path / "run"), "--quiet", *overrides])
    out, err = capsys.readouterr()
    is_random = negatives == "random"
    assert ("NSP accuracy" if is_random else "SOP accuracy") in out
    assert ("100% of the sentence pairs are random ones" in err) == is_random


def test_the_same_command_again_is_done_at_once(trained: Path, shell, text: Path) -> None:  # type: ignore[no-untyped-def]
    before = (trained / "metrics.jsonl").read_text()
    printed = shell.run(shell.train_command(text, trained))
    assert "finished at step 60" in printed
    assert "MLM perplexity" in printed
    assert (trained / "metrics.jsonl").read_text() == before


def test_evaluate_gives_the_figures_of_the_run(trained: Path, shell) -> None:  # type: ignore[no-untyped-def]
    printed = shell.run(shell.command("evaluate", "--model", trained, "--json"))
    last = read_metrics(trained / "metrics.jsonl")[-1]
    assert json.loads(printed) == pytest.approx(
        {name: value for name, value in last.items() if name not in ("step", "split")}, rel=1e-6
    )


def test_fill_mask_answers_every_mask(trained: Path, shell) -> None:  # type: ignore[no-untyped-def]
    command = shell.command("fill_mask", "--model", trained, "--top-k", 3, "--json")
    lines = shell.run([*command, "bada [MASK] ki [MASK].", "a [MASK]"]).splitlines()
    found = [json.loads(line) for line in lines]
    assert [len(one["masks"]) for one in found] == [2, 1]
    for candidates in (candidates for one in found for candidates in one["masks"]):
        probabilities = [guess["probability"] for guess in candidates]
        assert len(candidates) == 3
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1
    assert "%" in shell.run(shell.command("fill_mask", "--model", trained, "a [MASK]"))


def test_the_python_face_agrees_with_the_command(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (guesses,) = bert_jax.load(trained).fill_mask("a [MASK]", top_k=150)
    assert sum(guess.probability for guess in guesses) == pytest.approx(1, rel=1e-5)
    fill_mask.main(["--model", str(trained), "--top-k", "150", "--json", "a [MASK]"])
    (printed,) = json.loads(capsys.readouterr().out)["masks"]
    assert [guess._asdict() for guess in guesses] == printed


def test_a_model_with_another_tokenizer_is_refused(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    tokenizer = copy / "tokenizer" / "tokenizer.json"
    text = tokenizer.read_text()
    tokenizer.write_text(text.replace('"lowercase": true', '"lowercase": false'))
    assert tokenizer.read_text() != text
    with pytest.raises(UserError, match=r"is tokenizer \w{12}, the model was trained with \w{12}"):
        bert_jax.load(copy)


def test_help_shows_an_example(shell) -> None:  # type: ignore[no-untyped-def]
    for name in ("train", "check", "evaluate", "fill_mask", "benchmark"):
        assert f"example:\n  python -m bert_jax.{name}" in shell.run(shell.command(name, "--help"))


def test_benchmark_reports_speed(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--batch 4 --seq-len 32 --vocab-size 100 --steps 3 --warmup 0 --dropout 0".split()
    sizes += ["--attention-dropout", "0"]
    benchmark.main(sizes)
    assert "tokens/s" in capsys.readouterr().out
    benchmark.main([*sizes, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["fastest_step_ms"] <= figures["step_ms"] <= figures["slowest_step_ms"]
    assert figures["tokens_per_second"] == pytest.approx(4 * 32 / figures["step_ms"] * 1e3)
    assert 0.9 <= figures["real_tokens_per_second"] / figures["tokens_per_second"] <= 1
