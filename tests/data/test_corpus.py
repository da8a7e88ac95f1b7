"""The corpus folder: what went in comes out, and nothing damaged or half-made is read."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.corpus import Corpus
from bert_jax.data.corpus_writer import write_corpus
from bert_jax.data.sources import Document
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime


def make_tokenizer(*, vocab_size: int = 0, lowercase: bool = True) -> Tokenizer:
    """Digits and their continuations, a full stop, and as many more pieces as wanted."""
    digits = [str(digit) for digit in range(10)]
    vocab = [*Specials(), ".", *digits, *(f"##{digit}" for digit in digits)]
    vocab += [f"w{number}" for number in range(vocab_size - len(vocab))]
    rules = TextRules(lowercase=lowercase, strip_accents=False, unicode_form="nfc")
    return Tokenizer(wordpiece_runtime(vocab, rules.bert()))


def make_documents(num: int = 100) -> list[Document]:
    """Document n has a paragraph of three sentences and one of a sentence, all of numbers."""
    return [[f"{n}. 1{n * n} {n}. {n * 7}!", f"{n * 12345} 2"] for n in range(num)]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return make_tokenizer()


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A corpus of several shards."""
    folder = tmp_path / "corpus"
    write_corpus(
        folder, make_documents(), tokenizer, source="numbers", shard_tokens=300, block_characters=1
    )
    return folder


def read_all(corpus: Corpus) -> tuple[list[int], list[bool]]:
    ids, continues = corpus.read(np.arange(corpus.num_tokens)[:, None])
    return ids[:, 0].tolist(), continues[:, 0].tolist()


# Round trip.


def test_what_goes_in_comes_out_of_several_shards(folder: Path, tokenizer: Tokenizer) -> None:
    corpus = Corpus(folder, tokenizer)
    assert len(corpus.manifest["shards"]) >= 5
    sentences = [
        sentence
        for n in range(100)
        for sentence in (f"{n}.", f"1{n * n} {n}.", f"{n * 7}!", f"{n * 12345} 2")
    ]
    encoded = CorpusEncoder(tokenizer).encode(sentences)
    ids, continues = read_all(corpus)
    assert ids == encoded.ids.tolist()
    assert continues == encoded.continues.tolist()
    assert np.diff(corpus.sentences.offsets).tolist() == encoded.lengths.tolist()
    assert corpus.sentences.documents.tolist() == list(range(0, 401, 4))
    assert corpus.num_documents == 100
    assert corpus.num_tokens == len(ids)


def test_a_continuing_piece_says_so(folder: Path, tokenizer: Tokenizer) -> None:
    ids, continues = read_all(Corpus(folder, tokenizer))
    assert continues == [tokenizer.token(token_id).startswith("##") for token_id in ids]
    assert 0 < sum(continues) < len(continues)


def test_tokens_are_read_at_any_places_in_any_order(folder: Path, tokenizer: Tokenizer) -> None:
    corpus = Corpus(folder, tokenizer)
    ids, continues = (np.array(values) for values in read_all(corpus))
    places = np.random.default_rng(0).integers(0, corpus.num_tokens, (20, 50))
    read_ids, read_continues = corpus.read(places)
    np.testing.assert_array_equal(read_ids, ids[places])
    np.testing.assert_array_equal(read_continues, continues[places])


def test_shards_end_with_a_document(folder: Path, tokenizer: Tokenizer) -> None:
    corpus = Corpus(folder, tokenizer)
    ends = np.cumsum([shard["tokens"] for shard in corpus.manifest["shards"]])
    borders = corpus.sentences.offsets[corpus.sentences.documents]
    assert set(ends.tolist()) <= set(borders.tolist())
    longest = np.diff(borders).max()
    for shard in corpus.manifest["shards"][:-1]:
        assert 300 <= shard["tokens"] < 300 + longest


