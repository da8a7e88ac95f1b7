"""Every mistake gets one line that says what and what to do, and status 2."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_jax import cli, evaluate, fill_mask, train
from bert_jax.training.run_folder import RunFolder

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must fail with status 2 in one line, and returns that line."""

    def run(main: Callable, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.chdir(Path(__file__).parents[2])
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
        printed = capsys.readouterr().err
        assert caught.value.code == 2, printed
        assert printed.startswith("error: ")
        assert printed.count("\n") == 1, printed
        return printed

    return run


@pytest.fixture
def debug(run: Run, tmp_path: Path) -> Run:
    """`train` with the debug config."""

    def debug(*overrides: str, workdir: Path = tmp_path / "run") -> str:
        arguments = ("--config", "configs/debug.py", "--quiet", "--workdir", workdir)
        return run(train.main, *arguments, *overrides)

    return debug


def source(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "text.txt").write_bytes(content)
    return f"--config.data.source=text:{tmp_path}/text.txt"


def test_no_config(run: Run) -> None:
    assert "required: --config" in run(train.main)
    assert "did you mean configs/tiny.py?" in run(train.main, "--config", "configs/tinny.py")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("--config.totl_steps=3", "did you mean 'total_steps'?"),
        ("--config.total_steps=1e6", "written out: 1000000"),
        ("--config.total_steps=0", "total_steps is 0; it must be at least 1"),
        ("--config.model.activation=swish", "choose from gelu, gelu_tanh"),
        ("--config.tokenizer.type=wordpeace", "is 'wordpeace'; choose from wordpiece, bpe, byte_"),
        ("--config.tokenizer.score=gain", "score is 'gain'; choose from frequency, likelihood"),
        ("--config.tokenizer.path=/nowhere", "/nowhere holds no tokenizer"),
        ("--config.masking.rate=15", "masking.rate is 15.0; it must lie between 0 and 1"),
        ("--config.masking.max_ngram=0", "masking.max_ngram is 0; it must lie between 1 and 100"),
        ("--config.pairs.negatives=other", "negatives is 'other'; choose from random, swapped"),
        ("--config.pairs.seq_len=1024", "seq_len 1024 is more than model.max_positions 512"),
        ("--config.batch_size=6", "cannot be split over 4 devices; use a multiple of 4"),
        ("--config.schedule.warmup_steps=99", "it must lie between 0 and total_steps, 40"),
        ("--config.optimizer.b1=1.5", "b1=1.5"),
        ("--config.optimizer.algorithm=lam", "is 'lam'; choose from adamw, lamb"),
        ("--config.phases=[{'steps': 9}]", "have 9 steps together, fewer than total_steps, 40"),
        ("--config.phases=[{'seq_len': 16}]", "config.phases[0] lacks 'steps'"),
        ("--config.phases=[{'steps': 60, 'seqlen': 16}]", "'seqlen'; did you mean 'seq_len'?"),
        ("--config.phases=[{'steps': 60, 'schedule': 'a'}]", "choose from continue, restart"),
        ("--config.phases=[{'steps': 60, 'seq_len': 1024}]", "is more than model.max_positions"),
        ("--config.phases=[{'steps': 60, 'batch_size': 6}]", "cannot be split over 4 devices"),
        ("--config.parallelism.micro_batch_size=3", "are no multiple of parallelism.micro_batch"),
        ("--config.parallelism.reduce_dtype=int8", "choose from float32, bfloat16"),
        ("--config.skip_nonfinite=-1", "skip_nonfinite is -1; it must not be negative"),
        ("--join-timeout=0", "--join-timeout is 0; it must be positive"),
        ("--config.data.source=text:/nowhere/*.txt", "no file matches '/nowhere/*.txt'"),
        ("--config.data.source=books", "unknown data.source 'books'; use python_docs, text:"),
        ("--config.data.source=tfds:wikipedia/20231101.en", "did you mean wikipedia/2023"),
    ],
)
def test_wrong_values(debug: Run, tmp_path: Path, override: str, complaint: str) -> None:
    assert complaint in debug(override)
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_text_that_is_not_utf8(debug: Run, tmp_path: Path) -> None:
    printed = debug(source(tmp_path, b"fine\nnot \xff fine\n"))
    assert f"{tmp_path}/text.txt is not UTF-8: byte 0xff at offset 9" in printed


def test_an_empty_text(debug: Run, tmp_path: Path) -> None:
    assert "holds no word" in debug(source(tmp_path, b"\n\n \n"))


