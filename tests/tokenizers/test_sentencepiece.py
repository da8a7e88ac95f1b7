"""SentencePiece: splitting by a model, special tokens, decoding."""

import io
import re
import unicodedata
from collections import Counter
from functools import cache
from itertools import product

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
TEXT = st.text("abelnow 한국어는.-—가\u0301é\t\u3000\u00a0\u200b\0👍▁[]MASK", max_size=40)

NFC = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")


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


@cache
def prose_runtime(type: str) -> SentencePieceRuntime:
    return train(Counter(PROSE.split()), 64, type, further=("[unused0]",))


def made_elsewhere(text: str, **options: object) -> SentencePieceRuntime:
    """A model by the library alone, as others publish them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text]),
        model_writer=model,
        minloglevel=2,
        vocab_size=300,
        hard_vocab_limit=False,
        **{"model_type": "bpe", "pad_id": 3, "control_symbols": ["<mask>"]} | options,
    )
    return SentencePieceRuntime(model.getvalue())


def library(runtime: SentencePieceRuntime) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=runtime.files()["spm.model"])


def split(runtime: SentencePieceRuntime, text: str, *, keep_specials: bool = False) -> Pieces:
    (pieces,) = runtime.split([text], keep_specials=keep_specials)
    return pieces


def spans(text: str, pieces: Pieces) -> list[str]:
    return [text[begin:end] for begin, end in pieces.offsets]


# Splitting.


def test_pieces_of_a_text() -> None:
    runtime = train({"low": 9, "lower": 4, "한국": 3}, 16)
    text = "lower  low한국 x"
    pieces = split(runtime, text)
    assert pieces.tokens == ["▁low", "e", "r", "▁low", "한", "국", "▁", "[UNK]"]
    assert pieces.ids == [runtime.vocab[token] for token in pieces.tokens]
    assert spans(text, pieces) == ["low", "e", "r", "low", "한", "국", "", "x"]
    assert [begin for begin, _ in pieces.offsets] == [0, 3, 4, 7, 10, 11, 13, 13]
    assert pieces.word_ids == [0, 0, 0, 1, 1, 1, 2, 2]


def test_offsets_count_characters_of_the_text_as_it_was_typed() -> None:
    text = unicodedata.normalize("NFD", "한국어를 naïve") + " 👍🏽日本語"
    pieces = split(prose_runtime("unigram"), text)
    typed = spans(text, pieces)
    assert "".join(typed) == text.replace(" ", "")
    for token, part in zip(pieces.tokens, typed, strict=True):
        assert token.removeprefix("▁") == unicodedata.normalize("NFC", part)


@each_type
@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXT)
def test_spans_and_words_run_through_the_text(type: str, text: str) -> None:
    runtime = prose_runtime(type)
    pieces = split(runtime, text, keep_specials=True)
    assert [runtime.vocab[token] for token in pieces.tokens] == pieces.ids
    assert not any(part[:1].isspace() for part in spans(text, pieces))
    places = [place for span in pieces.offsets for place in span]
    assert places == sorted(places)
    assert pieces.word_ids == sorted(pieces.word_ids)
    assert set(pieces.word_ids) == set(range(len(set(pieces.word_ids))))


@each_type
@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXT)
def test_ids_are_the_library_s(type: str, text: str) -> None:
    runtime = prose_runtime(type)
    assert split(runtime, text).ids == library(runtime).encode(text.replace("\0", "\1"))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXT)
def test_a_text_cut_at_spaces_has_the_same_pieces(text: str) -> None:
    runtime = prose_runtime("sentencepiece_bpe")
    assert runtime.cut == "spaces"
    parts = runtime.split(re.split(r"(?<=\S)(?= )", text), keep_specials=False)
    assert split(runtime, text).ids == [token_id for part in parts for token_id in part.ids]


def test_a_unigram_text_is_not_cut_for_equal_splits_depend_on_the_text_before() -> None:
    """`aa a` and `a aa` score the same; the library's choice changes within a long text."""
    words = ["".join(word) for size in range(1, 8) for word in product("ab", repeat=size)]
    runtime = train(dict.fromkeys(words, 1), 25, "unigram")
    assert runtime.cut == "nowhere"
    alone = [token_id for word in words for token_id in split(runtime, word).ids]
    assert alone != library(runtime).encode(" ".join(words))  # else it could be cut
    assert split(runtime, " ".join(words)).ids == library(runtime).encode(" ".join(words))


@pytest.mark.parametrize(
    "options",
    [
        {"user_defined_symbols": ["low wide"]},
        {"user_defined_symbols": ["low▁wide"]},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"treat_whitespace_as_suffix": True},
        {"split_by_whitespace": False},
    ],
)
def test_a_model_that_looks_beyond_spaces_is_not_cut_there(options: dict[str, object]) -> None:
    runtime = made_elsewhere("low wide low wide low wide", **options)
    assert runtime.cut == "nowhere"
    for text in ("low wide", " low  wide", "wide lowe "):
        assert split(runtime, text).ids == library(runtime).encode(text)


