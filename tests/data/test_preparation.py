"""From raw text to a corpus with its tokenizer, made once."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_jax.atomic import locked
from bert_jax.console import Console
from bert_jax.data import preparation
from bert_jax.data.blocks import Block, Tokenized
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.errors import UserError
from bert_jax.tokenizers import load_tokenizer

QUIET = Console(quiet=True)
GONE = "text:/nowhere/*.txt"


def write_text(folder: Path, *, num: int = 15) -> str:
    """Two files of small documents of English and Korean, as a source."""
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(
            "\n\n".join(
                f"She cooked pasta for {n} people. It was delicious!\n나는 파리를 {n}번 보았다."
                for n in range(num)
            )
        )
    return f"text:{folder}/*.txt"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand characters each, so that little text makes many."""
    cut = partial(preparation.cut_into_blocks, block_characters=1000)
    monkeypatch.setattr(preparation, "cut_into_blocks", cut)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return write_text(tmp_path / "text")


def make(folder: Path, source: str, *, vocab_size: int = 80, path: str = "", **text: Any) -> Corpus:
    vocabulary = Vocabulary(vocab_size=vocab_size, path=path)
    return prepare(folder, Text(source=source, **text), vocabulary, QUIET, workers=1)[1]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# What comes out.


def test_text_becomes_a_corpus_with_its_tokenizer(tmp_path: Path, source: str) -> None:
    corpus = make(tmp_path / "corpus", source)
    tokenizer = load_tokenizer(tmp_path / "corpus" / "tokenizer")
    assert tokenizer.vocab_size == 80
    assert corpus.num_documents == 30
    assert np.diff(corpus.sentences.documents).tolist() == [3] * 30
    assert corpus.manifest["sources"] == [
        {"source": source, "documents": 30, "tokens": corpus.num_tokens}
    ]
    assert corpus.manifest["unknown"] == 0  # the vocabulary is of this very text
    ids, _ = corpus.read(np.arange(int(corpus.sentences.offsets[3]))[None])
    text = "she cooked pasta for 0 people. it was delicious! 나는 파리를 0번 보았다."
    assert tokenizer.decode(ids[0].tolist()) == text
    assert {path.name for path in tmp_path.iterdir()} == {"text", "corpus"}
    assert {path.name for path in (tmp_path / "corpus").iterdir()} == {
        "corpus.json",
        "tokenizer",
        *(f"{name}-00000.npy" for name in ("tokens", "continues", "sentences", "documents")),
    }


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_text(tmp_path / "text", num=200)  # blocks enough for all of them
    vocabulary = Vocabulary(vocab_size=80)
    for workers in (1, 2, 3):
        folder = tmp_path / f"corpus{workers}"
        prepare(
            folder,
            Text(source=source),
            vocabulary,
            QUIET,
            workers=workers,
            shard_tokens=2_000,
        )
    one, *others = (files_of(tmp_path / f"corpus{workers}") for workers in (1, 2, 3))
    assert "tokens-00002.npy" in one
    assert all(other == one for other in others)


def test_several_sources_are_told_apart(tmp_path: Path) -> None:
    first, second = (write_text(tmp_path / name, num=num) for name, num in (("x", 10), ("y", 25)))
    corpus = make(tmp_path / "corpus", f"0.5 {first}, 0.5 {second}")
    assert [entry["documents"] for entry in corpus.manifest["sources"]] == [20, 50]
    documents = corpus.train_documents_of([second, first])
    assert [part.tolist() for part in documents] == [
        [n for n in range(20, 70) if n not in (39, 59)],  # held out are those of each source
        list(range(18)),
    ]
    assert corpus.train_documents_of([""])[0].tolist() == corpus.train_documents.tolist()
    with pytest.raises(UserError, match="not prepared from 'text:z' but from text:"):
        corpus.train_documents_of([first, "text:z"])


def test_duplicates_are_dropped_if_asked(tmp_path: Path, source: str) -> None:
    assert make(tmp_path / "all", source).manifest["duplicates"] == 0
    corpus = make(tmp_path / "once", source, deduplicate=True)
    assert corpus.num_documents == 15  # the second file repeats the first
    assert corpus.manifest["duplicates"] == 15


