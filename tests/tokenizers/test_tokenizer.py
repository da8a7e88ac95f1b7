"""The `Tokenizer`: what a text and a pair become, and what ids mean."""

from collections.abc import Sequence

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.files import as_google
from bert_jax.tokenizers.normalize import TextRules, UnicodeForm
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

PIECES = (
    "paris is a beautiful city i love pre ##train ##ing . [ ] mask pad 파리 ##를 나 ##는".split()
)
PAD, UNK, CLS, SEP, MASK = range(5)


def of_vocab(vocab: Sequence[str], unicode_form: UnicodeForm = "nfc") -> Tokenizer:
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form=unicode_form)
    return Tokenizer(wordpiece_runtime(vocab, rules.bert()))


def make_tokenizer() -> Tokenizer:
    return of_vocab([*Specials(), *PIECES])


def corpus_pieces(text: str) -> list[str]:
    tokenizer = make_tokenizer()
    return [tokenizer.token(token_id) for token_id in CorpusEncoder(tokenizer).encode([text]).ids]


# Encoding and decoding.


def test_a_text_is_cls_text_sep() -> None:
    encoding = make_tokenizer().encode("I love Paris")
    assert encoding.tokens == ["[CLS]", "i", "love", "paris", "[SEP]"]
    assert encoding.ids == [CLS, 10, 11, 5, SEP]
    assert encoding.segment_ids == [0] * 5
    assert encoding.offsets == [(0, 0), (0, 1), (2, 6), (7, 12), (0, 0)]
    assert encoding.word_ids == [None, 0, 1, 2, None]


def test_a_pair_is_cls_text_sep_pair_sep() -> None:
    """Specification 1.2."""
    encoding = make_tokenizer().encode("Paris is a beautiful city", "I love Paris")
    expected = "[CLS] paris is a beautiful city [SEP] i love paris [SEP]"
    assert encoding.tokens == expected.split()
    assert encoding.segment_ids == [0] * 7 + [1] * 4
    assert encoding.offsets[7:] == [(0, 1), (2, 6), (7, 12), (0, 0)]
    assert encoding.word_ids == [None, 0, 1, 2, 3, 4, None, 0, 1, 2, None]


def test_pieces_know_their_word_and_their_characters() -> None:
    text = "나는  pretraining."
    encoding = make_tokenizer().encode(text)
    assert encoding.tokens[1:-1] == ["나", "##는", "pre", "##train", "##ing", "."]
    assert encoding.word_ids[1:-1] == [0, 0, 1, 1, 1, 2]
    assert [text[slice(*span)] for span in encoding.offsets[1:-1]] == [
        *("나", "는", "pre", "train", "ing", "."),
    ]


def test_nothing_is_cls_sep() -> None:
    assert make_tokenizer().encode("").tokens == ["[CLS]", "[SEP]"]


def test_special_tokens_in_a_text_are_special() -> None:
    encoding = make_tokenizer().encode("Paris is [MASK].")
    assert encoding.ids == [CLS, 5, 6, MASK, 15, SEP]


def test_special_tokens_in_a_corpus_are_ordinary_text() -> None:
    assert corpus_pieces("Paris is [MASK].") == ["paris", "is", "[", "mask", "]", "."]
    assert corpus_pieces("a[SEP]a [pad]") == ["a", "[", "[UNK]", "]", "a", "[", "pad", "]"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*Specials(), "paris", "pretraining", " ", "[", "##a", "é"])))
def test_a_corpus_never_holds_a_special_token_but_unknown(parts: list[str]) -> None:
    assert not set(corpus_pieces("".join(parts))) & (set(Specials()) - {"[UNK]"})


def test_a_corpus_says_which_pieces_continue_a_word() -> None:
    tokenizer = make_tokenizer()
    sentences = ["나는 파리를 pretraining.", "", "a a", "ing pretraining"]
    encoded = CorpusEncoder(tokenizer).encode(sentences)
    assert encoded.lengths.tolist() == [8, 0, 2, 4]
    assert encoded.ids.tolist() == [
        token_id for text in sentences for token_id in tokenizer.encode(text).ids[1:-1]
    ]
    assert encoded.continues.tolist() == [
        *[False, True, False, True, False, True, True, False],
        *[False, False],
        *[False, False, True, True],
    ]


def test_many_texts_are_encoded_as_each_alone() -> None:
    tokenizer = make_tokenizer()
    texts, pairs = ["I love Paris", "", "[MASK] é"], ["a city", "나는", ""]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts, pairs, max_length=6) == [
        tokenizer.encode(text, pair, max_length=6) for text, pair in zip(texts, pairs, strict=True)
    ]
    assert tokenizer.encode_batch([]) == []
    with pytest.raises(UserError, match="3 texts and 2 to pair them with"):
        tokenizer.encode_batch(texts, pairs[:2])