def test_the_size_of_shards_changes_nothing_else(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_corpus(tmp_path / "one", make_documents(), tokenizer, source="numbers")
    several, one = Corpus(folder, tokenizer), Corpus(tmp_path / "one", tokenizer)
    assert len(one.manifest["shards"]) == 1
    assert read_all(several) == read_all(one)
    assert several.sentences.offsets.tolist() == one.sentences.offsets.tolist()


def test_the_same_text_gives_the_same_bytes(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_corpus(
        tmp_path / "again",
        iter(make_documents()),
        tokenizer,
        source="numbers",
        shard_tokens=300,
        block_characters=1,
    )
    assert Corpus(tmp_path / "again", tokenizer).hash == Corpus(folder, tokenizer).hash


def test_the_manifest_counts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = [["1 2. 3", "what 4"], ["5 who! why"]]
    write_corpus(tmp_path / "corpus", documents, tokenizer, source="text:a.txt")
    manifest = Corpus(tmp_path / "corpus", tokenizer).manifest
    counts = {name: manifest[name] for name in ("documents", "sentences", "tokens", "unknown")}
    # `!` is not in the vocabulary.
    assert counts == {"documents": 2, "sentences": 4, "tokens": 10, "unknown": 4}
    assert manifest["sources"] == [{"source": "text:a.txt", "documents": 2, "tokens": 10}]
    assert manifest["characters"] == 22
    assert manifest["lengths"] == {"3": 2}  # of 5 and of 5 tokens: 4 to 7 have three bits
    assert manifest["scripts"] == {"LATIN": {"words": 3, "unknown": 3}}
    assert manifest["vocab_size"] == tokenizer.vocab_size


def test_documents_without_a_token_are_dropped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = [["1"], [], [""], [" \n\t"], ["\u200b"], ["2", "", "3"]]
    write_corpus(tmp_path / "corpus", documents, tokenizer, source="")
    corpus = Corpus(tmp_path / "corpus", tokenizer)
    assert np.diff(corpus.sentences.documents).tolist() == [1, 2]


def test_no_document_gives_an_empty_corpus(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_corpus(tmp_path / "corpus", [], tokenizer, source="")
    corpus = Corpus(tmp_path / "corpus", tokenizer)
    assert (corpus.num_documents, corpus.num_tokens) == (0, 0)
    assert len(corpus.train_documents) == len(corpus.held_out_documents) == 0


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_are_as_wide_as_the_vocabulary_needs(
    tmp_path: Path, vocab_size: int, dtype: type[np.unsignedinteger]
) -> None:
    tokenizer = make_tokenizer(vocab_size=vocab_size)
    last = tokenizer.token(vocab_size - 1)
    write_corpus(tmp_path / "corpus", [[f"{last} 1"]], tokenizer, source="")
    assert np.load(tmp_path / "corpus" / "tokens-00000.npy").dtype == dtype
    ids, _ = read_all(Corpus(tmp_path / "corpus", tokenizer))
    assert ids == [vocab_size - 1, *tokenizer.encode("1").ids[1:-1]]


@pytest.mark.parametrize("length", [1, 254, 255, 256, 509, 510, 511, 70_000])
def test_sentences_and_documents_are_of_any_length(
    tmp_path: Path, tokenizer: Tokenizer, length: int
) -> None:
    documents = [["1 " * length, "2"], ["3"] * length, ["4"]]
    write_corpus(tmp_path / "corpus", documents, tokenizer, source="")
    corpus = Corpus(tmp_path / "corpus", tokenizer)
    assert np.diff(corpus.sentences.offsets).tolist() == [length, 1, *[1] * length, 1]
    assert np.diff(corpus.sentences.documents).tolist() == [2, length, 1]
    ids, _ = read_all(corpus)
    assert [tokenizer.token(token_id) for token_id in ids] == [
        *["1"] * length,
        "2",
        *["3"] * length,
        "4",
    ]


# What is held out.


@pytest.mark.parametrize(
    ("num", "held_out"),
    [
        (0, []),
        (1, []),
        (2, []),
        (3, []),
        (4, [2, 3]),
        (20, [18, 19]),
        (39, [37, 38]),
        (40, [19, 39]),
        (100, [19, 39, 59, 79, 99]),
    ],
)
def test_every_20th_document_is_held_out(
    tmp_path: Path, tokenizer: Tokenizer, num: int, held_out: list[int]
) -> None:
    """Where that is fewer than two, the last two if two remain."""
    write_corpus(tmp_path / "corpus", make_documents(num), tokenizer, source="")
    corpus = Corpus(tmp_path / "corpus", tokenizer)
    assert corpus.held_out_documents.tolist() == held_out
    assert sorted([*corpus.train_documents.tolist(), *held_out]) == list(range(num))


def test_tokens_of_some_documents_are_counted(folder: Path, tokenizer: Tokenizer) -> None:
    corpus = Corpus(folder, tokenizer)
    lengths = [
        sum(encoding.length - 2 for encoding in tokenizer.encode_batch(document))
        for document in make_documents()
    ]
    assert corpus.count_tokens(np.array([3, 50, 99])) == lengths[3] + lengths[50] + lengths[99]
    assert corpus.count_tokens(np.arange(100)) == corpus.num_tokens
    assert corpus.count_tokens(np.arange(0)) == 0


# What is refused.


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "name", ["tokens-00000", "continues-00001", "sentences-00002", "documents-00003"]
)
def test_a_damaged_shard_is_named(folder: Path, tokenizer: Tokenizer, name: str) -> None:
    path = folder / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path} is damaged .*remove the folder"):
        Corpus(folder, tokenizer)


@pytest.mark.parametrize("name", ["tokens-00000", "documents-00003"])
def test_a_missing_shard_is_named(folder: Path, tokenizer: Tokenizer, name: str) -> None:
    path = folder / f"{name}.npy"
    path.unlink()
    with pytest.raises(UserError, match=rf"{path} is missing; remove the folder"):
        Corpus(folder, tokenizer)


def test_another_tokenizer_is_refused_with_both_hashes(folder: Path, tokenizer: Tokenizer) -> None:
    other = make_tokenizer(lowercase=False)
    assert other.hash != tokenizer.hash
    with pytest.raises(UserError, match=rf"{tokenizer.hash[:12]}.*{other.hash[:12]}"):
        Corpus(folder, other)


def test_a_future_format_is_refused(folder: Path, tokenizer: Tokenizer) -> None:
    change_manifest(folder, format_version=3)
    with pytest.raises(UserError, match="has corpus format 3, this program reads 2; update"):
        Corpus(folder, tokenizer)


def test_an_old_format_is_refused(folder: Path, tokenizer: Tokenizer) -> None:
    change_manifest(folder, format_version=1)
    with pytest.raises(UserError, match="has corpus format 1, this program reads 2; remove"):
        Corpus(folder, tokenizer)


def test_ids_outside_the_vocabulary_are_refused(folder: Path, tokenizer: Tokenizer) -> None:
    """They would read NaN rows of the embedding table."""
    path = folder / "tokens-00001.npy"
    tokens = np.load(path)
    tokens[7] = tokenizer.vocab_size
    np.save(path, tokens)
    shards = json.loads((folder / "corpus.json").read_text())["shards"]
    shards[1]["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    change_manifest(folder, shards=shards)
    with pytest.raises(UserError, match="ids outside the vocabulary"):
        Corpus(folder, tokenizer)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"holds no corpus \(corpus.json is missing\)"):
        Corpus(tmp_path, tokenizer)


@pytest.mark.parametrize("contents", ["", '{"format_version": 1'])
def test_a_damaged_manifest_is_refused(folder: Path, tokenizer: Tokenizer, contents: str) -> None:
    (folder / "corpus.json").write_text(contents)
    with pytest.raises(UserError, match=r"corpus\.json"):
        Corpus(folder, tokenizer)


# Interruption.


def interrupted(num: int) -> Iterator[Document]:
    yield from make_documents(num)
    raise KeyboardInterrupt


def test_an_interrupted_writer_leaves_nothing_that_looks_finished(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = tmp_path / "corpus"
    with pytest.raises(KeyboardInterrupt):
        write_corpus(folder, interrupted(40_000), tokenizer, source="", shard_tokens=100_000)
    assert not folder.exists()
    assert list(tmp_path.rglob("tokens-*.npy"))  # shards had been written
    assert not list(tmp_path.rglob("corpus.json"))
    for left in tmp_path.iterdir():
        with pytest.raises(UserError, match="holds no corpus"):
            Corpus(left, tokenizer)


def test_a_writer_starts_afresh_after_an_interruption(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = tmp_path / "corpus"
    with pytest.raises(KeyboardInterrupt):
        write_corpus(folder, interrupted(40_000), tokenizer, source="", shard_tokens=100_000)
    write_corpus(folder, make_documents(10), tokenizer, source="")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert len(list(folder.iterdir())) == 6  # one shard of four arrays, manifest, tokenizer
    assert Corpus(folder, tokenizer).num_documents == 10


def test_an_interrupted_writer_leaves_the_old_corpus_alone(
    folder: Path, tokenizer: Tokenizer
) -> None:
    before = Corpus(folder, tokenizer).hash
    with pytest.raises(KeyboardInterrupt):
        write_corpus(folder, interrupted(40_000), tokenizer, source="", shard_tokens=100_000)
    assert Corpus(folder, tokenizer).hash == before