def test_documents_in_other_scripts_are_dropped_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "only English here\n\n우리말로 쓰인 문서 in a word\n\n1234\n\nmixed 반반 but more Latin"
    )
    corpus = make(tmp_path / "c", f"text:{tmp_path}/a.txt", vocab_size=25, scripts="hangul")
    assert corpus.num_documents == 1
    assert corpus.manifest["other_scripts"] == 3
    tokenizer = load_tokenizer(tmp_path / "c" / "tokenizer")
    assert "우" in tokenizer.runtime.vocab
    assert "y" not in tokenizer.runtime.vocab  # nor is the vocabulary of other documents
    with pytest.raises(UserError, match="no letter is in a script 'KOREAN'"):
        Text(source="python_docs", scripts="KOREAN")


# Made once.


def test_what_was_made_is_read_without_the_source(tmp_path: Path, source: str) -> None:
    corpus = make(tmp_path / "corpus", source)
    shutil.rmtree(tmp_path / "text")
    for name in (source, ""):  # nothing in particular
        assert make(tmp_path / "corpus", name).hash == corpus.hash


def test_a_corpus_of_another_tokenizer_is_refused(tmp_path: Path, source: str) -> None:
    make(tmp_path / "one", source, vocab_size=70)
    make(tmp_path / "other", source, vocab_size=80)
    paths = [str(tmp_path / name / "tokenizer") for name in ("one", "other")]
    hashes = [load_tokenizer(path).hash[:12] for path in paths]
    with pytest.raises(UserError, match=rf"{hashes[0]}.*{hashes[1]}"):
        make(tmp_path / "one", source, path=paths[1])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"source": GONE}, "was not prepared from 'text:/nowhere"),
        ({"deduplicate": True}, "was prepared with deduplicate False, not True; ask for the same"),
        ({"scripts": "HANGUL"}, "was prepared with scripts_kept '', not 'HANGUL'"),
        ({"segmenter": "a:b"}, "was prepared with segmenter '', not 'a:b'"),
    ],
)
def test_a_corpus_of_other_text_is_refused(
    tmp_path: Path, source: str, asked: dict[str, Any], why: str
) -> None:
    make(tmp_path / "corpus", source)
    with pytest.raises(UserError, match=why):
        make(tmp_path / "corpus", **({"source": source} | asked))


def test_another_process_at_the_same_folder_is_refused(tmp_path: Path, source: str) -> None:
    with (
        locked(tmp_path / "corpus.building", ""),
        pytest.raises(UserError, match=r"corpus\.building is in use by another process; wait"),
    ):
        make(tmp_path / "corpus", source)
    assert make(tmp_path / "corpus", source).num_documents == 30


# Interrupted.


class Killed(BaseException):
    pass


@pytest.fixture
def large(tmp_path: Path) -> str:
    return write_text(tmp_path / "text", num=100)


def dying_after(monkeypatch: pytest.MonkeyPatch, num_blocks: int) -> list[tuple[int, int]]:
    """Lets the process die when so many blocks are tokenized; returns those that are, by place."""
    tokenized: list[tuple[int, int]] = []

    class Dying(preparation.BlockTokenizer):
        def __call__(self, block: Block) -> Tokenized:
            if len(tokenized) == num_blocks:
                raise Killed
            tokenized.append((block.part, block.number))
            return super().__call__(block)

    monkeypatch.setattr(preparation, "BlockTokenizer", Dying)
    monkeypatch.setattr("bert_jax.data.corpus_writer._FLUSH_SECONDS", 0.0)
    return tokenized


def growing_files(building: Path) -> list[Path]:
    """Those of the last shard."""
    last = max((path.stem.partition("-")[2] for path in building.glob("*.npy")), default="")
    return list(building.glob(f"*-{last}.npy"))


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("shard_tokens", [1 << 27, 1_000])
def test_an_interrupted_preparation_goes_on_where_it_was(
    tmp_path: Path,
    large: str,
    monkeypatch: pytest.MonkeyPatch,
    deduplicate: bool,
    shard_tokens: int,
) -> None:
    text = Text(source=large, deduplicate=deduplicate)
    arguments = text, Vocabulary(vocab_size=80), QUIET

    def run(name: str) -> None:
        prepare(tmp_path / name, *arguments, workers=1, shard_tokens=shard_tokens)

    with monkeypatch.context() as patch:
        blocks = dying_after(patch, 10**9)
        run("whole")
    for num in (0, 1, 4, len(blocks) - 1):
        with monkeypatch.context() as patch:
            dying_after(patch, num)
            with pytest.raises(Killed):
                run("parts")
        assert not (tmp_path / "parts").exists()
        # What a kill would add: bytes that were written but not yet counted.
        for path in growing_files(tmp_path / "parts.building"):
            with path.open("ab") as file:
                file.write(b"half a block")
        with monkeypatch.context() as patch:
            again = dying_after(patch, 10**9)
            run("parts")
        assert again == blocks[num:]
        assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
        shutil.rmtree(tmp_path / "parts")


