"""One folder format, and published files: what is read, what is written, what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.files import Compat
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.tokenizers.training import TYPES, Recipe, train_tokenizer

PIECES = (
    "paris is a beautiful city i love pre ##train ##ing . [ ] mask pad 파리 ##를 나 ##는".split()
)
TEXTS = ("I love pretraining.", "[MASK] é 나는", "\u1102\u1161", "", "Éa[SEP] b\tc")


def make_tokenizer(
    pieces: Sequence[str] = PIECES, *, lowercase: bool = True, strip_accents: bool = False
) -> Tokenizer:
    rules = TextRules(lowercase=lowercase, strip_accents=strip_accents, unicode_form="nfc")
    return Tokenizer(wordpiece_runtime([*Specials(), *pieces], rules.bert()))


def write_vocab(folder: Path, pieces: Sequence[str], **config: Any) -> Path:
    """A folder as Google publishes it, with Hugging Face's config if there is any."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_bytes("".join(f"{piece}\n" for piece in pieces).encode())
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


# Folders of our own.


def test_a_folder_gives_the_tokenizer_back(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.save(str(tmp_path / "new" / "folder"))
    loaded = load_tokenizer(str(tmp_path / "new" / "folder"))
    assert loaded.hash == tokenizer.hash
    assert loaded.vocab_size == tokenizer.vocab_size
    for text in TEXTS:
        assert loaded.encode(text, text) == tokenizer.encode(text, text)


@pytest.mark.parametrize("type", TYPES)
def test_every_family_is_saved_and_loaded(tmp_path: Path, type: str) -> None:
    words = {"lower": 5, " low": 7, "newest": 6, " widest": 3, "new": 6, "wide": 3}
    size = {"byte_bpe": 265, "unigram": 19}.get(type, 24)
    tokenizer = train_tokenizer(words, Recipe(type=type, vocab_size=size))
    tokenizer.save(tmp_path / "one")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert tokenizer.files() == saved
    loaded = load_tokenizer(tmp_path / "one")
    loaded.save(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert loaded.hash == tokenizer.hash == load_tokenizer(tmp_path / "two").hash
    for text in ("lower", "The newest, widest [MASK]", "é가"):
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text).ids) == tokenizer.decode(
            tokenizer.encode(text).ids
        )
    config = json.loads((tmp_path / "one" / "tokenizer_config.json").read_text())
    assert config["type"] == type
    assert config["do_lower_case"] == (type != "byte_bpe")
    assert config["strip_accents"] is False
    assert config["unicode_form"] == ("none" if type == "byte_bpe" else "nfc")


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
    assert vocab == [*Specials(), *PIECES, ""]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["mask_token"] == "[MASK]"
    assert config["pad_token"] == "[PAD]"
    assert "token_type_ids" in config["model_input_names"]  # else pairs are one segment there
    runtime = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert runtime.encode("a", "city").ids == make_tokenizer().encode("a", "city").ids


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
        make_tokenizer(["a", "b"], strip_accents=True),
    ]
    assert len({tokenizer.hash for tokenizer in tokenizers_}) == len(tokenizers_)
    assert make_tokenizer(["a", "b"]).hash == tokenizers_[0].hash