def test_one_document_only(debug: Run, tmp_path: Path) -> None:
    text = source(tmp_path, b"A dog ran. It ate.\nIt slept well.\n")
    assert "--config.pairs.nsp=False" in debug(text, "--config.tokenizer.vocab_size=32")


def test_text_that_was_mended_is_read_again(debug: Run, tmp_path: Path) -> None:
    few = ("--config.tokenizer.vocab_size=32", "--config.total_steps=10")
    assert "one document" in debug(source(tmp_path, b"A dog ran. It ate.\nIt slept well.\n"), *few)
    mended = source(tmp_path, b"A dog ran. It ate.\n\nIt slept well.\n")
    arguments = ["--config", "configs/debug.py", "--workdir", str(tmp_path / "run"), mended, *few]
    train.main([*arguments, "--quiet"])


def test_a_run_that_diverges_stops_and_keeps_what_was_good(debug: Run, tmp_path: Path) -> None:
    text = source(tmp_path, b"A dog ran. It ate.\n\nIt slept well.\n")
    few = ("--config.tokenizer.vocab_size=32", "--config.optimizer.clip_norm=1e30")
    printed = debug(text, *few, "--config.schedule.peak_learning_rate=1e30")
    assert "training diverged" in printed
    assert not RunFolder(tmp_path / "run").is_trained


def test_a_workdir_that_is_a_file_or_anothers(debug: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file; name a folder" in debug(workdir=tmp_path / "file")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "is not a run folder" in debug(workdir=tmp_path)


@pytest.mark.slow
def test_a_disk_that_fills(shell, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """On a real small disk, which takes the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for size in ("300k", "2m", "6m"):
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "x", disk], check=False
        ).returncode:
            pytest.skip("mounting a tmpfs is not allowed here")
        try:
            width = "--config.model.width=64"
            options = ("--config", "configs/debug.py", "--quiet", "--workdir", disk / "run")
            err = shell.run(shell.command("train", *options, width), status=2)
            assert err.startswith("error: the disk is full")
            assert err.count("\n") == 1, err
            if RunFolder(disk / "run").is_trained:
                shell.run(shell.command("fill_mask", "--model", disk / "run", "a [MASK]"))
        finally:
            subprocess.run(["umount", disk], check=True)


def test_a_vocabulary_that_the_text_cannot_fill(debug: Run, tmp_path: Path) -> None:
    text = source(tmp_path, b"A dog ran.\n\nIt ate the dog.\n")
    assert "is more than this text supports" in debug(text)
    assert "is too small: there are" in debug(text, "--config.tokenizer.vocab_size=9")


def test_a_first_try_that_failed_is_not_in_the_way(debug: Run, tmp_path: Path) -> None:
    """The folder was claimed by the first try, but nothing was trained in it."""
    text = source(tmp_path, b"A dog ran.\n\nIt ate the dog.\n")
    assert "is more than this text supports" in debug(text)
    assert "no file matches" in debug("--config.data.source=text:/nowhere/*")


def test_a_workdir_of_another_run(debug: Run, trained: Path) -> None:
    printed = debug("--config.model.width=64", workdir=trained)
    assert f"{trained} belongs to a run with another config" in printed
    assert "model.width: 32 -> 64" in printed
    assert "choose another --workdir" in printed


def test_a_damaged_corpus(run: Run, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "tokenizer", "checkpoints"):
        (copy / name).symlink_to(trained / name)
    shutil.copytree(trained / "corpus", copy / "corpus")
    shard = copy / "corpus" / "tokens-00000.npy"
    damaged = bytearray(shard.read_bytes())
    damaged[500] ^= 1
    shard.write_bytes(damaged)
    assert "tokens-00000.npy is damaged" in run(evaluate.main, "--model", copy)


def test_fill_mask_wants_a_model_and_a_mask(run: Run, trained: Path, tmp_path: Path) -> None:
    assert "holds no model" in run(fill_mask.main, "--model", tmp_path, "a [MASK]")
    assert "there is no [MASK]" in run(fill_mask.main, "--model", trained, "a mask")
    long = "ba " * 600 + "[MASK]"
    assert "the model takes 512" in run(fill_mask.main, "--model", trained, long)
    printed = run(fill_mask.main, "--model", trained, "[MASK]", "--top-k", "0")
    assert "top_k is 0" in printed


def test_an_untrained_run_has_no_model(run: Run, debug: Run, tmp_path: Path) -> None:
    debug(
        source(tmp_path, b"A dog ran. It ate.\nIt slept well.\n"),
        "--config.tokenizer.vocab_size=32",
    )
    printed = run(fill_mask.main, "--model", tmp_path / "run", "a [MASK]")
    assert "holds no checkpoint yet" in printed
