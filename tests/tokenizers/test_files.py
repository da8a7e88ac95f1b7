"""One tokenizer, one folder: encodings, special tokens, saving, and the published vocabulary."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.files import SPECIAL_TOKENS
from bert_jax.tokenizers.wordpiece import wordpiece_tokenizer

PIECES = (
    "paris is a beautiful city i love pre ##train ##ing . [ ] mask pad 파리 ##를 나 ##는".split()
)
PAD, UNK, CLS, SEP, MASK = range(5)


def make_tokenizer(pieces: Sequence[str] = PIECES, *, lowercase: bool = True) -> Tokenizer:
    return wordpiece_tokenizer([*SPECIAL_TOKENS, *pieces], lowercase=lowercase, strip_accents=False)


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
    tokenizer = make_tokenizer()
    masked, separated = tokenizer.encode_corpus(["Paris is [MASK].", "a[SEP]a [pad]"])
    pieces = [tokenizer.token(token_id) for token_id in masked[0]]
    assert pieces == ["paris", "is", "[", "mask", "]", "."]
    assert masked[1] == [False] * 6
    pieces = [tokenizer.token(token_id) for token_id in separated[0]]
    assert pieces == ["a", "[", "[UNK]", "]", "a", "[", "pad", "]"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "paris", "pretraining", " ", "[", "##a", "é"])))
def test_a_corpus_never_holds_a_special_token_but_unknown(parts: list[str]) -> None:
    ((ids, continues),) = make_tokenizer().encode_corpus(["".join(parts)])
    assert not {PAD, CLS, SEP, MASK} & set(ids)
    assert len(ids) == len(continues)
    assert not any(continues[:1])


def test_a_corpus_says_which_pieces_continue_a_word() -> None:
    tokenizer = make_tokenizer()
    sentences = ["나는 파리를 pretraining.", "", "a a", "ing pretraining"]
    encoded = tokenizer.encode_corpus(sentences)
    assert [ids for ids, _ in encoded] == [
        tokenizer.encode(sentence).ids[1:-1] for sentence in sentences
    ]
    assert [continues for _, continues in encoded] == [
        [False, True, False, True, False, True, True, False],
        [],
        [False, False],
        [False, False, True, True],
    ]


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
    tokenizer = wordpiece_tokenizer(vocab, lowercase=True, strip_accents=False)
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id)
    assert (*ids, tokenizer.mask_id) == (6, 5, 4, 2, 1)
    assert tokenizer.encode("a [MASK] q").ids == [4, 0, 1, 5, 2]
    assert tokenizer.vocab_size == 7
    assert tokenizer.ordinary_ids.tolist() == [0, 3]


def test_unused_slots_are_not_ordinary() -> None:
    vocab = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "a"]
    tokenizer = wordpiece_tokenizer(vocab, lowercase=True, strip_accents=False)
    assert tokenizer.ordinary_ids.tolist() == [7, 8]


# Folders.


def test_a_folder_gives_the_tokenizer_back(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = load_tokenizer(str(tmp_path / "new" / "folder"))
    assert loaded.hash == tokenizer.hash
    assert loaded.vocab_size == tokenizer.vocab_size
    for text in ("I love pretraining.", "[MASK] é 나는", "\u1102\u1161"):
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.encode_corpus([text]) == tokenizer.encode_corpus([text])


def test_a_folder_holds_what_other_tools_look_for(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    make_tokenizer().save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert {path.name for path in folder.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    vocab = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    assert vocab == [*SPECIAL_TOKENS, *PIECES, ""]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["mask_token"] == "[MASK]"
    assert config["pad_token"] == "[PAD]"


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    make_tokenizer().save(tmp_path / "one")
    load_tokenizer(tmp_path / "one").save(tmp_path / "other")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_saving_replaces_what_was_there(tmp_path: Path) -> None:
    make_tokenizer(["a"]).save(tmp_path / "folder")
    make_tokenizer(["b"]).save(tmp_path / "folder")
    assert load_tokenizer(tmp_path / "folder").hash == make_tokenizer(["b"]).hash


def test_the_hash_is_of_all_that_decides_ids() -> None:
    tokenizers_ = [
        make_tokenizer(["a", "b"]),
        make_tokenizer(["b", "a"]),
        make_tokenizer(["a"]),
        make_tokenizer(["a", "b"], lowercase=False),
        wordpiece_tokenizer([*SPECIAL_TOKENS, "a", "b"], lowercase=True, strip_accents=True),
    ]
    assert len({tokenizer.hash for tokenizer in tokenizers_}) == len(tokenizers_)
    assert make_tokenizer(["a", "b"]).hash == tokenizers_[0].hash


def test_a_folder_s_own_cutting_and_filling_is_switched_off(tmp_path: Path) -> None:
    """Published sentence encoders cut to 128 tokens and fill up to them; a corpus must not be."""
    make_tokenizer().save(tmp_path / "folder")
    path = tmp_path / "folder" / "tokenizer.json"
    runtime = tokenizers.Tokenizer.from_file(str(path))
    runtime.enable_truncation(4)
    runtime.enable_padding(length=6)
    runtime.save(str(path))
    loaded = load_tokenizer(tmp_path / "folder")
    assert loaded.encode("a city").ids == make_tokenizer().encode("a city").ids
    sentences = ["I love a beautiful city", "a"]
    assert loaded.encode_corpus(sentences) == make_tokenizer().encode_corpus(sentences)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer \(tokenizer.json is missing\)"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("contents", ["", "{}", "not json", '{"model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, contents: str) -> None:
    (tmp_path / "tokenizer.json").write_text(contents)
    with pytest.raises(UserError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    runtime = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    runtime.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"lacks \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        load_tokenizer(tmp_path)


# The published vocabulary.


@pytest.fixture(scope="module")
def shared(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath.parent / "shared" / "data"


@pytest.fixture(scope="module")
def published(shared: Path) -> Tokenizer:
    return load_tokenizer(shared / "vocab" / "bert-base-uncased")


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, list[dict]]:
    """Strings through Hugging Face's tokenizer."""
    path = shared / "reference" / "tokenizer" / "bert-base-uncased.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.shared