def test_google_s_rules_are_saved_with_the_vocabulary(tmp_path: Path) -> None:
    write_vocab(tmp_path / "published", [*Specials(), "οδος", "οδοσ", "a", "b\u3000"])
    google = load_tokenizer(tmp_path / "published", compat="google")
    default = load_tokenizer(tmp_path / "published")
    assert google.hash != default.hash
    google.save(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert loaded.hash == google.hash
    assert loaded.encode("ΟΔΟΣ").tokens[1:-1] == ["οδος"]
    assert default.encode("ΟΔΟΣ").tokens[1:-1] == ["οδοσ"]


# Published vocabularies: vocab.txt.


@pytest.mark.parametrize(
    ("pieces", "config", "pieces_of_text"),
    [
        # By the pieces, where nothing says it.
        (["paris", "cafe", "café"], {}, ["paris", "cafe"]),
        (["Paris", "Café", "paris"], {}, ["Paris", "Café"]),
        # By the config, against the pieces.
        (["Paris", "Café", "paris", "cafe"], {"do_lower_case": True}, ["paris", "cafe"]),
        (["paris", "café"], {"do_lower_case": False}, ["[UNK]", "[UNK]"]),
        (["paris", "cafe", "café"], {"strip_accents": False}, ["paris", "café"]),
        (["Paris", "Cafe"], {"do_lower_case": False, "strip_accents": True}, ["Paris", "Cafe"]),
        (["Paris", "Café"], {"do_lower_case": False, "strip_accents": None}, ["Paris", "Café"]),
    ],
)
def test_case_and_accents_of_a_vocabulary(
    tmp_path: Path, pieces: list[str], config: dict[str, Any], pieces_of_text: list[str]
) -> None:
    tokenizer = load_tokenizer(write_vocab(tmp_path / "v", [*Specials(), *pieces], **config))
    assert tokenizer.encode("Paris Café").tokens[1:-1] == pieces_of_text


def test_a_few_capital_letters_do_not_make_a_vocabulary_cased(tmp_path: Path) -> None:
    pieces = [*Specials(), *(f"w{number}" for number in range(200)), "A", "a"]
    assert load_tokenizer(write_vocab(tmp_path / "v", pieces)).encode("A").tokens[1] == "a"


def test_ideographs_may_stay_together(tmp_path: Path) -> None:
    pieces = [*Specials(), "中", "文", "中文"]
    together = write_vocab(tmp_path / "t", pieces, tokenize_chinese_chars=False)
    assert load_tokenizer(together).encode("中文").tokens[1:-1] == ["中文"]
    assert load_tokenizer(write_vocab(tmp_path / "a", pieces)).encode("中文").length == 4


@pytest.mark.parametrize("compat", [None, "google"])
def test_an_id_is_the_number_of_its_line(tmp_path: Path, compat: Compat | None) -> None:
    """Whatever the pieces are: some split at U+2028, U+0085 or a lone carriage return."""
    pieces = [*Specials(), "a", "\u2028", "b", "\x85", "c", "x\ry", "d", "\u3000", "", "e"]
    tokenizer = load_tokenizer(write_vocab(tmp_path / "v", pieces), compat)
    assert tokenizer.encode("a b c d e").ids[1:-1] == [5, 7, 9, 11, 14]
    assert tokenizer.vocab_size == 15
    assert 13 not in tokenizer.ordinary_ids  # the blank line


def test_line_ends_of_windows_and_a_mark_at_the_start_are_no_pieces(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(("\ufeff" + "\r\n".join([*Specials(), "a", "b"]) + "\r\n\r\n").encode())
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("a b").ids == [2, 5, 6, 3]
    assert tokenizer.vocab_size == 7


@pytest.mark.parametrize("compat", [None, "google"])
def test_of_a_line_that_stands_twice_the_last_counts(tmp_path: Path, compat: Compat | None) -> None:
    folder = write_vocab(tmp_path / "v", [*Specials(), "a", "b", "a", "c"])
    assert load_tokenizer(folder, compat).encode("a b c").ids[1:-1] == [7, 6, 8]


def test_special_tokens_may_be_named_in_part_or_in_a_file_of_their_own(tmp_path: Path) -> None:
    pieces = ["[PAD]", "<unk>", "[CLS]", "[SEP]", "<m>", "a"]
    folder = write_vocab(tmp_path / "v", pieces, mask_token="<m>")
    assert load_tokenizer(folder).encode("a <m> q").ids == [2, 5, 4, 1, 3]
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").write_text('{"mask_token": "<m>"}')
    assert load_tokenizer(folder).mask_id == 4


def test_words_that_were_added_are_kept_whole(tmp_path: Path) -> None:
    pieces = [*Specials(), "co", "##vid", "##x", "a"]
    names = {"9": {"content": "[NEW]", "special": True}, "10": {"content": "covidx"}}
    for config, file in ((names, {}), ({}, {"[NEW]": 9, "covidx": 10})):
        folder = write_vocab(tmp_path / f"v{len(file)}", pieces, added_tokens_decoder=config)
        (folder / "added_tokens.json").write_text(json.dumps(file))
        tokenizer = load_tokenizer(folder)
        assert tokenizer.encode("a covidx [NEW]").ids == [2, 8, 10, 9, 3]
        assert tokenizer.vocab_size == 11
        tokenizer.save(tmp_path / "saved")
        assert load_tokenizer(tmp_path / "saved").hash == tokenizer.hash
    (folder / "added_tokens.json").write_text('{"late": 12}')
    with pytest.raises(UserError, match=r"added words have the ids \[12\], after 9 pieces"):
        load_tokenizer(folder)


def test_special_tokens_are_written_as_the_config_says(tmp_path: Path) -> None:
    names = {
        "pad_token": "<pad>",
        "unk_token": {"content": "<unk>", "lstrip": False},
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    }
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a"]
    tokenizer = load_tokenizer(write_vocab(tmp_path / "v", pieces, **names))
    assert tokenizer.encode("a <mask> q").ids == [0, 5, 4, 3, 2]
    assert tokenizer.ordinary_ids.tolist() == [5]


# Published vocabularies: tokenizer.json.


def save_published(folder: Path, normalizer: normalizers.Normalizer) -> Path:
    """As Hugging Face publishes it."""
    pieces = [*Specials(), "paris", "Paris", "cafe", "café", "中文", "中", "文"]
    runtime = tokenizers.Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    runtime.normalizer = normalizer
    runtime.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    runtime.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    runtime.add_special_tokens(list(Specials()))
    runtime.enable_truncation(4)
    runtime.enable_padding(length=6)
    folder.mkdir()
    runtime.save(str(folder / "tokenizer.json"))
    return folder


def test_a_folder_s_own_cutting_and_filling_is_switched_off(tmp_path: Path) -> None:
    """Published sentence encoders cut to 128 tokens and fill up to them; a corpus must not be."""
    loaded = load_tokenizer(save_published(tmp_path / "v", normalizers.BertNormalizer()))
    assert loaded.encode("Paris Paris Paris").ids == [2, 5, 5, 5, 3]
    assert loaded.encode("Paris").ids == [2, 5, 3]


def test_saving_changes_no_byte_of_it(tmp_path: Path) -> None:
    folder = save_published(tmp_path / "v", normalizers.BertNormalizer())
    load_tokenizer(folder).save(tmp_path / "copy")
    name = "tokenizer.json"
    assert (folder / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()
    assert load_tokenizer(folder).hash == load_tokenizer(tmp_path / "copy").hash


@pytest.mark.parametrize(
    ("config", "pieces_of_text"),
    [
        ({}, ["paris", "cafe", "中", "文"]),
        ({"do_lower_case": False}, ["Paris", "[UNK]", "中", "文"]),
        ({"do_lower_case": True, "strip_accents": False}, ["paris", "café", "中", "文"]),
        ({"tokenize_chinese_chars": False}, ["paris", "cafe", "中文"]),
    ],
)
def test_bert_s_switches_in_the_config_go_first(
    tmp_path: Path, config: dict[str, Any], pieces_of_text: list[str]
) -> None:
    folder = save_published(tmp_path / "v", normalizers.BertNormalizer())
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode("Paris Café 中文").tokens[1:-1] == pieces_of_text
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").hash == tokenizer.hash


def test_a_published_byte_level_vocabulary_is_read(tmp_path: Path) -> None:
    """As RoBERTa's and ModernBERT's, with special tokens of their own."""
    runtime = tokenizers.Tokenizer(models.BPE())
    runtime.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    runtime.decoder = tokenizers.decoders.ByteLevel()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    runtime.train_from_iterator(["low lower lowest low low"], trainer)
    runtime.save(str(tmp_path / "tokenizer.json"))
    keys = ("cls", "pad", "sep", "unk", "mask")
    config = {f"{key}_token": name for key, name in zip(keys, names, strict=True)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.runtime.type == "byte_bpe"
    assert tokenizer.encode("low 한<mask>").ids == [0, *runtime.encode("low 한<mask>").ids, 2]
    assert tokenizer.encode("low 한<mask>").ids[-2] == 4
    with pytest.raises(UserError, match=r"compat 'google' is for WordPiece; .* is byte_bpe"):
        load_tokenizer(tmp_path, compat="google")


# What is refused.


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer \(tokenizer.json, vocab.txt or"):
        load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("tokenizer.json", b"", "tokenizer.json: the tokenizers library cannot read"),
        ("tokenizer.json", b"{}", "tokenizer.json: the tokenizers library cannot read"),
        ("tokenizer.json", b"not json", "tokenizer.json: the tokenizers library cannot read"),
        ("tokenizer.json", b'{"model": 3}', "tokenizer.json: the tokenizers library cannot read"),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json: not UTF-8, byte 0"),
        ("vocab.txt", b"", "vocab.txt: no piece in it"),
        ("vocab.txt", b"\n\n", "vocab.txt: no piece in it"),
        ("vocab.txt", b"[PAD]\n\xff\n", "vocab.txt: not UTF-8, byte 6"),
        ("vocab.txt", b"[PAD]\n[UNK]\na\n", r"vocab.txt: .* lacks \[CLS\], \[SEP\], \[MASK\]"),
        ("spm.model", b"", "spm.model: this is not a SentencePiece model"),
        ("spm.model", b"junk", "spm.model: this is not a SentencePiece model"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["not json", "[]"])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_vocab(tmp_path / "v", [*Specials(), "a"])
    (folder / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer_config.json is not"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"do_lower_case": 1}, "do_lower_case is 1; it must be true or false"),
        ({"strip_accents": "no"}, "strip_accents is 'no'; it must be"),
        ({"compat": "goofy"}, "compat is 'goofy'"),
        ({"sep_token": "[PAD]", "pad_token": "[PAD]"}, "special tokens must differ"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    tmp_path: Path, config: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        load_tokenizer(write_vocab(tmp_path / "v", [*Specials(), "a"], **config))


def test_a_switch_that_is_null_says_nothing(tmp_path: Path) -> None:
    null = {"do_lower_case": None, "tokenize_chinese_chars": None}
    folder = write_vocab(tmp_path / "v", [*Specials(), "a", "中"], **null)
    assert load_tokenizer(folder).encode("A中").ids == [2, 5, 6, 3]


def test_rules_that_google_s_code_does_not_have_are_not_dropped(tmp_path: Path) -> None:
    make_tokenizer().save(tmp_path / "ours")
    with pytest.raises(UserError, match=r"this vocabulary has others \(Unicode form nfc"):
        load_tokenizer(tmp_path / "ours", compat="google")


@pytest.mark.parametrize("missing", Specials())
def test_a_vocabulary_without_a_special_token_is_refused(missing: str) -> None:
    vocab = [token for token in [*Specials(), "a"] if token != missing]
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    with pytest.raises(UserError, match=rf"lacks \{missing}"):
        wordpiece_runtime(vocab, rules.bert())


def test_two_models_in_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a.model", "b.model"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"2 .model files; name the one to read"):
        load_tokenizer(tmp_path)


def test_words_that_other_software_splits_are_refused(tmp_path: Path) -> None:
    """As in published models of Japanese."""
    folder = write_vocab(tmp_path / "ja", [*Specials(), *PIECES], word_tokenizer_type="mecab")
    with pytest.raises(UserError, match="splits words by 'mecab', which is not supported"):
        load_tokenizer(folder)
