"""Training each family: what is learned, what decides it, what is refused."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.training import TYPES, Recipe, train_tokenizer

LECTURE = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}
# Words as people write them: letters with and without case and accents, syllables, marks.
TEXT = st.text("aBcé가나ㄱ中文.,!'-[]1 \n", max_size=30)
SENTENCES = [
    "She cooked pasta. It was delicious! She cooked it again.",
    "나는 파리를 사랑한다. 나는 파리에서 파스타를 먹었다.",
    "中文 naïve Éclair éclair ÉCLAIR",
]
# Sizes that the first of them supports.
SMALL = {"wordpiece": 40, "byte_bpe": 270, "unigram": 26}


def train(words: dict[str, int], vocab_size: int, **recipe: Any) -> Tokenizer:
    return train_tokenizer(words, Recipe(vocab_size=vocab_size, **recipe))


def train_on(texts: Sequence[str], **recipe: Any) -> Tokenizer:
    wanted = Recipe(**recipe)
    return train_tokenizer(count_chunks(texts, wanted.cut), wanted)


def vocab_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.token(token_id) for token_id in range(tokenizer.vocab_size)]


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text).tokens[1:-1]


# What is learned.


def test_bpe_learns_the_specification_s_vocabulary() -> None:
    """Specification 3.10: 14 symbols, after the special tokens."""
    tokenizer = train(LECTURE, 5 + 14, type="bpe")
    assert vocab_of(tokenizer) == [*Specials(), *"abcelmnostu", "st", "me", "men"]
    for text, pieces in {"mean": "me a n", "men": "men", "bear": "b e a [UNK]"}.items():
        assert pieces_of(tokenizer, text) == pieces.split()


def test_wordpiece_is_special_tokens_then_characters_then_merges() -> None:
    """By frequency (##s, ##t) comes first, with 4."""
    alphabet = sorted([*"bcm", *(f"##{character}" for character in "aelmnostu")])
    tokenizer = train(LECTURE, 5 + len(alphabet) + 1)
    assert vocab_of(tokenizer) == [*Specials(), *alphabet, "##st"]
    assert pieces_of(tokenizer, "Best menu") == ["b", "##e", "##st", "m", "##e", "##n", "##u"]


def test_wordpiece_by_likelihood_joins_what_occurs_only_together() -> None:
    """Specification 3.12: (##a, ##m) has 1 / (1 · 1), (##s, ##t) only 4 / (4 · 4)."""
    tokenizer = train(LECTURE, 5 + 12 + 1, score="likelihood")
    assert vocab_of(tokenizer)[-1] == "##am"


def test_byte_bpe_merges_bytes() -> None:
    tokenizer = train_on(["가 가 가나"], type="byte_bpe", vocab_size=5 + 256 + 3)
    assert tokenizer.vocab_size == 264
    assert tokenizer.encode("가").length == 2 + 1  # three bytes, two merges
    assert tokenizer.decode(tokenizer.encode("Ünknown 글자").ids) == "Ünknown 글자"


@pytest.mark.parametrize(
    ("recipe", "pieces"),
    [
        ({"type": "wordpiece", "vocab_size": 95}, 95),
        ({"type": "bpe", "vocab_size": 70}, 70),
        ({"type": "bpe", "vocab_size": 90, "continuation_prefix": "##"}, 90),
        ({"type": "byte_bpe", "vocab_size": 280}, 280),
        ({"type": "unigram", "vocab_size": 50}, 50),
        ({"type": "sentencepiece_bpe", "vocab_size": 80}, 80),
    ],
    ids=str,
)
def test_what_was_learned_from_is_never_unknown(recipe: dict[str, Any], pieces: int) -> None:
    tokenizer = train_on(SENTENCES, **recipe)
    assert tokenizer.vocab_size == pieces
    for sentence in SENTENCES:
        assert tokenizer.unk_id not in tokenizer.encode(sentence).ids


def test_frequent_words_become_one_piece() -> None:
    tokenizer = train({"the": 1000, "then": 10, "other": 10, "rare": 1}, 22)
    assert pieces_of(tokenizer, "the") == ["the"]
    assert len(pieces_of(tokenizer, "rare")) > 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT)
