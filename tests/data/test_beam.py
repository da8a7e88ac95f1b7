"""The preparation by Apache Beam gives the bytes of the one by this machine alone.

Beam's FnApiRunner is what its DirectRunner comes down to without a download.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bert_jax import prepare as command
from bert_jax.console import Console
from bert_jax.data import beam, preparation, text_files
from bert_jax.data.beam import prepare_with_beam
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.errors import UserError
from bert_jax.tokenizers import load_tokenizer

QUIET = Console(quiet=True)
LOCAL = "--runner=FnApiRunner"
SHARD_TOKENS = 400


def write_text(folder: Path, *, first: int = 0, num: int = 20) -> str:
    """Three files of English and Korean, as a source; one stands in two of them."""
    folder.mkdir()
    for name, start in (("a", first), ("b", first + num), ("c", first + num // 2)):
        documents = (
            f"나는 파리를 {n}번 보았다. 그리고 파스타를 먹었다.\nIt was delicious!"
            if n % 3
            else f"She cooked pasta for {n} people. No more."
            for n in range(start, start + num)
        )
        (folder / f"{name}.txt").write_text("\n\n".join(documents))
    return f"text:{folder}/*.txt"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file a part, of blocks of a few documents."""
    monkeypatch.setattr(text_files, "PART_BYTES", 1)
    for module in (beam, preparation):
        cut = partial(module.cut_into_blocks, block_characters=300)
        monkeypatch.setattr(module, "cut_into_blocks", cut)


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """Two sources, of which the second repeats some of the first."""
    first = write_text(tmp_path / "x")
    return f"0.5 {first}, 0.5 {write_text(tmp_path / 'y', first=30)}"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def prepare_both(
    tmp_path: Path, text: Text, vocabulary: Vocabulary, options: str = LOCAL
) -> dict[str, Any]:
    """Asserts that the two are equal; returns the manifest."""
    prepare(tmp_path / "here", text, vocabulary, QUIET, shard_tokens=SHARD_TOKENS)
    prepare_with_beam(
        str(tmp_path / "beam"), text, vocabulary, options, QUIET, shard_tokens=SHARD_TOKENS
    )
    assert files_of(tmp_path / "beam") == files_of(tmp_path / "here")
    assert not list(tmp_path.glob("*.building"))
    tokenizer = load_tokenizer(tmp_path / "beam" / "tokenizer")
    here, there = (Corpus(tmp_path / name, tokenizer) for name in ("here", "beam"))
    assert there.hash == here.hash
    return there.manifest


# The same bytes.


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("vocabulary", "options"),
    [
        ({"type": "wordpiece"}, {}),
        ({"type": "bpe"}, {"deduplicate": True}),
        ({"type": "byte_bpe", "vocab_size": 300}, {"deduplicate": True, "scripts": "hangul"}),
        ({"type": "unigram", "vocab_size": 50}, {"scripts": "hangul"}),
        ({}, {"segmenter": "shlex:split"}),
    ],
    ids=["wordpiece", "deduplicate", "both", "scripts", "segmenter"],
)
def test_beam_gives_the_bytes_of_the_local_preparation(
    tmp_path: Path, mixed: str, vocabulary: dict[str, Any], options: dict[str, Any]
) -> None:
    manifest = prepare_both(
        tmp_path, Text(source=mixed, **options), Vocabulary(**{"vocab_size": 90} | vocabulary)
    )
    assert len(manifest["shards"]) >= 3
    assert all(entry["documents"] for entry in manifest["sources"])
    # Of 120 documents 70 differ, of which every third is English.
    deduplicate, scripts = ("deduplicate" in options, "scripts" in options)
    assert manifest["duplicates"] == (50 if deduplicate else 0)
    assert manifest["other_scripts"] == (0 if not scripts else 24 if deduplicate else 40)


def test_a_part_of_several_blocks_in_several_processes(tmp_path: Path) -> None:
    word = "pneumonoultramicroscopicsilicovolcanoconiosis" * 2  # few of them, to be fast
    (tmp_path / "a.txt").write_text("\n\n".join(f"{n} {word} " * 60 for n in range(200)))
    (tmp_path / "b.txt").write_text("\n\n".join(f"{n} {word} " * 60 for n in range(150, 210)))
    manifest = prepare_both(
        tmp_path,
        Text(source=f"text:{tmp_path}/*.txt", deduplicate=True),
        Vocabulary(vocab_size=60),
        f"{LOCAL} --direct_num_workers=2 --direct_running_mode=multi_processing",
    )
    assert len(manifest["shards"]) == 2


@pytest.mark.usefixtures("small_pieces")
def test_what_is_done_twice_changes_nothing(tmp_path: Path, mixed: str) -> None:
    """As where a worker is lost and another one does its work again."""
    text = Text(source=mixed, deduplicate=True)
    repeat = f"{LOCAL} --direct_runner_bundle_repeat=1"
    prepare_both(tmp_path, text, Vocabulary(vocab_size=90), repeat)


