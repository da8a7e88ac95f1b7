"""SentencePiece: learning a model, with the text rules inside it."""

import re
import unicodedata
from collections import Counter
from functools import cache

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Pieces, Specials
from bert_jax.tokenizers.sentencepiece import SentencePieceRuntime
from bert_jax.tokenizers.sentencepiece_training import train_sentencepiece

each_type = pytest.mark.parametrize("type", ["unigram", "sentencepiece_bpe"])
KOREAN = "나는 한국어를 배운다. 한국어는 재미있다! 한국 사람은 한국어를 말한다."
ENGLISH = "the lower and the lowest newest newer widest wide new low aaa aaaaa aa aab"
PROSE = f"{KOREAN} {ENGLISH} naïve café 日本語が 👍🏽 [x] - -- --- "

RULES = [
    TextRules(lowercase=lowercase, strip_accents=strip_accents, unicode_form=form)
    for form, lowercase, strip_accents in (
        ("nfc", True, False),
        ("nfc", False, True),
        ("nfkc", False, False),
        ("nfkd", True, False),
        ("nfd", False, False),
        ("none", True, True),
    )
]
NFC = RULES[0]


def train(
    words: dict[str, int],
    vocab_size: int,
    type: str = "sentencepiece_bpe",
    *,
    further: tuple[str, ...] = (),
    **options: object,
) -> SentencePieceRuntime:
    options = {"rules": NFC, "alphabet_limit": None, "vocab_size": vocab_size} | options
    return train_sentencepiece(words, type=type, special_tokens=[*Specials(), *further], **options)


def library(runtime: SentencePieceRuntime) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=runtime.files()["spm.model"])


def split(runtime: SentencePieceRuntime, text: str, *, keep_specials: bool = False) -> Pieces:
    (pieces,) = runtime.split([text], keep_specials=keep_specials)
    return pieces


# Text rules.


def expected(text: str, rules: TextRules) -> str:
    """By Python's tables, in other steps than the library's."""
    white = {c for c in text if c in "\t\n\r▁" or unicodedata.category(c).startswith("Z")}
    gone = {c for c in text if c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cf")} - white
    text = "".join(" " if c in white else c for c in text if c not in gone)
    if rules.unicode_form != "none":
        text = unicodedata.normalize(rules.unicode_form.upper(), text)
    if rules.strip_accents:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c)[0] != "M")
    if rules.lowercase:
        text = "".join(c.lower() for c in text)  # no rule looks beyond a character: Σ is σ
    return "".join("▁" + word for word in text.split(" ") if word)


@cache
def normalizer_of(rules: TextRules) -> sentencepiece.SentencePieceProcessor:
    return library(train({"a": 1}, 7, rules=rules))


# Whole characters: a lone accent may come to stand beside others out of order.
UNITS = [
    *"aeouAEO 가각힣ㄱㅏがカｶÅİßẞΣςﬁＡ①½ñ中😀\t\u00a0\u3000\u2028\ufffd.-▁",
    *("\u00e9", "\u1ead", "\u01d6", "\u1f85", "\u212b", "\u01fa", "\u0958", "\u0939\u093f"),
    *("\u1112", "\u1112\u1161\u11ab", "\ud7a3", "J\u030c", "ｶﾞ", "Ａ\u0301", "ＯＯ"),
    *(" \u200d", "👩\u200d👩"),
]
FORMS = st.sampled_from(["NFC", "NFD", None])


@pytest.mark.parametrize("rules", RULES, ids=str)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.lists(st.tuples(st.sampled_from(UNITS), FORMS)))
def test_the_model_itself_applies_the_rules(
    rules: TextRules, data: list[tuple[str, str | None]]
) -> None:
    text = "".join(unicodedata.normalize(form, unit) if form else unit for unit, form in data)
    assert normalizer_of(rules).normalize(text) == expected(text, rules)