def test_pieces_of_a_word_spell_it(text: str) -> None:
    """With characters alone, `##` stands exactly before what continues a word."""
    try:
        tokenizer = train_on([text], vocab_size=5 + 60)
    except UserError as error:
        if "gives" not in str(error):
            return  # no word in it
        most = int(str(error).partition("gives ")[2].split()[0])
        tokenizer = train_on([text], vocab_size=most)
    (pieces,) = tokenizer.runtime.split([text], keep_specials=False)
    before = None
    for token, word in zip(pieces.tokens, pieces.word_ids, strict=True):
        assert token.startswith("##") == (word == before)
        before = word
    assert tokenizer.unk_id not in pieces.ids


# What decides it.


@pytest.mark.parametrize("type", TYPES)
def test_the_order_of_the_words_does_not_matter(type: str) -> None:
    words = {"lower": 5, " low": 7, "newest": 6, " widest": 3, "new": 6, "wide": 3}
    backwards = dict(reversed(words.items()))
    size = {"byte_bpe": 265, "unigram": 19}.get(type, 24)
    assert train(words, size, type=type).hash == train(backwards, size, type=type).hash


@pytest.mark.parametrize("type", TYPES)
def test_one_worker_and_four_give_the_same_files(type: str) -> None:
    recipe = Recipe(type=type, vocab_size=SMALL.get(type, 28), lowercase=True)
    one, four = (
        train_tokenizer(count_chunks(SENTENCES[:1] * 50, recipe.cut, workers=workers), recipe)
        for workers in (1, 4)
    )
    assert one.runtime.files() == four.runtime.files()


def test_rare_pairs_are_not_joined() -> None:
    words = {"ab": 3, "cd": 2}
    assert vocab_of(train(words, 10, min_frequency=3))[-1] == "ab"
    with pytest.raises(UserError, match="gives 10 pieces"):
        train(words, 11, min_frequency=3)
    assert vocab_of(train(words, 11, min_frequency=2))[-1] == "cd"


def test_the_alphabet_can_be_limited_to_the_most_frequent_characters() -> None:
    words = {"aab": 5, "abc": 1, "xyz": 1}
    tokenizer = train(words, 9, alphabet_limit=2, type="bpe")
    assert vocab_of(tokenizer) == [*Specials(), "a", "b", "ab", "aab"]
    assert pieces_of(tokenizer, "abc") == ["ab", "[UNK]"]


def test_ties_at_the_limit_go_by_code_point() -> None:
    assert "b" not in vocab_of(train({"b": 1, "a": 1}, 6, alphabet_limit=1))


@pytest.mark.parametrize("type", TYPES)
def test_slots_and_further_special_tokens_come_first(type: str) -> None:
    tokenizer = train_on(
        SENTENCES[:1],
        type=type,
        vocab_size=SMALL.get(type, 28) + 3,
        num_unused=2,
        special_tokens=["[NAME]"],
        lowercase=True,
    )
    assert vocab_of(tokenizer)[:8] == [*Specials(), "[NAME]", "[unused0]", "[unused1]"]
    assert tokenizer.ordinary_ids.tolist() == list(range(8, tokenizer.vocab_size))
    assert tokenizer.encode("it [NAME] it").ids.count(5) == 1
    (pieces,) = tokenizer.runtime.split(["it [NAME] [unused1]"], keep_specials=False)
    assert min(set(pieces.ids) - {tokenizer.unk_id}) >= 8


def test_text_rules_are_the_tokenizer_s() -> None:
    tokenizer = train({"Éclair": 1}, 12, lowercase=False, strip_accents=True)
    assert tokenizer.decode(tokenizer.encode("Éclair").ids) == "Eclair"


