"""Words of a segmenter, for text without spaces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_jax.console import Console
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.segmentation import SegmentingEncoder, load_segmenter
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.training import Recipe, train_tokenizer

CHINESE = "我们在北京大学学习自然语言处理。"
WORDS = ["我们", "在", "北京大学", "学习", "自然语言", "处理", "。"]


def known_words(sentence: str) -> Iterator[str]:
    """The longest known word at every place; elsewhere a character each. A toy of a segmenter."""
    place = 0
    while place < len(sentence):
        fitting = [word for word in WORDS if sentence.startswith(word, place)]
        word = max(fitting, key=len, default=sentence[place])
        place += len(word)
        yield word


def upper(sentence: str) -> list[str]:
    return sentence.upper().split()


def spaces(sentence: str) -> list[str]:
    return sentence.split()


def train(text: str, type_: Any, vocab_size: int) -> Tokenizer:
    recipe = Recipe(type=type_, vocab_size=vocab_size)
    return train_tokenizer(count_chunks([text], recipe.cut), recipe)


def words_of(tokenizer: Tokenizer, segmenter, sentence: str) -> list[str]:
    """The text that was joined into words."""
    encoded = SegmentingEncoder(tokenizer, segmenter).encode([sentence])
    tokens = [tokenizer.token(token_id) for token_id in encoded.ids]
    words: list[str] = []
    for token, continues in zip(tokens, encoded.continues, strict=True):
        if continues:
            words[-1] += token
        else:
            words.append(token)
    return words


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Every ideograph a token."""
    recipe = Recipe(type="wordpiece", vocab_size=5 + len(set(CHINESE)) + 2)
    return train_tokenizer(count_chunks([CHINESE, "ab"], recipe.cut), recipe)


def test_ideographs_are_joined_to_words(tokenizer: Tokenizer) -> None:
    assert words_of(tokenizer, known_words, CHINESE) == WORDS
    # Without it, each is a word of its own.
    assert not CorpusEncoder(tokenizer).encode([CHINESE]).continues.any()


def test_ids_and_lengths_are_those_without_a_segmenter(tokenizer: Tokenizer) -> None:
    sentences = [CHINESE, "", "学习 ab。", "北京大学" * 3]
    with_words = SegmentingEncoder(tokenizer, known_words).encode(sentences)
    without = CorpusEncoder(tokenizer).encode(sentences)
    np.testing.assert_array_equal(with_words.ids, without.ids)
    np.testing.assert_array_equal(with_words.lengths, without.lengths)


def test_sentences_share_no_word(tokenizer: Tokenizer) -> None:
    encoded = SegmentingEncoder(tokenizer, known_words).encode(["北京大学", "北京大学"])
    assert encoded.continues.tolist() == [False, True, True, True] * 2


def test_words_are_counted_by_script(tokenizer: Tokenizer) -> None:
    encoded = SegmentingEncoder(tokenizer, known_words).encode([CHINESE, "学习 ab 外"])
    assert encoded.words == {"CJK": 8, "LATIN": 2}  # the toy makes a word of each Latin letter
    assert encoded.unknown_words == {"CJK": 1}


@pytest.mark.parametrize(
    ("type_", "vocab_size"),
    [("wordpiece", 40), ("bpe", 30), ("byte_bpe", 270), ("unigram", 27), ("sentencepiece_bpe", 32)],
)
def test_words_between_spaces_are_those_of_every_family(type_: str, vocab_size: int) -> None:
    text = "unhappiness is hard the cat runs a cat ran the unhappy cat is the hard one to be"
    tokenizer = train(text, type_, vocab_size)
    ours = SegmentingEncoder(tokenizer, spaces).encode([text, "the cat runs"])
    theirs = CorpusEncoder(tokenizer).encode([text, "the cat runs"])
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.continues, theirs.continues)
    assert ours.continues.any()


def broken(sentence: str) -> list[str]:
    raise RuntimeError(f"no model for {len(sentence)} characters")


def numbers(sentence: str) -> range:
    return range(len(sentence))


@pytest.mark.parametrize(
    ("segmenter", "why"),
    [
        (broken, "'ab cd': RuntimeError: no model"),
        (numbers, "gave 0, which"),
    ],
)
def test_a_segmenter_that_fails_is_named(tokenizer: Tokenizer, segmenter: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        SegmentingEncoder(tokenizer, segmenter).encode(["ab cd"])


def test_words_that_are_not_the_sentence_s_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"gave the word 'AB', which does not stand in .* 'ab"):
        SegmentingEncoder(tokenizer, upper).encode(["ab cd"])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no_such_package:cut", "No module named"),
        ("json:no_such_function", "has no attribute"),
        ("json", "has no attribute ''"),
        ("", "Empty module name"),
        ("math:pi", "is no function but float"),
    ],
)
def test_a_name_that_is_no_function_is_refused(name: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        load_segmenter(name)


def test_a_corpus_is_prepared_with_it_in_several_processes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join([CHINESE] * 3))
    text = Text(
        source=f"text:{tmp_path}/a.txt", segmenter="tests.data.test_segmentation:known_words"
    )
    vocabulary = Vocabulary(vocab_size=5 + len(set(CHINESE)))
    _, corpus = prepare(tmp_path / "c", text, vocabulary, Console(quiet=True), workers=2)
    _, continues = corpus.read(np.arange(corpus.num_tokens)[None])
    starts = np.cumsum([0, *map(len, WORDS)])[:-1]
    expected = ~np.isin(np.arange(len(CHINESE)), starts)
    assert continues[0].tolist() == expected.tolist() * 3
    assert corpus.manifest["segmenter"] == text.segmenter
    assert load_tokenizer(tmp_path / "c" / "tokenizer").vocab_size == vocabulary.vocab_size