# Cutting to a length.


def library() -> tokenizers.Tokenizer:
    """The library's own, with BERT's frame."""
    content = make_tokenizer().runtime.files()["tokenizer.json"].decode()
    return tokenizers.Tokenizer.from_str(content)


@pytest.mark.parametrize("max_length", range(3, 14))
def test_the_longer_text_is_cut_first_as_the_library_does(max_length: int) -> None:
    tokenizer, expected = make_tokenizer(), library()
    expected.enable_truncation(max_length)
    for first in range(8):
        encoding = tokenizer.encode("a " * first, max_length=max_length)
        assert encoding.ids == expected.encode("a " * first).ids
        assert encoding.length <= max_length
        for second in range(8):
            pair = ("a " * first, "city " * second)
            encoding = tokenizer.encode(*pair, max_length=max_length)
            assert encoding.ids == expected.encode(*pair).ids
            assert encoding.segment_ids == expected.encode(*pair).type_ids
            assert encoding.offsets == expected.encode(*pair).offsets
            assert encoding.word_ids == expected.encode(*pair).word_ids


@pytest.mark.parametrize("max_length", range(3, 14))
def test_google_s_code_takes_from_the_second_of_two_as_long(max_length: int) -> None:
    tokenizer = Tokenizer(as_google(of_vocab([*Specials(), *PIECES], "none").runtime))
    for first in range(8):
        for second in range(8):
            lengths = [first, second]
            while sum(lengths) > max_length - 3:  # _truncate_seq_pair of run_classifier.py
                lengths[0 if lengths[0] > lengths[1] else 1] -= 1
            tokens = tokenizer.encode("a " * first, "city " * second, max_length).tokens
            assert [tokens.count("a"), tokens.count("city")] == lengths


def test_a_length_without_room_for_the_frame_is_refused() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.encode("a", max_length=2).tokens == ["[CLS]", "[SEP]"]
    with pytest.raises(UserError, match=r"max_length is 2; .* alone take 3"):
        tokenizer.encode("a", "a", max_length=2)


# Odd text.


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UserError, match=r"lone surrogate \(U\+DFFF\) at character 1"):
        make_tokenizer().encode("a\udfff")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a\0 city", ["a", "city"]),
        ("ci\x01ty\x7f", ["city"]),
        ("\ufeffcity\ufffd", ["city"]),
        ("a\x0bcity", ["[UNK]"]),
    ],
)
def test_control_characters_are_deleted(text: str, pieces: list[str]) -> None:
    assert make_tokenizer().encode(text).tokens[1:-1] == pieces


@pytest.mark.parametrize("text", ["a" * 10_000_000, "a " * 500_000, "[" * 100_000])
def test_long_lines_take_no_quadratic_time(text: str) -> None:
    encoding = make_tokenizer().encode(text)
    assert encoding.length == 2 + (1 if text[1] == "a" else len(text.replace(" ", "")))


def test_decoding_leaves_out_what_is_not_text() -> None:
    tokenizer = make_tokenizer()
    encoding = tokenizer.encode("Paris is [MASK]", "I love pretraining qqq.")
    ids = [*encoding.ids, PAD, PAD]
    assert tokenizer.decode(ids) == "paris is [MASK] i love pretraining [UNK]."
    assert tokenizer.decode([]) == ""


def test_decoding_korean_joins_its_pieces() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.decode(tokenizer.encode("나는 파리를 love").ids) == "나는 파리를 love"


def test_an_id_outside_the_vocabulary_has_no_text() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.token(5) == "paris"
    assert tokenizer.token(tokenizer.vocab_size) == ""


# What is in the vocabulary.


def test_special_ids_are_read_from_the_vocabulary() -> None:
    vocab = ["a", "[MASK]", "[SEP]", "b", "[CLS]", "[UNK]", "[PAD]"]
    tokenizer = of_vocab(vocab)
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id)
    assert (*ids, tokenizer.mask_id) == (6, 5, 4, 2, 1)
    assert tokenizer.encode("a [MASK] q").ids == [4, 0, 1, 5, 2]
    assert tokenizer.vocab_size == 7
    assert tokenizer.ordinary_ids.tolist() == [0, 3]


def test_unused_slots_are_not_ordinary() -> None:
    vocab = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "a"]
    tokenizer = of_vocab(vocab)
    assert tokenizer.ordinary_ids.tolist() == [7, 8]
