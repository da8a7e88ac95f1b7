"""WordPiece: text rules, encoding by hand-made vocabularies, and learning one."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.files import SPECIAL_TOKENS
from bert_jax.tokenizers.wordpiece import count_words, train_wordpiece, wordpiece_tokenizer

# Words as people write them: letters with and without case and accents, syllables, marks.
TEXT = st.text("aBcé가나ㄱ中文.,!'-[]1 \n", max_size=30)


def make_tokenizer(
    pieces: str | Sequence[str], *, lowercase: bool = True, strip_accents: bool = False
) -> Tokenizer:
    pieces = pieces.split() if isinstance(pieces, str) else pieces
    return wordpiece_tokenizer(
        [*SPECIAL_TOKENS, *pieces], lowercase=lowercase, strip_accents=strip_accents
    )


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text).tokens[1:-1]


def train(words: dict[str, int], vocab_size: int) -> Tokenizer:
    return train_wordpiece(words, vocab_size=vocab_size, lowercase=True, strip_accents=False)


def vocab_of(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.token(token_id) for token_id in range(tokenizer.vocab_size)]


# Encoding.


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
    assert count_words([text], lowercase=True, strip_accents=False) == Counter(words.split())


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
        assert count_words([text], **rules) == {word: 1}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_korean_syllables_stay_whole(form: str) -> None:
    tokenizer = make_tokenizer("한국 ##어 ##를 배우 ##다")
    text = unicodedata.normalize(form, "한국어를 배우다")
    assert pieces_of(tokenizer, text) == ["한국", "##어", "##를", "배우", "##다"]
    assert count_words([text], lowercase=True, strip_accents=False) == {"한국어를": 1, "배우다": 1}


def test_japanese_and_hindi_keep_their_marks() -> None:
    for word in ("がぱ", "हिन्दी"):
        assert pieces_of(make_tokenizer([word]), word) == [word]


def test_words_of_more_than_100_characters_are_unknown() -> None:
    tokenizer = make_tokenizer("a ##a 가 ##가")
    for letter in "a가":
        assert pieces_of(tokenizer, letter * 100) == [letter, *[f"##{letter}"] * 99]
        assert pieces_of(tokenizer, letter * 101) == ["[UNK]"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT)
def test_pieces_of_a_word_spell_it(text: str) -> None:
    rules = {"lowercase": True, "strip_accents": False}
    characters = sorted(set("".join(count_words([text], **rules))))
    tokenizer = make_tokenizer([*characters, *(f"##{c}" for c in characters)])
    ((ids, continues),) = tokenizer.encode_corpus([text])
    words: Counter[str] = Counter()
    word = ""
    for token_id, goes_on in zip(ids, continues, strict=True):
        piece = tokenizer.token(token_id)
        assert goes_on == piece.startswith("##")
        if not goes_on and word:
            words[word] += 1
            word = ""
        word += piece.removeprefix("##")
    if word:
        words[word] += 1
    assert words == count_words([text], **rules)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(TEXT, max_size=4))
def test_words_are_counted_over_all_texts(texts: list[str]) -> None:
    rules = {"lowercase": True, "strip_accents": False}
    alone = (count_words([text], **rules) for text in texts)
    assert count_words(texts, **rules) == sum(alone, Counter())
    assert count_words([" ".join(texts)], **rules) == count_words(texts, **rules)


# Learning a vocabulary.


def test_a_vocabulary_is_special_tokens_then_characters_then_merges() -> None:
    """Specification 3.12's words; of the pairs counted, (##s, ##t) comes first with 4."""
    words = {"cost": 2, "best": 2, "menu": 1, "men": 1, "camel": 1}
    starts, rest = "bcm", "aelmnostu"
    alphabet = sorted([*starts, *(f"##{character}" for character in rest)])
    tokenizer = train(words, vocab_size=5 + len(alphabet) + 1)
    assert vocab_of(tokenizer) == [*SPECIAL_TOKENS, *alphabet, "##st"]
    assert pieces_of(tokenizer, "Best menu") == ["b", "##e", "##st", "m", "##e", "##n", "##u"]


def test_every_word_that_was_learned_from_can_be_encoded() -> None:
    text = "She cooked pasta. It was delicious! 나는 파리를 사랑한다. 中文 naïve"
    words = count_words([text], lowercase=True, strip_accents=False)
    tokenizer = train(words, vocab_size=70)
    assert "[UNK]" not in tokenizer.encode(text).tokens
    assert tokenizer.vocab_size == 70


def test_the_order_of_the_words_does_not_matter() -> None:
    words = {"lower": 5, "low": 7, "newest": 6, "widest": 3, "new": 6, "wide": 3}
    backwards = dict(reversed(words.items()))
    assert train(words, 25).hash == train(backwards, 25).hash


def test_frequent_words_become_one_piece() -> None:
    tokenizer = train({"the": 1000, "then": 10, "other": 10, "rare": 1}, vocab_size=22)
    assert pieces_of(tokenizer, "the") == ["the"]
    assert len(pieces_of(tokenizer, "rare")) > 1


def test_words_too_long_to_encode_teach_nothing() -> None:
    tokenizer = train({"ab": 2, "xy" * 51: 100}, vocab_size=8)
    assert vocab_of(tokenizer) == [*SPECIAL_TOKENS, "##b", "a", "ab"]


def test_text_rules_are_the_tokenizer_s() -> None:
    words = count_words(["Éclair"], lowercase=False, strip_accents=True)
    tokenizer = train_wordpiece(words, vocab_size=12, lowercase=False, strip_accents=True)
    assert tokenizer.decode(tokenizer.encode("Éclair").ids) == "Eclair"


def test_every_piece_made_is_reported() -> None:
    made: list[int] = []
    train_wordpiece(
        {"ab": 1, "abc": 1},
        vocab_size=10,
        lowercase=True,
        strip_accents=False,
        on_pieces=made.append,
    )
    assert made == [8, 1, 1]  # five special tokens and three characters at once


# What is refused.


def test_no_word_is_refused() -> None:
    with pytest.raises(UserError, match="holds no word"):
        train({}, vocab_size=100)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused_with_the_least() -> None:
    words = {"abc": 1, "bcd": 2}  # a b ##b ##c ##d
    with pytest.raises(UserError, match=r"vocab_size 9 is too small.* at least 10$"):
        train(words, vocab_size=9)
    assert train(words, vocab_size=10).vocab_size == 10


def test_a_vocabulary_larger_than_the_text_gives_is_refused_with_the_most() -> None:
    words = {"abc": 1, "bcd": 2}
    with pytest.raises(UserError, match=r"vocab_size 1000 is more .* gives 14 pieces"):
        train(words, vocab_size=1000)
    assert train(words, vocab_size=14).vocab_size == 14
    with pytest.raises(UserError, match="vocab_size 15 is more"):
        train(words, vocab_size=15)


@pytest.mark.parametrize("missing", SPECIAL_TOKENS)
def test_a_vocabulary_without_a_special_token_is_refused(missing: str) -> None:
    vocab = [token for token in [*SPECIAL_TOKENS, "a"] if token != missing]
    with pytest.raises(UserError, match=rf"lacks \{missing}"):
        wordpiece_tokenizer(vocab, lowercase=True, strip_accents=False)
