"""From raw text to a tokenizer and a corpus, each made once."""

from pathlib import Path

import numpy as np
import pytest

from bert_jax.console import Console
from bert_jax.data.preparation import Vocabulary, prepare_corpus, prepare_tokenizer
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

QUIET = Console(quiet=True)
GONE = "text:/nowhere/*.txt"


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Thirty small documents of English and Korean."""
    (tmp_path / "text").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "text" / name).write_text(
            "\n\n".join(
                f"She cooked pasta for {n} people. It was delicious!\n나는 파리를 {n}번 보았다."
                for n in range(15)
            )
        )
    return f"text:{tmp_path}/text/*.txt"


def make_tokenizer(folder: Path, source: str, *, vocab_size: int = 80) -> Tokenizer:
    return prepare_tokenizer(folder, source, QUIET, Vocabulary(vocab_size=vocab_size))


def test_text_becomes_a_tokenizer_and_a_corpus(tmp_path: Path, source: str) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer", source)
    corpus = prepare_corpus(tmp_path / "corpus", source, tokenizer, QUIET)
    assert tokenizer.vocab_size == 80
    assert corpus.num_documents == 30
    assert np.diff(corpus.sentences.documents).tolist() == [3] * 30
    assert corpus.manifest["source"] == source
    assert corpus.manifest["unknown"] == 0  # the vocabulary is of this very text
    ids, _ = corpus.read(np.arange(int(corpus.sentences.offsets[3]))[None])
    text = "she cooked pasta for 0 people. it was delicious! 나는 파리를 0번 보았다."
    assert tokenizer.decode(ids[0].tolist()) == text


def test_the_same_text_gives_the_same_tokenizer_and_corpus(tmp_path: Path, source: str) -> None:
    one, other = (make_tokenizer(tmp_path / name, source) for name in ("t1", "t2"))
    assert one.hash == other.hash
    hashes = {prepare_corpus(tmp_path / name, source, one, QUIET).hash for name in ("c1", "c2")}
    assert len(hashes) == 1


def test_what_was_made_is_read_without_the_source(tmp_path: Path, source: str) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer", source)
    corpus = prepare_corpus(tmp_path / "corpus", source, tokenizer, QUIET)
    again = make_tokenizer(tmp_path / "tokenizer", GONE)
    assert again.hash == tokenizer.hash
    assert prepare_corpus(tmp_path / "corpus", GONE, again, QUIET).hash == corpus.hash


def test_a_failure_leaves_nothing_behind_that_would_be_read_next_time(
    tmp_path: Path, source: str
) -> None:
    with pytest.raises(UserError, match="more than this text supports"):
        make_tokenizer(tmp_path / "tokenizer", source, vocab_size=10_000)
    tokenizer = make_tokenizer(tmp_path / "tokenizer", source)
    (tmp_path / "text" / "c.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        prepare_corpus(tmp_path / "corpus", source, tokenizer, QUIET)
    (tmp_path / "text" / "c.txt").unlink()
    assert prepare_corpus(tmp_path / "corpus", source, tokenizer, QUIET).num_documents == 30


def test_a_corpus_of_another_tokenizer_is_refused(tmp_path: Path, source: str) -> None:
    one, other = (
        make_tokenizer(tmp_path / f"t{size}", source, vocab_size=size) for size in (70, 80)
    )
    prepare_corpus(tmp_path / "corpus", source, one, QUIET)
    with pytest.raises(UserError, match=rf"{one.hash[:12]}.*{other.hash[:12]}"):
        prepare_corpus(tmp_path / "corpus", source, other, QUIET)


def test_progress_is_shown_unless_quiet(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tokenizer(tmp_path / "quiet", source)
    assert capsys.readouterr() == ("", "")
    tokenizer = prepare_tokenizer(tmp_path / "loud", source, Console(), Vocabulary(vocab_size=80))
    prepare_corpus(tmp_path / "corpus", source, tokenizer, Console())
    out, err = capsys.readouterr()
    assert out == ""
    for what in ("reading text: 100%", "training vocabulary", "tokenizing: 100%"):
        assert what in err