@pytest.mark.parametrize(
    ("text", "plain", "wide"),
    [
        (unicodedata.normalize("NFD", "한국어 각"), "한국어▁각", None),
        ("ㅎㅏㄴ", "ㅎㅏㄴ", "하ᄂ"),
        ("Caf\u00e9 cafe\u0301 が か\u3099", "café▁café▁が▁が", None),
        ("İstanbul Straße ΣΑΣ", "i\u0307stanbul▁straße▁σασ", None),
        ("ﬁn ＡＢ ｶﾞ Ａ\u0301", "ﬁn▁ａｂ▁ｶﾞ▁ａ\u0301", "fin▁ab▁ガ▁á"),
        ("ậ a\u0323\u0302 a\u0302\u0323 ạ\u0302 â\u0323", "▁".join(["ậ"] * 5), None),
        ("\u1fd3 \u212b\u0301", "ΐ▁ǻ", None),
        ("👩\u200d👩\u200d👧 a\u00adb\u200bc\x07", "👩👩👧▁abc", None),
        ("\ufeffa\tb\r\n\u3000c\u2028d▁e \ufffd", "a▁b▁c▁d▁e", None),
        ("\u0e33 \u00b4", "\u0e33▁\u00b4", "\u0e4d\u0e32▁\u0301"),
        # What a table of short sequences cannot do, see `train_sentencepiece`.
        ("e\u200d\u0301 a\u0332\u0301", "e\u0301▁a\u0332\u0301", None),
    ],
)
def test_text_rules_on_hard_strings(text: str, plain: str, wide: str | None) -> None:
    for form, result in (("nfc", plain), ("nfkc", wide or plain)):
        rules = TextRules(lowercase=True, strip_accents=False, unicode_form=form)
        assert normalizer_of(rules).normalize(text) == "▁" + result


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_every_character_alone_follows_the_rules(rules: TextRules) -> None:
    category = unicodedata.ucd_3_2_0.category  # on characters as old as this libraries agree
    old = [chr(i) for i in range(1, 0xF0000) if category(chr(i)) not in ("Cn", "Cs")]
    assert normalizer_of(rules).normalize(old) == [expected(character, rules) for character in old]


# Learning a model.


@each_type
def test_the_same_words_give_the_same_bytes_in_any_order(type: str) -> None:
    words = Counter(PROSE.split())
    backwards = dict(reversed(words.items()))
    first, again, turned = (train(order, 60, type) for order in (words, words, backwards))
    assert first.files() == again.files() == turned.files()


@each_type
def test_every_word_that_was_learned_from_is_known(
    type: str, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime = train(Counter(PROSE.split()), 64, type)
    assert "[UNK]" not in split(runtime, PROSE).tokens
    assert len(runtime.vocab) == 64
    assert capfd.readouterr() == ("", "")


def test_words_are_learned_under_the_rules() -> None:
    words = {" 한국": 9, unicodedata.normalize("NFD", " 한국"): 9, "CAFE\u0301": 9, "café": 9}
    runtime = train(words, 18)
    assert {"▁한국", "▁café"} < set(runtime.vocab)
    assert not any(unicodedata.combining(character) for character in "".join(runtime.vocab))


def test_words_that_teach_nothing() -> None:
    odd = ["a\tb", "a\nb", "\0b", "\t", "\u200b", "▁", "▅", "", "a[MASK]", "[unused0]b"]
    cased = TextRules(lowercase=False, strip_accents=False, unicode_form="nfc")
    runtime = train(dict.fromkeys(odd, 1), 9, rules=cased, further=("[unused0]",))
    assert set(runtime.vocab) == {*Specials(), "[unused0]", "▁", "a", "b"}


def test_text_without_spaces_teaches_however_long_it_is() -> None:
    runtime = train({"나무" * 5_000: 1, "a": 1}, 11)
    assert "나무나무" in runtime.vocab


def test_rare_characters_are_left_out_with_their_words() -> None:
    runtime = train({"ab": 5, "ac": 2, "ad": 2, "xe": 1, "Áb": 1}, 9, alphabet_limit=3)
    assert set(runtime.vocab) == {*Specials(), "▁", "a", "b", "c"}
    assert split(runtime, "bad").tokens[-1] == "[UNK]"


# What is refused.


@each_type
@pytest.mark.parametrize("words", [{}, {"\u200b": 3}, {"▁": 1}])
def test_no_word_is_refused(type: str, words: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"^the text holds no word .*check the source$"):
        train(words, 100, type, alphabet_limit=5)


@each_type
def test_a_vocabulary_smaller_than_the_alphabet_is_refused_with_the_least(type: str) -> None:
    words = {"abc": 1, "bcd": 2}
    for size in (1, 4, 5, 9):
        with pytest.raises(UserError, match=rf"^vocab_size {size} is too small.* at least 10$"):
            train(words, size, type)
    assert len(train(words, 10, type).vocab) == 10


@each_type
def test_a_vocabulary_larger_than_the_text_gives_is_refused_with_the_most(type: str) -> None:
    words = {"lower": 5, "low": 7, "newest": 6, "widest": 3}
    with pytest.raises(UserError, match=r"^vocab_size 1000 is more .* \d+ pieces; ask") as refusal:
        train(words, 1000, type)
    most = int(re.findall(r"\d+", str(refusal.value))[1])
    assert len(train(words, most, type).vocab) == most
    with pytest.raises(UserError, match=f"vocab_size {most + 1} is more .* {most} pieces"):
        train(words, most + 1, type)