def test_i_love_paris_has_the_published_ids(published: Tokenizer) -> None:
    """Specification 1.2."""
    assert published.encode("I love Paris").ids == [101, 1045, 2293, 3000, 102]
    assert published.vocab_size == 30_522
    assert (published.pad_id, published.unk_id, published.mask_id) == (0, 100, 103)
    assert len(published.ordinary_ids) == 30_522 - 5 - 994


@pytest.mark.shared
def test_ids_and_spans_are_hugging_face_s(published: Tokenizer, reference: dict) -> None:
    assert len(reference["rows"]) == 765
    for row in reference["rows"]:
        encoding = published.encode(row["text"])
        assert encoding.ids == [101, *row["hf_ids"], 102], row["text"]
        assert [list(span) for span in encoding.offsets[1:-1]] == row["hf_offsets"], row["text"]


@pytest.mark.shared
def test_a_corpus_has_google_s_ids(published: Tokenizer, reference: dict) -> None:
    """Google knows no special tokens in text; two known strings differ, and are not of text."""
    rows = reference["rows"]
    encoded = published.encode_corpus([row["text"] for row in rows])
    different = [
        row["text"] for row, (ids, _) in zip(rows, encoded, strict=True) if ids != row["google_ids"]
    ]
    # A word of more than 100 characters, and a private-use character.
    assert len(different) == 2
    assert {text[:3] for text in different} == {"aaa", "\ue000pr"}


@pytest.mark.shared
def test_pairs_are_hugging_face_s(published: Tokenizer, reference: dict) -> None:
    for row in reference["pairs"]:
        encoding = published.encode(row["a"], row["b"])
        assert encoding.ids == row["ids"]
        assert encoding.segment_ids == row["type_ids"]
        assert encoding.tokens == row["tokens"]