@pytest.mark.parametrize(
    ("recipe", "text", "decoded"),
    [
        ({}, "Éa 가", "éa 가"),
        ({"strip_accents": True}, "Éa", "ea"),
        ({"lowercase": False}, "Éa 가", "Éa 가"),
        ({"unicode_form": "nfkc"}, "ﬁ Ａ", "fi a"),
        ({"type": "byte_bpe"}, "Éa  가", "Éa  가"),
        ({"type": "byte_bpe", "lowercase": True, "unicode_form": "nfc"}, "E\u0301a", "éa"),
        ({"type": "unigram"}, "Éa  가", "éa 가"),
        ({"type": "unigram", "lowercase": False, "strip_accents": True}, "Éa", "Ea"),
        ({"type": "sentencepiece_bpe", "unicode_form": "nfkc"}, "ﬁ Ａ", "fi a"),
    ],
    ids=str,
)
def test_text_rules_hold_in_every_family(recipe: dict[str, Any], text: str, decoded: str) -> None:
    for vocab_size in range(300, 5, -1):  # the largest vocabulary that so little text gives
        try:
            tokenizer = train_on([text], vocab_size=vocab_size, **recipe)
        except UserError:
            continue
        break
    assert tokenizer.decode(tokenizer.encode(text).ids) == decoded


def test_words_too_long_to_encode_teach_nothing() -> None:
    tokenizer = train({"ab": 2, "xy" * 51: 100}, 8)
    assert vocab_of(tokenizer) == [*Specials(), "##b", "a", "ab"]


def test_every_piece_made_is_reported() -> None:
    made: list[int] = []
    train_tokenizer({"ab": 1, "abc": 1}, Recipe(vocab_size=10), made.append)
    assert made == [8, 1, 1]  # five special tokens and three characters at once


# What is refused.


@pytest.mark.parametrize("type", [type for type in TYPES if type != "byte_bpe"])
def test_no_word_is_refused(type: str) -> None:
    with pytest.raises(UserError, match="holds no word"):
        train({}, 100, type=type)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused_with_the_least() -> None:
    words = {"abc": 1, "bcd": 2}  # a b ##b ##c ##d
    with pytest.raises(UserError, match=r"vocab_size 9 is too small.* at least 10$"):
        train(words, 9)
    assert train(words, 10).vocab_size == 10
    with pytest.raises(UserError, match=r"vocab_size 260 is too small.* at least 261$"):
        train(words, 260, type="byte_bpe")


def test_a_vocabulary_larger_than_the_text_gives_is_refused_with_the_most() -> None:
    words = {"abc": 1, "bcd": 2}
    with pytest.raises(UserError, match=r"vocab_size 1000 is more .* gives 14 pieces"):
        train(words, 1000)
    assert train(words, 14).vocab_size == 14
    for size in (15, 2**31 - 1):
        with pytest.raises(UserError, match=f"vocab_size {size} is more"):
            train(words, size)


def test_a_special_token_that_is_a_word_is_refused() -> None:
    with pytest.raises(UserError, match="special token 'ab' is also a piece"):
        train({"ab": 2}, 9, special_tokens=["ab"])


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"min_frequency": 0}, "min_frequency is 0"),
        ({"num_unused": -1}, "num_unused is -1"),
        ({"alphabet_limit": 0}, "alphabet_limit is 0"),
        ({"type": "bpe", "score": "likelihood"}, "score is a choice of wordpiece"),
        ({"continuation_prefix": "##"}, "continuation_prefix is a choice of bpe"),
        ({"type": "unigram", "min_frequency": 2}, "SentencePiece knows no min_frequency"),
        ({"type": "byte_bpe", "alphabet_limit": 9}, "the 256 bytes"),
        ({"special_tokens": ["[MASK]"]}, r"special token '\[MASK\]' is repeated"),
        ({"special_tokens": ["a\nb"]}, "is repeated, empty or not printable"),
        ({"special_tokens": ["[A B]"]}, "is repeated, empty or not printable"),
        ({"special_tokens": [""]}, "is repeated, empty or not printable"),
        ({"special_tokens": ["\udcff"]}, "is repeated, empty or not printable"),
        ({"type": "bpe", "continuation_prefix": "a"}, "use marks alone"),
        ({"type": "bpe", "continuation_prefix": "\udcff"}, "use marks alone"),
        ({"num_unused": 10**12}, "unused slots leave no room in 100"),
        ({"vocab_size": 10**20}, "ids are 32 bits wide"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(recipe: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Recipe(**{"vocab_size": 100} | recipe)