def test_text_without_a_document(tmp_path: Path, mixed: str) -> None:
    prepare(tmp_path / "other", Text(source=mixed), Vocabulary(vocab_size=80), QUIET)
    (tmp_path / "blank.txt").write_text("\n \n")
    vocabulary = Vocabulary(vocab_size=80, path=str(tmp_path / "other" / "tokenizer"))
    manifest = prepare_both(tmp_path, Text(source=f"text:{tmp_path}/blank.txt"), vocabulary)
    assert [shard["tokens"] for shard in manifest["shards"]] == [0]


# At an address.


def test_a_corpus_at_an_address_is_made_there_once(tmp_path: Path, mixed: str) -> None:
    text = Text(source=mixed, staging=str(tmp_path / "staging"))
    output, vocabulary = f"file://{tmp_path}/bucket/corpus", Vocabulary(vocab_size=80)
    prepare(tmp_path / "here", text, vocabulary, QUIET)
    (tmp_path / "bucket" / "corpus" / "tokenizer").mkdir(parents=True)
    for name in ("tokens-00001.npy", "tokenizer/spm.model"):  # of another job that failed
        (tmp_path / "bucket" / "corpus" / name).touch()
    prepare_with_beam(output, text, vocabulary, LOCAL, QUIET)
    assert files_of(tmp_path / "bucket" / "corpus") == files_of(tmp_path / "here")
    assert not list((tmp_path / "staging").iterdir())
    gone = Text(source="text:/nowhere/*", staging=text.staging)
    prepare_with_beam(output, gone, vocabulary, LOCAL, QUIET)
    prepare(tmp_path / "other", text, Vocabulary(vocab_size=70), QUIET)
    another = Vocabulary(vocab_size=70, path=str(tmp_path / "other" / "tokenizer"))
    with pytest.raises(UserError, match=rf"{output} was made with tokenizer"):
        prepare_with_beam(output, gone, another, LOCAL, QUIET)


def test_progress_and_warnings_are_shown(
    tmp_path: Path, mixed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("only English here\n\nand two documents of it, in words")
    english = Text(source=f"text:{tmp_path}/a.txt")
    prepare(tmp_path / "english", english, Vocabulary(vocab_size=35), QUIET)
    vocabulary = Vocabulary(vocab_size=35, path=str(tmp_path / "english" / "tokenizer"))
    prepare_with_beam(str(tmp_path / "c"), Text(source=mixed), vocabulary, LOCAL, Console())
    out, err = capsys.readouterr()
    assert out == ""
    assert "pipeline on FnApiRunner: 100%" in err
    assert "share of words with [UNK] in a sample of the text: Hangul 100.0%" in err


# What goes wrong.


def fail(*_: object, **__: object) -> None:
    raise UserError("the disk is gone; get another")


@pytest.mark.usefixtures("small_pieces")
def test_a_failure_leaves_nothing_that_looks_finished(
    tmp_path: Path, mixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And either preparation can follow a failure of the other one."""
    vocabulary = Vocabulary(vocab_size=80)

    def here(folder: Path) -> None:
        prepare(folder, Text(source=mixed), vocabulary, QUIET, shard_tokens=SHARD_TOKENS)

    def there(folder: Path) -> None:
        text = Text(source=mixed)
        prepare_with_beam(str(folder), text, vocabulary, LOCAL, QUIET, shard_tokens=SHARD_TOKENS)

    for first, second, name in ((here, there, "a"), (there, here, "b")):
        with monkeypatch.context() as patch:
            patch.setattr(preparation.CorpusWriter, "finish", fail)
            patch.setattr(beam, "write_manifest", fail)
            with pytest.raises(UserError, match=r"^the disk is gone; get another$"):
                first(tmp_path / name)
        assert not (tmp_path / name).exists()
        assert list((tmp_path / f"{name}.building").glob("tokens-*.npy"))
        second(tmp_path / name)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--runner=Hadoop", "Unexpected pipeline runner: Hadoop"),
        ("--direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'"),
        ("--runner='FnApiRunner", "No closing quotation"),
    ],
)
def test_options_that_beam_does_not_take(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^--beam .*: {message}"):
        prepare_with_beam(
            str(tmp_path / "c"),
            Text(source="python_docs"),
            Vocabulary(vocab_size=80),
            options,
            QUIET,
        )


# The command.

COMMAND = ["--config", str(Path(__file__).parents[2] / "configs" / "debug.py"), "--quiet"]


def test_the_command_prepares_with_beam(
    tmp_path: Path, mixed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *COMMAND,
        f"--config.data.source={mixed}",
        "--config.tokenizer.vocab_size=80",
        f"--output={tmp_path}/corpus",
        f"--beam={LOCAL}",
    ]
    command.main(arguments)
    out, err = capsys.readouterr()
    assert f"made {tmp_path}/corpus documents 120 dropped none" in " ".join(out.split())
    assert err == ""
    command.main(arguments)
    assert f"{tmp_path}/corpus was there already" in capsys.readouterr().out
    with pytest.raises(UserError, match="--workers is of this machine alone"):
        command.main([*arguments, "--workers=2"])


def test_without_beam_the_command_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "bert_jax.data.beam")
    with pytest.raises(UserError, match=r"pip install 'bert_jax\[beam\]'"):
        command.main([*COMMAND, f"--output={tmp_path}/corpus", "--beam="])
