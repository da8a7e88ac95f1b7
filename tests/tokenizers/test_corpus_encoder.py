"""Encoding a corpus gives the ids of encoding each sentence, in every family."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, corpus_encoder
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.files import as_google
from bert_jax.tokenizers.training import Recipe, train_tokenizer

TRAINED_ON = (
    "the cat sat on the mat . don't stop , ( now ) ? 나는 파리를 사랑한다 中文 école = ΟΔΟΣ οδος "
    "pad mask cls"
)
SENTENCES = st.lists(
    st.text(
        "the catson .,'()=?\t\n\x01\x85\xa0\u3000\u2028\u0338\u0301가나는파리를中文éÉΣσ😀[]",
        max_size=40,
    )
    | st.sampled_from(
        [
            "[MASK]",
            "a[SEP]b [PAD]",
            "[CLS] the cat",
            "  the  cat ",
            "ΟΔΟΣ.Β",
            "a=\u0338b",
            "a \u0301  b",
            "中\ufe00文。",
        ]
    ),
    max_size=6,
)


RECIPES: dict[str, dict[str, Any]] = {
    "wordpiece": {"type": "wordpiece", "vocab_size": 80},
    "nfkd": {"type": "wordpiece", "vocab_size": 80, "unicode_form": "nfkd", "strip_accents": True},
    "google": {"type": "wordpiece", "vocab_size": 80, "unicode_form": "none"},
    "bpe": {"type": "bpe", "vocab_size": 70},
    "byte_bpe": {"type": "byte_bpe", "vocab_size": 300},
    "byte_bpe without accents": {"type": "byte_bpe", "vocab_size": 300, "strip_accents": True},
    "unigram": {"type": "unigram", "vocab_size": 46},
    "sentencepiece_bpe": {"type": "sentencepiece_bpe", "vocab_size": 70},
}


@cache
def tokenizer_of(family: str) -> Tokenizer:
    words = TRAINED_ON.split()
    counts = dict.fromkeys([*words, *(f" {word}" for word in words)], 2)
    tokenizer = train_tokenizer(counts, Recipe(**RECIPES[family]))
    return Tokenizer(as_google(tokenizer.runtime)) if family == "google" else tokenizer


@pytest.mark.parametrize("family", RECIPES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(batches=st.lists(SENTENCES, max_size=3))
def test_ids_are_those_of_whole_sentences(family: str, batches: list[list[str]]) -> None:
    tokenizer = tokenizer_of(family)
    encoder = CorpusEncoder(tokenizer)
    for sentences in batches:
        encoded = encoder.encode(sentences)
        whole = tokenizer.runtime.split(sentences, keep_specials=False)
        assert encoded.ids.tolist() == [i for pieces in whole for i in pieces.ids]
        assert encoded.lengths.tolist() == [len(pieces.ids) for pieces in whole]
        assert encoded.continues.tolist() == [
            place > 0 and pieces.word_ids[place] == pieces.word_ids[place - 1]
            for pieces in whole
            for place in range(len(pieces.ids))
        ]


def test_most_families_are_cut_into_words() -> None:
    """Without that, each sentence is looked up as a whole, and hardly ever found."""
    cuts = {family: tokenizer_of(family).runtime.cut for family in RECIPES}
    assert cuts == {
        "wordpiece": "ideographs",
        "nfkd": "ideographs",
        "google": "spaces",
        "bpe": "ideographs",
        "byte_bpe": "spaces",
        "byte_bpe without accents": "nowhere",
        "unigram": "nowhere",
        "sentencepiece_bpe": "spaces",
    }


@pytest.mark.parametrize("limit", ["_MAX_CHUNKS", "_MAX_BYTES"])
def test_memory_is_bounded_by_beginning_anew(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_encoder, limit, 20)
    tokenizer = tokenizer_of("wordpiece")
    encoder = CorpusEncoder(tokenizer)
    seen: list[int] = []
    for number in range(200):
        encoded = encoder.encode([f"the cat {number}"])
        seen.append(encoder.num_chunks)
        (pieces,) = tokenizer.runtime.split([f"the cat {number}"], keep_specials=False)
        np.testing.assert_array_equal(encoded.ids, pieces.ids)
    assert max(seen) < 40


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UserError, match=r"lone surrogate \(U\+D800\) at character 2"):
        CorpusEncoder(tokenizer_of("bpe")).encode(["fine", "a \ud800"])


@pytest.mark.parametrize("make", [lambda: [], lambda: [""], lambda: ["", " ", "\x01"]])
def test_nothing_gives_nothing(make: Callable[[], list[str]]) -> None:
    encoded = CorpusEncoder(tokenizer_of("wordpiece")).encode(make())
    assert len(encoded.ids) == len(encoded.continues) == 0
    assert encoded.lengths.tolist() == [0] * len(make())
