"""The published vocabularies against references by Hugging Face's and Google's own code."""

import json
from pathlib import Path

import pytest

from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def shared(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath.parent / "shared" / "data"


@pytest.fixture(scope="module")
def uncased(shared: Path) -> Path:
    return shared / "vocab" / "bert-base-uncased"


@pytest.fixture(scope="module")
def published(uncased: Path) -> Tokenizer:
    return load_tokenizer(uncased)


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, list[dict]]:
    """Strings through both."""
    path = shared / "reference" / "tokenizer" / "bert-base-uncased.json"
    reference = json.loads(path.read_text(encoding="utf-8"))
    assert len(reference["rows"]) == 765
    return reference


def test_i_love_paris_has_the_published_ids(published: Tokenizer) -> None:
    """Specification 1.2."""
    assert published.encode("I love Paris").ids == [101, 1045, 2293, 3000, 102]
    assert published.vocab_size == 30_522
    assert (published.pad_id, published.unk_id, published.mask_id) == (0, 100, 103)
    assert len(published.ordinary_ids) == 30_522 - 5 - 994


@pytest.mark.parametrize("file", ["", "tokenizer.json", "vocab.txt"])
def test_ids_and_spans_are_hugging_face_s(uncased: Path, reference: dict, file: str) -> None:
    tokenizer = load_tokenizer(uncased / file)
    texts = [row["text"] for row in reference["rows"]]
    for row, encoding in zip(reference["rows"], tokenizer.encode_batch(texts), strict=True):
        assert encoding.ids == [101, *row["hf_ids"], 102], row["text"]
        assert [list(span) for span in encoding.offsets[1:-1]] == row["hf_offsets"], row["text"]


@pytest.mark.parametrize("file", ["", "tokenizer.json", "vocab.txt"])
def test_ids_are_google_s_under_the_switch(uncased: Path, reference: dict, file: str) -> None:
    tokenizer = load_tokenizer(uncased / file, compat="google")
    texts = [row["text"] for row in reference["rows"]]
    for row, encoding in zip(reference["rows"], tokenizer.encode_batch(texts), strict=True):
        assert encoding.ids == [101, *row["google_ids"], 102], row["text"]
        if row["google_ids"] == row["hf_ids"]:
            assert [list(span) for span in encoding.offsets[1:-1]] == row["hf_offsets"]
    encoded = CorpusEncoder(tokenizer).encode(texts)
    assert encoded.ids.tolist() == [i for row in reference["rows"] for i in row["google_ids"]]


def test_a_corpus_has_google_s_ids_but_for_two_strings(
    published: Tokenizer, reference: dict
) -> None:
    """Special tokens in a corpus are text, as in Google's code."""
    different = []
    for row in reference["rows"]:
        ids = CorpusEncoder(published).encode([row["text"]]).ids.tolist()
        if ids != row["google_ids"]:
            different.append(row["text"][:3])
    # A word of more than 100 characters, and a private-use character.
    assert sorted(different) == ["aaa", "\ue000pr"]


def test_pairs_are_hugging_face_s(published: Tokenizer, reference: dict) -> None:
    for row in reference["pairs"]:
        encoding = published.encode(row["a"], row["b"])
        assert encoding.ids == row["ids"]
        assert encoding.segment_ids == row["type_ids"]
        assert encoding.tokens == row["tokens"]


def test_the_multilingual_vocabulary_keeps_case_and_korean(shared: Path) -> None:
    folder = shared / "vocab" / "bert-base-multilingual-cased"
    for path in (folder, folder / "vocab.txt"):
        tokenizer = load_tokenizer(path)
        assert tokenizer.vocab_size == 119_547
        assert tokenizer.decode(tokenizer.encode("Paris 한국어").ids) == "Paris 한국어"
