"""Everything that `bert_jax.benchmark` answers, each question once and small."""

import json
import sys
from pathlib import Path

import pytest
from small_runs import SMALL

from bert_jax import benchmark
from bert_jax.errors import UserError
from bert_jax.speed import input_rate

# Without dropout, which is most of what there is to compile.
TINY = (
    "--batch 4 --seq-len 16 --vocab-size 100 --steps 2 --warmup 0 --dropout 0 "
    "--attention-dropout 0".split()
)


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    benchmark.main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_sweep_has_a_row_for_each_batch(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.main([*TINY, "--sweep", "8", "4", "--predictions", "all", "--padding", "0.3"])
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("batch "))
    assert [line.split()[0] for line in lines[start + 1 :]] == ["4", "8"]


def test_a_profile_has_groups(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")  # as it was, afterwards
    found = printed([*TINY, "--profile", "2"], capsys)
    profile = found["profile"]
    total = sum(usage["ms"] for usage in profile["groups"].values())
    assert total + profile["idle_ms"] == pytest.approx(profile["step_ms"])
    assert "matmul" in profile["groups"] and len(profile["kernels"]) == 10
    assert found["flags"][:2] == ["--batch", "4"]
    assert set(found["versions"]) == {"python", "jax", "jaxlib"}
    assert found["mfu"] is None and found["device"] == "4 × cpu"


def test_the_input_of_a_run(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_rate, "_SECONDS", 0.2)
    run = ["--input", "configs/debug.py", "--workdir", str(tmp_path / "run"), "--steps", "3"]
    source = f"--config.data.source=text:{text}/*"
    benchmark.main([*run, "--warmup", "0", source, *SMALL])
    shown = capsys.readouterr().out
    for row in ("one core", "tf.data, ", "step, fed", "input stall"):
        assert row in shown
    (stage,) = printed([*run, "--warmup", "0", source, *SMALL], capsys)["stages"]
    assert (stage["batch_size"], stage["seq_len"]) == (8, 32)
    for side in ("core", "pipeline"):
        real = stage[f"{side}_real_tokens_per_second"] / stage[f"{side}_tokens_per_second"]
        assert 0.3 < real <= 1
    assert stage["cores_for_device"] * stage["core_tokens_per_second"] == pytest.approx(0.8e6)
    assert 0 <= stage["input_stall"] < 1
    assert min(stage["fixed_step_ms"], stage["fed_step_ms"]) > 0
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--padding 0.6", "padding is 0.6; its mean share is 0 to 0.5"),
        ("--examples-per-row 9", "examples_per_row is 9; rows of 16 tokens hold 1 to 8"),
        ("--workdir x", "--workdir goes with --input"),
        ("--config.total_steps=3", "unrecognized arguments: --config.total_steps=3"),
        ("--vs torch --profile", "--vs and --profile are different questions"),
        ("--sweep 4 0", "--sweep has 0; batch sizes must be at least 1"),
        ("--steps 0", "--steps is 0; it must be at least 1"),
        ("--profile 0", "--profile is 0; it must be at least 1"),
        ("--warmup nan", "--warmup is nan; it must be at least 0"),
        ("--micro-batch -1", "--micro-batch is -1; it must be at least 0"),
        ("--dropout 1", "model.dropout is 1.0"),
        ("--batch 6", "cannot be split over 4 devices"),
    ],
)
def test_bad_flags_are_explained(arguments: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark.main([*TINY, *arguments.split()])


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # as it was, afterwards
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="torch is not installed; pip install torch transformers"):
        benchmark.main([*TINY, "--vs", "torch"])
