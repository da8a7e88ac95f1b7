"""`python -m bert_jax.prepare`, and runs on what it made."""

import json
import signal
import time
from pathlib import Path

import pytest
import tensorflow as tf

from bert_jax.data.corpus import Corpus
from bert_jax.tokenizers import load_tokenizer


def prepare(shell, source: str, output: Path | str, *more: str) -> list[str]:  # type: ignore[no-untyped-def]
    """The command."""
    config = ("--config", "configs/debug.py", "--config.tokenizer.vocab_size=150", "--quiet")
    source = f"--config.data.source={source}"
    return shell.command("prepare", *config, source, "--output", output, *more)


def open_corpus(folder: Path) -> Corpus:
    return Corpus(folder, load_tokenizer(folder / "tokenizer"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty megabytes: some seconds of work."""
    folder = tmp_path_factory.mktemp("large")
    for name in range(4):
        lines = (f"Line {n} of {name}.\nIt says {n * n % 977}!\n" for n in range(250_000))
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return f"text:{folder}/*.txt"


@pytest.fixture(scope="module")
def undisturbed(large: str, tmp_path_factory: pytest.TempPathFactory, shell) -> Corpus:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("undisturbed") / "corpus"
    shell.run(prepare(shell, large, folder, "--workers", "1"))
    return open_corpus(folder)


def test_it_reports_what_it_made_and_does_not_make_it_again(
    shell,  # type: ignore[no-untyped-def]
    text: Path,
    tmp_path: Path,
) -> None:
    source = f"text:{text}/*"
    first = shell.run(prepare(shell, source, tmp_path / "corpus"))
    corpus = open_corpus(tmp_path / "corpus")
    for line in ("documents       60", f"tokens          {corpus.num_tokens:,}", "unknown tokens"):
        assert line in first
    assert f"made {tmp_path / 'corpus'}" in first
    assert "documents by length in tokens" in first
    assert "was there already" in shell.run(prepare(shell, "", tmp_path / "corpus"))
    told = shell.run(prepare(shell, "text:/gone/*", tmp_path / "corpus"), status=2)
    assert "was not prepared from 'text:/gone/*' but from" in told


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_killed_at_any_time_it_goes_on(
    shell,  # type: ignore[no-untyped-def]
    large: str,
    undisturbed: Corpus,
    tmp_path: Path,
    workers: int,
) -> None:
    folder = tmp_path / "corpus"
    command = prepare(shell, large, folder, "--workers", str(workers))
    progress = tmp_path / "corpus.building" / "progress.json"
    before = positions = None
    for _ in range(2):  # each time when something more was saved
        process = shell.start(command)
        while positions == before:
            assert process.poll() is None
            time.sleep(0.01)
            positions = json.loads(progress.read_text())["position"] if progress.exists() else None
        before = positions
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not folder.exists()
    assert positions > [0, 0]
    shell.run(command)
    assert open_corpus(folder).hash == undisturbed.hash


def test_two_at_the_same_folder(shell, large: str, undisturbed: Corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    command = prepare(shell, large, tmp_path / "corpus")
    first = shell.start(command)
    while not (tmp_path / "corpus.building" / "lock").exists():
        assert first.poll() is None
        time.sleep(0.01)
    refused = shell.run(command, status=2)
    assert "corpus.building is in use by another process; wait for it or choose" in refused
    assert refused.count("\n") == 1
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert open_corpus(tmp_path / "corpus").hash == undisturbed.hash


@pytest.mark.slow
def test_runs_of_two_lengths_share_a_corpus_at_an_address(
    shell,  # type: ignore[no-untyped-def]
    text: Path,
    tmp_path: Path,
) -> None:
    """Phases: the same folder serves rows of 16 tokens and of 48."""
    address = f"file://{tmp_path}/bucket/corpus"
    staging = f"--config.data.staging={tmp_path}/staging"
    source = f"text:{text}/*"
    shell.run(prepare(shell, source, address, staging))
    hashes = set()
    for seq_len in (16, 48):
        workdir = tmp_path / str(seq_len)
        shell.run(
            shell.train_command(
                text,
                workdir,
                f"--config.data.corpus={address}",
                staging,
                f"--config.pairs.seq_len={seq_len}",
                "--config.total_steps=10",
            )
        )
        assert not (workdir / "corpus").exists()
        hashes.add(json.loads((workdir / "config.json").read_text())["corpus_hash"])
    assert hashes == {open_corpus(tmp_path / "bucket" / "corpus").hash}
    out = shell.run(shell.command("evaluate", "--model", tmp_path / "16"))
    assert "MLM loss" in out


def test_a_run_on_a_mixture(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = f"0.25 text:{text}/a.txt, 0.75 text:{text}/b.txt.gz"
    out = shell.run(
        shell.train_command(
            text, tmp_path / "run", f"--config.data.source={source}", "--config.total_steps=10"
        )
    )
    assert f"examples of text:{text}/a.txt" in out
    assert f"examples of text:{text}/b.txt.gz" in out


def test_examples_are_exported(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    output = tmp_path / "corpus"
    more = ("--export=tfrecord", "--dupe-factor=2", "--config.pairs.seq_len=32")
    command = prepare(shell, f"text:{text}/*", output, *more)
    printed = shell.run(command)
    assert f"examples to {output}/tfrecord-32; read them with max_seq_length 32" in printed
    (file,) = (output / "tfrecord-32").glob("*.tfrecord")
    assert file.stat().st_size > 10_000
    assert "tfrecord-32 exists; remove it" in shell.run(command, status=2)
    open_corpus(output)
    # A reader of such files knows one example a row; they are the same.
    (output / "tfrecord-32").rename(tmp_path / "one")
    shell.run([*command, "--config.pairs.examples_per_row=8"])
    one, other = (
        [
            tf.train.Example.FromString(record)
            for record in tf.data.TFRecordDataset(str(folder / file.name)).as_numpy_iterator()
        ]
        for folder in (tmp_path / "one", output / "tfrecord-32")
    )
    assert one == other


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--config.data.scripts=Elvish"], "no letter is in a script 'ELVISH'"),
        (["--config.data.segmenter=nothing:cut"], "data.segmenter 'nothing:cut' cannot be import"),
        (["--config.tokenizer.path=/nowhere"], "/nowhere"),
        (["--dupe-factor", "x"], "invalid int value"),
        (
            ["--export=tfrecord", "--output=memory://a/b"],
            "--export writes to a folder",
        ),
        (["--output=gs://bucket/corpus"], "gcsfs"),
        (["--beam=--runner=DirectRunner", "--workers=2"], "--workers is of this machine alone"),
    ],
)
def test_mistakes_are_told_in_a_line(
    shell,  # type: ignore[no-untyped-def]
    text: Path,
    tmp_path: Path,
    more: list[str],
    message: str,
) -> None:
    told = shell.run(prepare(shell, f"text:{text}/*", tmp_path / "corpus", *more), status=2)
    assert message in told
    assert told.count("\n") == 1


def test_where_to_must_be_said(shell) -> None:  # type: ignore[no-untyped-def]
    told = shell.run(shell.command("prepare", "--config", "configs/debug.py"), status=2)
    assert told == "error: where to? give --output FOLDER\n"