@pytest.mark.parametrize("change", ["text", "time", "vocabulary", "recipe"])
def test_what_was_begun_for_another_job_is_thrown_away(
    tmp_path: Path, large: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with monkeypatch.context() as patch:
        dying_after(patch, 3)
        with pytest.raises(Killed):
            make(tmp_path / "corpus", large)
    if change == "text":
        (tmp_path / "text" / "a.txt").write_text("나는 파리를 보았다.\n\nanother text\n")
    if change == "time":  # another text of the same size
        path = tmp_path / "text" / "a.txt"
        path.write_bytes(path.read_bytes().replace(b"cooked", b"bought"))
    vocab_size = 70 if change == "vocabulary" else 80
    options = {"deduplicate": change == "recipe"}
    make(tmp_path / "corpus", large, vocab_size=vocab_size, **options)
    make(tmp_path / "anew", large, vocab_size=vocab_size, **options)
    assert files_of(tmp_path / "corpus") == files_of(tmp_path / "anew")


def test_bad_text_can_be_mended(tmp_path: Path, source: str) -> None:
    (tmp_path / "text" / "c.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        make(tmp_path / "corpus", source)
    (tmp_path / "text" / "c.txt").unlink()
    with pytest.raises(UserError, match="more than this text supports"):
        make(tmp_path / "corpus", source, vocab_size=10_000)
    assert make(tmp_path / "corpus", source).num_documents == 30


def test_files_that_lost_what_was_written_are_not_gone_on_with(
    tmp_path: Path, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        dying_after(patch, 3)
        with pytest.raises(Killed):
            make(tmp_path / "corpus", large)
    (tmp_path / "corpus.building" / "tokens-00000.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"tokens-00000.npy is shorter than it was; remove .*build"):
        make(tmp_path / "corpus", large)


def test_progress_is_shown_unless_quiet(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "quiet", source)
    assert capsys.readouterr() == ("", "")
    prepare(tmp_path / "loud", Text(source=source), Vocabulary(vocab_size=80), Console())
    out, err = capsys.readouterr()
    assert out == ""
    for what in ("reading text: 100%", "training vocabulary", "tokenizing: 100%"):
        assert what in err


def test_a_vocabulary_that_does_not_fit_a_source_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Early: by the first block of each source."""
    (tmp_path / "en.txt").write_text("only English text here\n\nand a little more\n" * 30)
    (tmp_path / "ko.txt").write_text("우리말로 쓰인 문서\n" * 30)
    english = f"text:{tmp_path}/en.txt"
    make(tmp_path / "vocabulary", english, vocab_size=30)
    both = f"0.5 {english}, 0.5 text:{tmp_path}/ko.txt"
    make(tmp_path / "corpus", both, path=str(tmp_path / "vocabulary" / "tokenizer"))
    err = capsys.readouterr().err
    assert err.startswith("warning: share of words with [UNK] in a sample of the text: Hangul 100")
    assert err.count("\n") == 1


def test_files_that_are_no_corpus_are_left_alone(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    assert make(tmp_path / "empty", source).num_documents == 30
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other exists, but holds no corpus; remove it or choose"):
        make(tmp_path / "other", source)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_the_recipe_is_recorded(tmp_path: Path, source: str) -> None:
    make(tmp_path / "corpus", source, deduplicate=True, scripts="HANGUL, LATIN")
    manifest = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert manifest["deduplicate"] is True
    assert manifest["scripts_kept"] == "HANGUL, LATIN"
    assert manifest["segmenter"] == ""
    assert manifest["scripts"].keys() == {"HANGUL", "LATIN"}
