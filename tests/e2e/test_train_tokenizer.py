"""`python -m bert_jax.train_tokenizer` as a person runs it, and a model that uses its result."""

import gzip
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from bert_jax import train, train_tokenizer
from bert_jax.errors import UserError
from bert_jax.pretrained import load
from bert_jax.tokenizers import load_tokenizer
from bert_jax.tokenizers.training import TYPES

KOREAN = "나는 학교에서 한국어를 배운다. 너는 학교에 간다. 우리는 한국에서 산다.\n"
ENGLISH = "She cooked pasta, and he cooked more pasta. It was delicious!\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Thirty lines of each language, one of the files packed, with odd characters in it."""
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress((KOREAN * 30 + ENGLISH * 30 + "a\0b\x01c\u2028d\n").encode()))
    return path


def run(*arguments: object) -> None:
    train_tokenizer.main(["--quiet", *map(str, arguments)])


@pytest.mark.parametrize("type", TYPES)
def test_each_family_is_trained_and_can_be_used(
    text: Path, tmp_path: Path, type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    size = {"byte_bpe": 290, "unigram": 50}.get(type, 80)
    run("--type", type, "--vocab-size", size, "--output", tmp_path / "vocab", text)
    out, err = capsys.readouterr()
    tokenizer = load_tokenizer(tmp_path / "vocab")
    assert out == f"{size} pieces in {tmp_path / 'vocab'}, hash {tokenizer.hash[:12]}\n"
    assert err == ""
    assert tokenizer.vocab_size == size
    assert tokenizer.unk_id not in tokenizer.encode(KOREAN).ids
    nfd = unicodedata.normalize("NFD", "한국어")
    if type != "byte_bpe":
        assert tokenizer.encode(nfd).ids == tokenizer.encode("한국어").ids


def test_one_worker_and_four_write_the_same_bytes(text: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        folder = tmp_path / f"vocab{workers}"
        options = ("--type", "wordpiece", "--score", "likelihood", "--vocab-size", 96)
        run(*options, "--workers", workers, "--output", folder, text, text)
    for path in (tmp_path / "vocab1").iterdir():
        assert path.read_bytes() == (tmp_path / "vocab4" / path.name).read_bytes()


def test_all_options_do_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Cooked Cookér Ｃooks\n" * 5 + "xyz\n")
    options = ["--type", "bpe", "--vocab-size", 19, "--unused", 3, "--special-token", "[NAME]"]
    options += ["--no-lowercase", "--strip-accents", "--unicode-form", "nfkc"]
    options += ["--continuation-prefix", "@@", "--alphabet-limit", 7, "--min-frequency", 2]
    run(*options, "--output", tmp_path / "vocab", path)
    tokenizer = load_tokenizer(tmp_path / "vocab")
    tokens = [tokenizer.token(number) for number in range(tokenizer.vocab_size)]
    assert tokens[5:9] == ["[NAME]", "[unused0]", "[unused1]", "[unused2]"]
    assert tokens[9:16] == ["@@d", "@@e", "@@k", "@@o", "@@r", "@@s", "C"]
    assert len(tokens) == 19
    assert tokenizer.decode(tokenizer.encode("Cooked Cooker").ids) == "Cooked Cooker"
    assert "[UNK]" in tokenizer.encode("xyz").tokens


def test_stripping_accents_of_korean_is_warned_of(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--type", "wordpiece", "--vocab-size", 120, "--strip-accents")
    run(*options, "--output", tmp_path / "vocab", text)
    assert "warning: stripping accents takes Hangul syllables apart" in capsys.readouterr().err


def test_the_report_shows_all_families_side_by_side(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    # As large as byte-level BPE takes at least, yet no larger than the text supports.
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"word{n} other{n * 7}text 글{n}자" for n in range(400)))
    run("--type", "wordpiece", "--vocab-size", 90, "--output", other, text)
    capsys.readouterr()
    run("--report", "--vocab-size", 280, "--compare", other, path)
    held_out, header, *rows = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"held out: [\d,]+ bytes in 20 lines that none of these was trained on", held_out
    )
    columns = ["vocabulary", "pieces", "tokens/word", "bytes/token", "words with [UNK]"]
    assert re.split(r"  +", header) == [*columns, "words whole"]
    cells = [re.split(r"  +", row) for row in rows]
    assert [row[0] for row in cells] == [
        "WordPiece, likelihood",
        "WordPiece, frequency",
        "BPE",
        "byte-level BPE",
        "unigram",
        "SentencePiece BPE",
        "other",
    ]
    figures = {
        row[0]: [float(cell.rstrip("%").replace(",", "")) for cell in row[1:]] for row in cells
    }
    assert all(row[0] == 280 for name, row in figures.items() if name != "other")
    assert all(1 <= row[1] < 20 and row[2] > 0.5 for row in figures.values())
    assert figures["byte-level BPE"][3] == 0
    assert figures["other"][3] > 50


def test_a_model_is_trained_with_a_vocabulary_that_exists(text: Path, tmp_path: Path) -> None:
    vocab = tmp_path / "vocab"
    run("--type", "unigram", "--vocab-size", 50, "--output", vocab, text)
    documents = tmp_path / "documents.txt"
    documents.write_text("\n\n".join([KOREAN + ENGLISH] * 12))
    overrides = [f"--config.data.source=text:{documents}", f"--config.tokenizer.path={vocab}"]
    arguments = ["--config", "configs/debug.py", "--workdir", str(tmp_path / "run"), "--quiet"]
    train.main([*arguments, *overrides, "--config.total_steps=10", "--config.batch_size=4"])
    bert = load(tmp_path / "run")
    assert bert.tokenizer.hash == load_tokenizer(vocab).hash
    assert bert.model.config.vocab_size == 50


# What is refused.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"--vocab-size": 10}, "vocab_size 10 is too small: there are"),
        ({"--vocab-size": 50_000}, "vocab_size 50000 is more than this text supports"),
        ({"--workers": 0}, "--workers is 0; it must be at least 1"),
        ({"--type": None}, "--type and --output are required, or else --report"),
        ({"--output": None}, "--type and --output are required, or else --report"),
        ({"--type": "wordpeace"}, "invalid choice: 'wordpeace'"),
        ({"--vocab-size": "many"}, "invalid int value: 'many'"),
        ({"--compare": "x"}, "--compare goes with --report"),
        ({"--report": ""}, "--report compares all types and saves none"),
        (
            {"--report": "", "--type": None, "--output": None, "--min-frequency": 2},
            "--min-frequency is of some; leave it out",
        ),
        ({"--type": "bpe", "--score": "likelihood"}, "score is a choice of wordpiece"),
    ],
    ids=str,
)
def test_options_that_cannot_work(
    text: Path, tmp_path: Path, options: dict[str, Any], complaint: str
) -> None:
    given = {"--type": "wordpiece", "--vocab-size": 100, "--output": tmp_path / "vocab"} | options
    flat = [part for item in given.items() if item[1] is not None for part in item if part != ""]
    with pytest.raises(UserError, match=re.escape(complaint)):
        run(*flat, text)
    assert not (tmp_path / "vocab").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"fine\nnot \xff fine\n", "is not UTF-8: byte 0xff at offset 9"),
        ("\ud800".encode("utf-8", "surrogatepass"), "is not UTF-8: byte 0xed at offset 0"),
        (b"", "holds no word"),
        (b"\n\0 \n", "holds no word"),
    ],
)
@pytest.mark.parametrize("type", ["wordpiece", "unigram"])
def test_text_that_cannot_be_learned_from(
    tmp_path: Path, content: bytes, complaint: str, type: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        run("--type", type, "--vocab-size", 100, "--output", tmp_path / "vocab", path)
    assert not (tmp_path / "vocab").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    options = ("--type", "bpe", "--vocab-size", 100, "--output", tmp_path / "vocab")
    with pytest.raises(UserError, match=r"nowhere.txt is no file"):
        run(*options, tmp_path / "nowhere.txt")


def test_a_folder_that_holds_something_else_is_not_replaced(text: Path, tmp_path: Path) -> None:
    for output in (tmp_path, text):
        with pytest.raises(UserError, match="choose another folder"):
            run("--type", "bpe", "--vocab-size", 100, "--output", output, text)
    assert text.exists()


@pytest.mark.parametrize("type", TYPES)
def test_a_word_of_100000_letters_and_a_line_of_megabytes_are_taken(
    tmp_path: Path, type: str
) -> None:
    path = tmp_path / "long.txt"
    path.write_text("ab" * 50_000 + "\n" + ENGLISH.replace("\n", " ") * 32_000 + "\n" + "(" * 9_999)
    size = {"byte_bpe": 290, "wordpiece": 59, "unigram": 30}.get(type, 45)
    run("--type", type, "--vocab-size", size, "--output", tmp_path / "vocab", path)
    assert load_tokenizer(tmp_path / "vocab").vocab_size == size
