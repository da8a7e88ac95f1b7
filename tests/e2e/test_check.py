"""The look before a run: what it prints, what it warns of, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_jax import check, cli
from bert_jax.data.corpus import Corpus

ROOT = Path(__file__).parents[2]
SHORT = ("--config.total_steps=10", "--config.batch_size=4", "--config.schedule.warmup_steps=1")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `check` with the debug config on a text; gives status, output and complaints."""

    def run(text: str, *overrides: str, vocab_size: int = 32) -> tuple[int, str, str]:
        (tmp_path / "text.txt").write_text(text)
        arguments = [
            *("--config", "configs/debug.py", "--quiet", "--workdir", tmp_path / "run"),
            f"--config.data.source=text:{tmp_path}/text.txt",
            f"--config.tokenizer.vocab_size={vocab_size}",
            *SHORT,
            *overrides,
        ]
        monkeypatch.setattr("sys.argv", ["check", *map(str, arguments)])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as caught:
            cli.run(check.main)
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return run


def test_a_person_sees_what_a_run_will_be(shell, text: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    train = shell.train_command(text, tmp_path / "run")
    command = [*shell.command("check"), *train[3:], "--tokens-per-second", "1000"]
    printed = shell.run(command)
    for expected in (
        "documents       60",
        "held out        3",
        "all below 150, the vocabulary",
        "random second segments",
        "57-58%",
        "cut off                      0",
        "sequence     32 tokens of at most 512",
        "steps        60 of 8 sequences",
        "time         15 s at 1,000 tokens/s",
        "devices      1 × cpu, 8 rows each",
        "on each device; an estimate",
        "examples: [MASK→hidden]",
        "[MASK→",
    ):
        assert expected in printed, f"{expected}\n{printed}"
    assert "B follows A" in printed
    assert "B is from elsewhere" in printed
    # The run goes on with what was prepared.
    before = (tmp_path / "run" / "corpus" / "corpus.json").stat().st_mtime_ns
    assert "finished" not in shell.run([*train, "--config.total_steps=1", *SHORT[2:]])
    assert (tmp_path / "run" / "corpus" / "corpus.json").stat().st_mtime_ns == before


DOCUMENT = "A dog ran. It ate.\nIt slept well. Then it woke.\n"


def test_suspicious_things_are_warned_of(run: Run) -> None:
    text = "\n".join(["A dog ran.\n"] * 3)
    status, _, err = run(text, "--config.total_steps=1000", vocab_size=16)
    assert status == 0
    warnings = err.splitlines()
    assert len(warnings) == 4, err
    assert all(line.startswith("warning: ") for line in warnings)
    assert "% of the batches is padding; a shorter pairs.seq_len wastes less, and " in warnings[0]
    assert "pairs.examples_per_row=8 puts several examples in a row" in warnings[0]
    assert "100% of the second segments are random ones" in warnings[1]
    assert "the text fills 3 rows, fewer than a batch" in warnings[2]
    assert "the run makes 1,333 epochs of" in warnings[3]
    assert "BERT's paper about 40; more may overfit" in warnings[3]


def test_less_than_an_epoch_is_warned_of(run: Run) -> None:
    text = "\n".join([DOCUMENT * 20] * 30)
    status, _, err = run(text, "--config.total_steps=2")
    assert status == 0
    assert err.count("\n") == 1, err
    assert "text.txt, BERT's paper about 40; the model sees a part of the text only" in err


def test_unknown_words_are_told_by_script(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {
        "LATIN": {"words": 1000, "unknown": 10},
        "HANGUL": {"words": 50, "unknown": 3},
        "GREEK": {"words": 19, "unknown": 19},
    }

    class Counted(Corpus):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            self.manifest["scripts"] = counts

    monkeypatch.setattr("bert_jax.data.preparation.Corpus", Counted)
    text = "\n".join([DOCUMENT] * 30)
    _, out, err = run(text, "--config.pairs.seq_len=16", "--config.total_steps=40")
    assert (
        "Latin   1,000       1.00%\nHangul     50       6.00%\nGreek      19     100.00%\n" in out
    )
    assert err == (
        "warning: 6.0% of the words in Hangul have an [UNK]; a vocabulary trained on such text "
        "would know them\n"
    )


def test_without_pairs_there_is_no_word_of_them(run: Run) -> None:
    text = "\n".join([DOCUMENT] * 30)
    _, out, _ = run(text, "--config.pairs.nsp=False", "--config.masking.whole_word=True")
    assert "segments" not in out
    assert "   B  " not in out
    assert "words predicted in part   0.0%" in out


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("--config.pairs.seq_len=1024", "seq_len 1024 is more than model.max_positions 512"),
        ("--config.model.num_segments=1", "set model.num_segments=2 or pairs.nsp=False"),
        ("--tokens-per-second=0", "--tokens-per-second is 0; it must be positive"),
        ("--tokens-per-second=fast", "invalid float value: 'fast'; see python -m bert_jax.check"),
        ("--config.totl_steps=3", "did you mean 'total_steps'?"),
    ],
)
def test_what_needs_no_text_is_refused_at_once(
    run: Run, tmp_path: Path, override: str, complaint: str
) -> None:
    status, _, err = run(DOCUMENT, override)
    assert (status, err.count("\n")) == (2, 1), err
    assert complaint in err
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_a_single_document_is_refused_with_pairs(run: Run) -> None:
    status, _, err = run(DOCUMENT)
    assert (status, err.count("\n")) == (2, 1), err
    assert "--config.pairs.nsp=False" in err


def test_a_corpus_of_another_tokenizer_is_refused(run: Run, tmp_path: Path) -> None:
    text = "\n".join([DOCUMENT] * 30)
    run(text)
    manifest = tmp_path / "run" / "corpus" / "corpus.json"
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(record | {"tokenizer_hash": "0" * 64}))
    status, _, err = run(text)
    assert (status, err.count("\n")) == (2, 1), err
    assert "was made with tokenizer 000000000000, the run has " in err
