"""Google's text rules, against the facts about its code and against the default."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.google import GoogleRuntime
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime


def google(*pieces: str, lowercase: bool = True) -> Tokenizer:
    vocab = [*Specials(), *pieces]
    return Tokenizer(GoogleRuntime(vocab, Specials(), lowercase=lowercase, strip_accents=lowercase))


def words_of(text: str, *, lowercase: bool = True) -> list[str]:
    """The words of a text, by the piece that each would be looked up as."""
    runtime = google(lowercase=lowercase).runtime
    assert isinstance(runtime, GoogleRuntime)
    return [word.text for word in runtime.words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # A final sigma has a form of its own; before a full stop and a letter it is not final.
        ("ΟΔΟΣ", ["οδος"]),
        ("ΟΔΟΣ.Β", ["οδοσ", ".", "β"]),
        # İ becomes two characters, one of which is a mark.
        ("İstanbul", ["istanbul"]),
        # Private use and unassigned characters are kept.
        ("a\ue000b\U0001fadd", ["a\ue000b\U0001fadd"]),
        # Ideographs stand alone in eight blocks; not Hangul, Kana or Extension G.
        ("a中\U0002b820\U0002b81fb", ["a", "中", "\U0002b820", "\U0002b81f", "b"]),
        ("かな\U00030000", ["かな\U00030000"]),
        # Control characters vanish, white space splits; U+2028 by str.split.
        ("a\u200bb\u00ad\x85c\0\ufffd", ["abc"]),
        ("a\u2028b\u3000c\u00a0d", ["a", "b", "c", "d"]),
        # Accents go, and with them the marks of Japanese and Hindi, and Hangul falls apart.
        ("É が й", ["e", "か", "и"]),
        ("हिन्दी", ["हिनदी"]),
        ("한", [unicodedata.normalize("NFD", "한")]),
        # Punctuation: any ASCII mark, but no symbol outside ASCII; also what NFD makes.
        ("$5^2 €5 \u037e \u1fef", ["$", "5", "^", "2", "€5", ";", "`"]),
        ("[MASK]", ["[", "mask", "]"]),
        ("", []),
        (" \n ", []),
        ("\u0301", []),
    ],
)
def test_words_are_google_s(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_cased_text_is_not_normalized_at_all() -> None:
    text = "E\u0301cole Σ\u1fef"
    assert words_of(text, lowercase=False) == ["E\u0301cole", "Σ\u1fef"]


def test_words_of_up_to_200_characters_are_split() -> None:
    tokenizer = google("a", "##a")
    assert tokenizer.encode("a" * 200).length == 202
    assert tokenizer.encode("a" * 201).tokens[1:-1] == ["[UNK]"]


def test_special_tokens_are_ordinary_text() -> None:
    assert google("[", "mask", "]").encode("[MASK]").tokens[1:-1] == ["[", "mask", "]"]


def test_offsets_are_those_of_the_text_as_written() -> None:
    text = "I\u0307 \u200bcafe\u0301s, İx 中"
    tokenizer = google("i", "cafe", "##s", ",", "ix", "中")
    encoding = tokenizer.encode(text)
    assert encoding.tokens[1:-1] == ["i", "cafe", "##s", ",", "ix", "中"]
    spans = [text[slice(*span)] for span in encoding.offsets[1:-1]]
    assert spans == ["I", "cafe", "s", ",", "İx", "中"]
    assert encoding.word_ids[1:-1] == [0, 1, 1, 2, 3, 4]


def test_decoding_joins_pieces() -> None:
    tokenizer = google("pre", "##train", "##ing", ".")
    assert tokenizer.decode(tokenizer.encode("Pretraining.").ids) == "pretraining ."


# Letters of several scripts, marks and spaces on which both agree.
AGREED = st.text(
    "aBzÉéñöüßйї가힣がぱ中文हिन्द012 .,!?'\"-()[]#\t\n\xa0\u200b\u3000\u0301$€→“”–", max_size=40
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(AGREED, st.booleans())
def test_elsewhere_it_is_the_default(text: str, lowercase: bool) -> None:
    characters = sorted({part for word in words_of(text, lowercase=lowercase) for part in word})
    pieces = [*characters[1:], *(f"##{character}" for character in characters)]
    rules = TextRules(lowercase=lowercase, strip_accents=lowercase, unicode_form="none")
    default = Tokenizer(wordpiece_runtime([*Specials(), *pieces], rules.bert()))
    ours = google(*pieces, lowercase=lowercase).encode(text)
    theirs = default.encode(text)
    assert (ours.ids, ours.tokens, ours.word_ids) == (theirs.ids, theirs.tokens, theirs.word_ids)
    assert ours.offsets == theirs.offsets
