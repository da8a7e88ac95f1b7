"""How well a vocabulary fits a text, and what is warned of."""

from typing import Any

import pytest

from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.coverage import measure, warnings_of
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import byte_alphabet, byte_bpe_runtime, wordpiece_runtime

PIECES = "the cat sat ##s , . ' don t 나는 파리 ##를".split()


def make_tokenizer(*, strip_accents: bool = False, unicode_form: str = "nfc") -> Tokenizer:
    rules = TextRules(lowercase=True, strip_accents=strip_accents, unicode_form=unicode_form)
    return Tokenizer(wordpiece_runtime([*Specials(), *PIECES], rules.bert()))


def test_a_word_is_what_white_space_separates_without_marks_at_its_ends() -> None:
    coverage = measure(make_tokenizer(), ["The cats, (the dog) don't.", "— sat —"])
    # The | cats | the | dog | don't | sat
    assert coverage.num_words == 6
    assert coverage.word_tokens == 1 + 2 + 1 + 1 + 3 + 1
    assert coverage.whole_words == 3  # not dog, which is [UNK]
    assert coverage.unknown.total() == 1
    assert coverage.num_bytes == 26 + 11
    # the cat ##s , [UNK] the [UNK] [UNK] don ' t . | [UNK] sat [UNK]
    assert coverage.num_tokens == 15
    assert coverage.tokens_per_word == pytest.approx(9 / 6)
    assert coverage.bytes_per_token == pytest.approx(37 / 15)
    assert coverage.whole_share == pytest.approx(3 / 6)
    assert coverage.unknown_share == pytest.approx(1 / 6)


def test_words_are_counted_by_script() -> None:
    coverage = measure(make_tokenizer(), ["나는 파리를 мир 中文 (the) हिन्दी 1999"])
    assert coverage.words == {
        "HANGUL": 2,
        "CYRILLIC": 1,
        "CJK": 1,
        "LATIN": 1,
        "DEVANAGARI": 1,
        "DIGIT": 1,
    }
    assert {script for script, count in coverage.unknown.items() if count} == {
        *("CYRILLIC", "CJK", "DEVANAGARI", "DIGIT"),
    }


def test_bytes_of_one_character_are_several_tokens() -> None:
    rules = TextRules(lowercase=False, strip_accents=False, unicode_form="none")
    vocab = [*Specials(), *byte_alphabet()]
    tokenizer = Tokenizer(byte_bpe_runtime(vocab, [], rules.plain(), Specials()))
    coverage = measure(tokenizer, ["가 ab"])
    assert (coverage.num_words, coverage.word_tokens, coverage.num_tokens) == (2, 5, 6)


def test_nothing_has_no_shares() -> None:
    coverage = measure(make_tokenizer(), [])
    assert coverage.tokens_per_word == coverage.bytes_per_token == coverage.unknown_share == 0


def warnings(texts: list[str], **rules: Any) -> list[str]:
    tokenizer = make_tokenizer(**rules)
    coverage = measure(tokenizer, texts)
    return warnings_of(tokenizer, coverage.words, coverage.unknown)


def test_unknown_words_are_warned_of_by_script() -> None:
    texts = ["the cat sat " * 30, "мир дом кот " * 10, "나는 파리를 " * 20 + "서울 "]
    (warning,) = warnings(texts)
    assert "Cyrillic 100.0%, Hangul 2.4%;" in warning


def test_a_vocabulary_that_fits_is_no_matter_of_warning() -> None:
    assert warnings(["the cat sat " * 30, "나는 파리를 " * 100]) == []
    assert warnings(["the cat мир " * 10]) == []  # too few to say
    assert warnings([]) == []


@pytest.mark.parametrize("rules", [{"strip_accents": True}, {"unicode_form": "nfd"}])
def test_hangul_that_falls_apart_is_warned_of(rules: dict) -> None:
    found = warnings(["나는 파리를 " * 20], **rules)
    assert any("takes Hangul syllables apart" in warning for warning in found)
    assert not any("Hangul syll" in warning for warning in warnings(["the cat"], **rules))
