"""SentencePiece models as `tokenizer.json`: the same ids by another library."""

import io
import json
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers.files import load_tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.sentencepiece import SentencePieceRuntime
from bert_jax.tokenizers.sentencepiece_export import library_json
from bert_jax.tokenizers.sentencepiece_training import train_sentencepiece
from bert_jax.tokenizers.tokenizer import Tokenizer

each_type = pytest.mark.parametrize("type", ["unigram", "sentencepiece_bpe"])
each_form = pytest.mark.parametrize("form", ["none", "nfc", "nfkc", "nfkd"])

PROSE = (
    "나는 한국어를 배운다. 한국어는 재미있다! 한국 사람은 한국어를 말한다. the lower and the "
    "lowest newest newer widest wide new low naïve café 日本語が ガギ 👍🏽 [x] <0x - -- "
)
TEXTS = [
    PROSE,
    "",
    " ",
    "  the   lower  ",
    "the\tlower\r\n한국어\u3000나는\u00a0new ",
    unicodedata.normalize("NFD", "한국어를 naïve café Việt"),
    "Ｔｈｅ ﬁne ①② ｶﾞｷﾞ ～ ㎏",
    "X\u0301 A\u0301 \u0410\u0301 \u0301a A🏻 e\u200b\u0301 \u0600A",  # one character to a reader
    "\u200bthe \u200b low\u200b",
    "\u200b",
    "\ufeffnew\u00ad",
    "漢字漢字 ☃☃☃ the☃☃lower ☃",
    "👨‍👩‍👧 ❤️ 🇰🇷 हिन्दी",
    "a\0b \x01 c\x85",
    "▁the ▁▁ low▁",
    "[unused0] <0x41> [unused1 <pad> [ENTITY]",
    "the [MASK] low[SEP]new  [MASK][MASK] [CLS]",
]
# No accents in a row, nor pieces that overlap themselves: see the differences.
TEXT = st.text("thelowrTHE 한국어는.—가é\t\u3000\u00a0\u200b\0👍▁[]☃", max_size=40)


@cache
def runtime_of(type: str, form: str = "nfc") -> SentencePieceRuntime:
    return train_sentencepiece(
        Counter(PROSE.split()),
        type=type,
        vocab_size=64,
        rules=TextRules(lowercase=form == "nfc", strip_accents=False, unicode_form=form),
        special_tokens=[*Specials(), "[unused0]", "[ENTITY]"],
        alphabet_limit=None,
    )


def exported(runtime: SentencePieceRuntime) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(
        library_json(runtime.files()["spm.model"], runtime.specials)
    )


@cache
def library_of(type: str) -> tokenizers.Tokenizer:
    return exported(runtime_of(type))


def made_elsewhere(**options: object) -> SentencePieceRuntime:
    """A model by SentencePiece alone, as others publish them."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([PROSE]),
        model_writer=model,
        minloglevel=2,
        vocab_size=400,
        hard_vocab_limit=False,
        **{"model_type": "bpe", "pad_id": 3, "control_symbols": ["<mask>"]} | options,
    )
    return SentencePieceRuntime(model.getvalue())


def assert_same_ids(
    runtime: SentencePieceRuntime, library: tokenizers.Tokenizer, texts: list[str]
) -> None:
    expected = [pieces.ids for pieces in runtime.split(texts, keep_specials=True)]
    found = [pieces.ids for pieces in library.encode_batch(texts, add_special_tokens=False)]
    assert dict(zip(texts, found, strict=True)) == dict(zip(texts, expected, strict=True))


@each_type
@each_form
def test_ids_are_the_runtime_s(type: str, form: str) -> None:
    runtime = runtime_of(type, form)
    assert_same_ids(runtime, exported(runtime), TEXTS)


@each_type
@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=TEXT)
def test_ids_of_any_text(type: str, text: str) -> None:
    assert_same_ids(runtime_of(type), library_of(type), [text])


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalization_rule_name": "nmt_nfkc_cf"},
        {"normalization_rule_name": "identity"},
        {"byte_fallback": True, "character_coverage": 0.98},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False},
        {"split_by_whitespace": False},
        {"treat_whitespace_as_suffix": True},
    ],
    ids=str,
)
def test_models_made_elsewhere(model_type: str, options: dict[str, object]) -> None:
    runtime = made_elsewhere(model_type=model_type, **options)
    texts = [
        text for text in TEXTS if text != "\u200b" or "treat_whitespace_as_suffix" not in options
    ]
    assert_same_ids(runtime, exported(runtime), texts)


def test_user_defined_symbols_are_kept_whole() -> None:
    runtime = made_elsewhere(user_defined_symbols=["<user>", "New York"])
    library = exported(runtime)
    assert_same_ids(runtime, library, ["the<user>", "the<user><user>", "the New York lower"])
    assert library.encode("the<user> low", add_special_tokens=False).tokens[1] == "<user>"


@each_type
def test_the_frame_is_bert_s(type: str) -> None:
    runtime, library = runtime_of(type), library_of(type)
    expected = Tokenizer(runtime).encode("the [MASK] lower", "한국어 new")
    found = library.encode("the [MASK] lower", "한국어 new")
    assert (found.ids, found.type_ids) == (expected.ids, expected.segment_ids)
    assert found.tokens == expected.tokens
    assert library.get_vocab() == dict(runtime.vocab)
    special = {i for i, token in library.get_added_tokens_decoder().items() if token.special}
    assert special == runtime.reserved_ids - {runtime.vocab["[unused0]"]}


@each_type
def test_words_offsets_and_decoding(type: str) -> None:
    library = library_of(type)
    found = library.encode("the  Lower 한국어", add_special_tokens=False)
    assert [found.word_ids[0], found.word_ids[-1]] == [0, 2]
    assert (found.offsets[0][0], found.offsets[-1][1]) == (0, 14)
    assert library.decode(library.encode(PROSE).ids) == PROSE.strip()


def test_bytes_are_decoded() -> None:
    library = exported(made_elsewhere(byte_fallback=True))
    assert library.decode(library.encode("the ☃ low").ids) == "the ☃ low"


@each_type
def test_a_folder_with_it_is_read_by_us(type: str, tmp_path: Path) -> None:
    runtime = runtime_of(type)
    tokenizer = Tokenizer(runtime)
    for name, content in tokenizer.files().items():
        if name != "spm.model":
            (tmp_path / name).write_bytes(content)
    content = library_json(runtime.files()["spm.model"], runtime.specials)
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    assert json.loads(content)["model"]["type"] == ("Unigram" if type == "unigram" else "BPE")
    again = load_tokenizer(tmp_path)
    assert again.runtime.specials == runtime.specials
    for text in TEXTS:
        assert again.encode(text).ids == tokenizer.encode(text).ids


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UserError, match="not a SentencePiece model"):
        library_json(b"no model", Specials())
    with pytest.raises(UserError, match=r"lacks <mask>, which"):
        library_json(runtime_of("unigram").files()["spm.model"], Specials(mask="<mask>"))
