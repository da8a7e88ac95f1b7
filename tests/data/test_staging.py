"""Corpora at an address: published whole, copied here once."""

import importlib.util
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from bert_jax.atomic import locked
from bert_jax.console import Console
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.staging import exists, is_remote, publish, staged
from bert_jax.errors import UserError
from bert_jax.tokenizers import load_tokenizer

QUIET = Console(quiet=True)
ADDRESS = "memory://bucket/corpora/small"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n\n".join(f"Text number {n}. And more." for n in range(50)))
    text = Text(source=f"text:{tmp_path}/a.txt")
    prepare(tmp_path / "corpus", text, Vocabulary(vocab_size=40), QUIET)
    return tmp_path / "corpus"


@pytest.fixture(autouse=True)
def empty_memory() -> None:
    fsspec.filesystem("memory").store.clear()


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    assert not is_remote("corpora/small")
    assert staged("corpora/small", tmp_path, QUIET) == Path("corpora/small")
    assert staged("~/corpus", tmp_path, QUIET) == Path.home() / "corpus"
    assert list(tmp_path.iterdir()) == []


def test_what_was_published_is_copied_and_the_same(corpus: Path, tmp_path: Path) -> None:
    assert not exists(ADDRESS)
    (corpus / "tfrecord-64").mkdir()
    (corpus / "tfrecord-64" / "train-00000.tfrecord").write_text("not of the corpus")
    tokenizer = load_tokenizer(corpus / "tokenizer")
    hash_before = Corpus(corpus, tokenizer).hash
    publish(corpus, ADDRESS, QUIET)
    assert exists(ADDRESS)
    assert not corpus.exists()
    copy = staged(ADDRESS, tmp_path / "staging", QUIET)
    assert Corpus(copy, tokenizer).hash == hash_before
    assert not (copy / "tfrecord-64").exists()


def test_it_is_copied_once(corpus: Path, tmp_path: Path) -> None:
    publish(corpus, ADDRESS, QUIET)
    copy = staged(ADDRESS, tmp_path / "staging", QUIET)
    store = fsspec.filesystem("memory").store
    for path in [path for path in store if not path.endswith("corpus.json")]:
        del store[path]
    assert staged(ADDRESS, tmp_path / "staging", QUIET) == copy


def test_another_corpus_at_the_address_is_another_copy(corpus: Path, tmp_path: Path) -> None:
    publish(corpus, ADDRESS, QUIET)
    first = staged(ADDRESS, tmp_path / "staging", QUIET)
    path = "/bucket/corpora/small/corpus.json"
    memory = fsspec.filesystem("memory")
    memory.pipe_file(path, json.dumps(json.loads(memory.cat_file(path)) | {"note": 1}).encode())
    assert staged(ADDRESS, tmp_path / "staging", QUIET) != first


def test_half_a_copy_is_not_read(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(corpus, ADDRESS, QUIET)
    memory = fsspec.filesystem("memory")
    with monkeypatch.context() as patch:
        get_file = type(memory).get_file

        def breaking_down(self, path: str, target: str) -> None:
            if "sentences" in path:
                raise OSError("the connection is gone")
            get_file(self, path, target)

        patch.setattr(type(memory), "get_file", breaking_down)
        with pytest.raises(UserError, match="cannot be read: OSError: the connection is gone"):
            staged(ADDRESS, tmp_path / "staging", QUIET)
    copy = staged(ADDRESS, tmp_path / "staging", QUIET)
    Corpus(copy, load_tokenizer(copy / "tokenizer"))


def test_publishing_ends_with_the_manifest(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    put_file = type(memory).put_file
    put: list[str] = []

    def noting(self, path: str, target: str) -> None:
        put.append(target)
        put_file(self, path, target)

    monkeypatch.setattr(type(memory), "put_file", noting)
    publish(corpus, ADDRESS, QUIET)
    assert put[-1].endswith("corpus.json")
    assert len(put) == len(set(put)) > 7


def test_nothing_is_published_over_another_corpus(corpus: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/corpora/small/corpus.json", b"{}")
    with pytest.raises(UserError, match="small holds another corpus; remove it or choose"):
        publish(corpus, ADDRESS, QUIET)


def test_an_address_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no corpus .*prepare --output memory://bucket"):
        staged(ADDRESS, tmp_path, QUIET)


def test_of_several_processes_one_copies_and_the_others_wait(corpus: Path, tmp_path: Path) -> None:
    publish(corpus, ADDRESS, QUIET)
    copy = staged(ADDRESS, tmp_path / "staging", QUIET)
    copy.rename(tmp_path / "elsewhere")
    with ThreadPoolExecutor() as pool:
        with locked(copy.with_name(copy.name + ".lock"), ""):
            waiting = pool.submit(staged, ADDRESS, tmp_path / "staging", QUIET)
            time.sleep(0.3)
            assert not waiting.done()
            (tmp_path / "elsewhere").rename(copy)
        assert waiting.result() == copy


@pytest.mark.parametrize("address", ["gs://bucket/corpus", "nothing://bucket/corpus"])
def test_an_address_without_a_driver_is_refused(tmp_path: Path, address: str) -> None:
    if address.startswith("gs:") and importlib.util.find_spec("gcsfs"):
        pytest.skip("its driver is installed")
    with pytest.raises(UserError, match=rf"{address}' cannot be read: "):
        staged(address, tmp_path, QUIET)
