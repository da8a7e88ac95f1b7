"""The families and their text rules, on vocabularies made by hand."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import (
    bpe_runtime,
    byte_alphabet,
    byte_bpe_runtime,
    wordpiece_runtime,
)
from bert_jax.tokenizers.training import count_words


def text_rules(**changed: Any) -> TextRules:
    return TextRules(**{"lowercase": True, "strip_accents": False, "unicode_form": "nfc"} | changed)


def make_tokenizer(pieces: str | Sequence[str], **changed: Any) -> Tokenizer:
    pieces = pieces.split() if isinstance(pieces, str) else pieces
    return Tokenizer(wordpiece_runtime([*Specials(), *pieces], text_rules(**changed).bert()))


def make_byte_bpe(*merges: tuple[str, str]) -> Tokenizer:
    vocab = [*Specials(), *byte_alphabet(), *(left + right for left, right in merges)]
    rules = TextRules(lowercase=False, strip_accents=False, unicode_form="none")
    return Tokenizer(byte_bpe_runtime(vocab, merges, rules.plain(), Specials()))


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text).tokens[1:-1]


def words_of(text: str, **changed: Any) -> dict[str, int]:
    return count_words({text: 1}, text_rules(**changed).bert(), pre_tokenizers.BertPreTokenizer())


# WordPiece.


@pytest.mark.parametrize(
    ("vocab", "text", "pieces"),
    [
        # Specification 3.9: words, then pieces of words.
        ("game the i played walked enjoy", "I enjoyed the game", "i [UNK] the game"),
        ("game the i play walk ##ed enjoy", "I enjoyed the game", "i enjoy ##ed the game"),
        (
            "let us start pre ##train ##ing the model .",
            "Let us start pretraining the model.",
            "let us start pre ##train ##ing the model .",
        ),
        # 3.12: `st` of {a b c e l m o s t u st} and the same with ##.
        (
            "a b c e l m o s t u st ##a ##b ##c ##e ##l ##m ##o ##s ##t ##u ##st",
            "stem",
            "st ##e ##m",
        ),
        ("a b e m st ##e ##st", "best", "b ##e ##st"),
        # The longest piece first, even if the rest then fails.
        ("un unaff ##aff ##able ##ff", "unaffable", "unaff ##able"),
        ("ab abc ##cd", "abcd", "[UNK]"),
        # A word with a part that is unknown is unknown as a whole.
        ("b ##e ##a", "bear bea", "[UNK] b ##e ##a"),
        # Only a continuation continues, only a start starts.
        ("a b", "ab", "[UNK]"),
        ("##a b", "a b", "[UNK] b"),
    ],
)
def test_encoding_by_hand_made_vocabularies(vocab: str, text: str, pieces: str) -> None:
    assert pieces_of(make_tokenizer(vocab), text) == pieces.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't stop", "don ' t stop"),
        ("(a+b)=c", "( a + b ) = c"),
        ("3.14 $5", "3 . 14 $ 5"),
        ("“Hi”…", "“ hi ” …"),
        ("ah博推zz", "ah 博 推 zz"),
        ("漢字とかな", "漢 字 とかな"),
        ("밥을 먹었다.", "밥을 먹었다 ."),
        ("a\u200bb\u00adc", "abc"),
        ("a\tb\nc\u00a0d\u3000e", "a b c d e"),
        ("5€ 20°C", "5€ 20°c"),
        ("[MASK] ##x", "[ mask ] # # x"),
        ("", ""),
    ],
)
def test_words_are_split_by_bert_s_rules(text: str, words: str) -> None:
    expected = words.split()
    assert words_of(text) == {word: expected.count(word) for word in expected}


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "word"),
    [
        (True, False, "éclair"),
        (True, True, "eclair"),
        (False, False, "Éclair"),
        (False, True, "Eclair"),
    ],
)
def test_case_and_accents_are_switches_of_their_own(
    lowercase: bool, strip_accents: bool, word: str
) -> None:
    rules = {"lowercase": lowercase, "strip_accents": strip_accents}
    tokenizer = make_tokenizer(["éclair", "eclair", "Éclair", "Eclair"], **rules)
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "Éclair")
        assert pieces_of(tokenizer, text) == [word]
        assert words_of(text, **rules) == {word: 1}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_korean_syllables_stay_whole(form: str) -> None:
    tokenizer = make_tokenizer("한국 ##어 ##를 배우 ##다")
    text = unicodedata.normalize(form, "한국어를 배우다")
    assert pieces_of(tokenizer, text) == ["한국", "##어", "##를", "배우", "##다"]
    assert words_of(text) == {"한국어를": 1, "배우다": 1}


def test_japanese_and_hindi_keep_their_marks() -> None:
    for word in ("がぱ", "हिन्दी"):
        assert pieces_of(make_tokenizer([word]), word) == [word]


def test_words_of_more_than_100_characters_are_unknown() -> None:
    tokenizer = make_tokenizer("a ##a 가 ##가")
    for letter in "a가":
        assert pieces_of(tokenizer, letter * 100) == [letter, *[f"##{letter}"] * 99]
        assert pieces_of(tokenizer, letter * 101) == ["[UNK]"]


def test_a_piece_that_stands_twice_has_its_last_id() -> None:
    tokenizer = make_tokenizer("a b a c")
    assert tokenizer.encode("a b c").ids[1:-1] == [7, 6, 8]
    assert tokenizer.vocab_size == 9
    assert tokenizer.token(5) == ""


# Byte-pair encoding of characters.


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("mean", "me a n"), ("men", "men"), ("bear", "b e a [UNK]"), ("best menu", "b e st men u")],
)
def test_a_character_that_bpe_lacks_is_unknown_alone(text: str, pieces: str) -> None:
    """Specification 3.10, with its vocabulary of 14."""
    merges = [("s", "t"), ("m", "e"), ("me", "n")]
    vocab = [*Specials(), *"abcelmnostu", "st", "me", "men"]
    runtime = bpe_runtime(vocab, merges, text_rules().bert(), Specials(), continuation_prefix="")
    assert pieces_of(Tokenizer(runtime), text) == pieces.split()


def test_a_prefix_says_which_pieces_continue_a_word() -> None:
    merges = [("m", "##e"), ("me", "##n")]
    vocab = [*Specials(), "m", "##e", "##n", "##u", "me", "men"]
    runtime = bpe_runtime(vocab, merges, text_rules().bert(), Specials(), continuation_prefix="##")
    tokenizer = Tokenizer(runtime)
    assert pieces_of(tokenizer, "menu men") == ["men", "##u", "men"]
    assert tokenizer.decode(tokenizer.encode("menu men").ids) == "menu men"


# Byte-pair encoding of bytes.


@pytest.mark.parametrize(
    ("text", "expected"), [("best", "62 65 73 74"), ("你好", "e4 bd a0 e5 a5 bd")]
)
def test_without_merges_pieces_are_bytes(text: str, expected: str) -> None:
    """Specification 3.11; ids are those of the bytes, after the special tokens."""
    tokenizer = make_byte_bpe()
    values = [token_id - len(Specials()) for token_id in tokenizer.encode(text).ids[1:-1]]
    assert bytes(values).hex(" ") == expected


def test_the_byte_alphabet_is_the_library_s() -> None:
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert [byte_alphabet().index(c) for c in "a~Ā"] == [97, 126, 0]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text())
def test_byte_level_bpe_gives_any_text_back(text: str) -> None:
    assume(not any(token in text for token in Specials()))  # these are no text
    tokenizer = make_byte_bpe(("a", "b"), ("Ġ", "t"), ("ë", "ķ"), ("ëķ", "ľ"))
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids) == text
    assert tokenizer.unk_id not in encoding.ids


def test_a_word_has_the_space_before_it() -> None:
    assert pieces_of(make_byte_bpe(("Ġ", "t")), "t t") == ["t", "Ġt"]