# Special tokens.


@each_type
def test_special_tokens_are_kept_whole_on_request(type: str) -> None:
    runtime = prose_runtime(type)
    text = "the [MASK] low[SEP]new  [MASK][MASK]"
    kept = split(runtime, text, keep_specials=True)
    the, low, new = (split(runtime, part).ids for part in ("the ", " low", "new  "))
    mask, sep = runtime.vocab["[MASK]"], runtime.vocab["[SEP]"]
    assert kept.ids == [*the, mask, *low, sep, *new, mask, mask]
    assert "".join(spans(text, kept)) == text.replace(" ", "")
    for token, span, word in zip(kept.tokens, spans(text, kept), kept.word_ids, strict=True):
        assert token not in runtime.specials or (token, kept.word_ids.count(word)) == (span, 1)


MARKUP = st.sampled_from([*Specials(), "[unused0]", "<s>", "</s>", "<unk>", "<0x41>"])


@each_type
@settings(max_examples=100, deadline=None, derandomize=True)
@given(parts=st.lists(TEXT | MARKUP))
def test_ordinary_text_yields_no_reserved_id_but_unknown(type: str, parts: list[str]) -> None:
    runtime = prose_runtime(type)
    ids = split(runtime, "".join(parts)).ids
    assert runtime.reserved_ids.intersection(ids) <= {runtime.vocab["[UNK]"]}


def test_a_special_token_that_is_user_defined_does_not_come_out_of_text() -> None:
    runtime = made_elsewhere("low mask <", user_defined_symbols=["<mask>"], control_symbols=[])
    assert split(runtime, "low<mask>").tokens[-1] == "<unk>"
    assert split(runtime, "low<mask>", keep_specials=True).tokens[-1] == "<mask>"


def test_reserved_are_special_tokens_and_slots() -> None:
    runtime = train(Counter(ENGLISH.split()), 40, further=("[unused0]", "[ENTITY]"))
    assert runtime.reserved_ids == set(range(7))
    assert list(runtime.vocab)[:7] == [*Specials(), "[unused0]", "[ENTITY]"]
    assert list(runtime.vocab.values()) == list(range(40))


def test_bytes_are_not_reserved() -> None:
    runtime = made_elsewhere("low lower", byte_fallback=True)
    assert runtime.reserved_ids == {runtime.vocab[token] for token in runtime.specials}
    pieces = split(runtime, "low 한")
    assert pieces.tokens[-3:] == ["<0xED>", "<0x95>", "<0x9C>"]
    assert pieces.word_ids[-4:] == [1, 1, 1, 1]
    assert pieces.offsets[-1] == (4, 5)
    assert runtime.decode(pieces.ids) == "low 한"


def test_special_tokens_go_by_usual_names_and_must_be_there() -> None:
    runtime = made_elsewhere("low", pad_piece="[PAD]")
    assert runtime.specials == Specials("[PAD]", "<unk>", "<s>", "</s>", "<mask>")
    runtime = made_elsewhere("low", unk_piece="<?>", bos_piece="[CLS]", eos_piece="<sep>")
    assert runtime.specials == Specials("<pad>", "<?>", "[CLS]", "<sep>", "<mask>")
    with pytest.raises(UserError, match=r"^the vocabulary lacks \[PAD\], \[MASK\], which BERT"):
        made_elsewhere("low", pad_id=-1, control_symbols=[])
    with pytest.raises(UserError, match=r"lacks \[SEP\], which"):
        SentencePieceRuntime(runtime.files()["spm.model"], {"sep": "[SEP]"})


@each_type
def test_a_model_says_what_it_is(type: str) -> None:
    content = prose_runtime(type).files()
    again = SentencePieceRuntime(content["spm.model"])
    assert (again.type, again.files()) == (type, content)
    assert again.vocab == prose_runtime(type).vocab


def test_what_is_no_model_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    content = prose_runtime("unigram").files()["spm.model"]
    for damaged in (b"", b"no model", b"\0" * 100, content[: len(content) // 2]):
        with pytest.raises(UserError, match=r"^this is not a SentencePiece model, .*$"):
            SentencePieceRuntime(damaged)
    assert capfd.readouterr() == ("", "")
    for model_type in ("word", "char"):
        with pytest.raises(UserError, match="neither a unigram nor a BPE model"):
            made_elsewhere("low lower", model_type=model_type)


@each_type
def test_decoding_gives_the_text_back(type: str) -> None:
    runtime = prose_runtime(type)
    for text in (KOREAN, ENGLISH, "café 👍🏽 日本語が", ""):
        assert runtime.decode(split(runtime, text).ids) == text
    pieces = split(runtime, "[CLS]the [MASK] low[MASK]한국 ~[SEP]", keep_specials=True)
    assert runtime.decode(pieces.ids) == "[CLS] the [MASK] low [MASK] 한국 [UNK] [SEP]"
    assert runtime.decode([5, 5]) == "[unused0] [unused0]"
    for outside in (-1, 64):
        with pytest.raises(IndexError, match="out of range"):
            runtime.decode([10, outside])
