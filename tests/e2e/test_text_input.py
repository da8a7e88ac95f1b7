"""How the commands on a pretrained model take texts, and what they say of bad ones."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import (
    attentions,
    cli,
    convert,
    embed,
    fill_mask,
    linear_probe,
    next_sentence,
    pseudo_likelihood,
)
from bert_jax.errors import TextError, UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.training.steps import init_params
from bert_jax.usage import json_numbers

WORDS = "a b c d e f g she cooked pasta".split()
LONG = "a " * 20  # the model takes 16 tokens
NOWHERE = "no model"

Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learnt nothing."""
    words = [*Specials(), *WORDS]
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    bert = BertForPreTraining(
        BertConfig(vocab_size=len(words), num_layers=1, num_heads=2, width=16, max_positions=16)
    )
    params = jax.tree.map(np.asarray, init_params(bert, jax.random.key(0)))
    folder = tmp_path_factory.mktemp("random") / "model"
    Pretrained(bert, params, Tokenizer(wordpiece_runtime(words, rules.bert()))).save(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in an empty folder; what it prints as result and as remarks."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(main: Callable, *arguments: object, status: int = 0, stdin: bytes = b"") -> tuple:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
        printed = capsys.readouterr()
        assert caught.value.code == status, printed
        return printed.out, printed.err

    return run


def objects(printed: str) -> list[dict]:
    return [json.loads(line) for line in printed.splitlines()]


# Where a bad text stands.


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        ((fill_mask.main,), ("a [MASK]", "a b")),
        ((fill_mask.main,), ("a [MASK]", LONG)),
        ((pseudo_likelihood.main,), ("a", LONG)),
        ((embed.main, "--too-long", "error", "--quiet"), ("a", LONG)),
        ((embed.main, "--too-long", "error", "--quiet", "--words", "mean"), ("a", LONG)),
    ],
)
def test_a_bad_text_is_named_by_its_place(
    run: Run,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple,
    texts: tuple[str, str],
) -> None:
    """By its line in the whole file, in whatever chunk; by its number among arguments."""
    (main, *more), (good, bad) = command, texts
    for module in (fill_mask, pseudo_likelihood, embed):
        monkeypatch.setattr(module, "_AT_ONCE", 4)
    reason = "there is no [MASK] in the text" if bad != LONG else "the text has 22 tokens"
    Path("texts.txt").write_text("\n".join([*[good] * 9, bad, good]))
    _, error = run(main, "--model", model, "--input", "texts.txt", *more, status=2)
    assert f"error: line 10 of texts.txt: {reason}" in error
    stdin = "".join(json.dumps({"text": text}) + "\n" for text in (good, bad)).encode()
    arguments = ("--model", model, *more, "--input", "-", "--jsonl")
    _, error = run(main, *arguments, stdin=stdin, status=2)
    assert f"error: line 2 of standard input: {reason}" in error
    _, error = run(main, "--model", model, *more, good, bad, status=2)
    assert f"error: text 2: {reason}" in error
    _, error = run(main, "--model", model, *more, bad, status=2)
    assert f"error: {reason}" in error


def test_a_bad_example_is_named_by_its_line(run: Run, model: Path) -> None:
    rows = ["a\t0", "b\t1", "c\t0", "d\t1", f"{LONG}\t1"]
    Path("train.tsv").write_text("\n".join(["sentence\tlabel", *rows]))
    files = ("--train", "train.tsv", "--eval", "train.tsv", "--quiet", "--too-long", "error")
    _, error = run(linear_probe.main, "--model", model, *files, status=2)
    assert "error: line 6 of train.tsv: the text has 22 tokens" in error


def test_the_error_of_a_text_can_be_read_by_programs(model: Path) -> None:
    bert = bert_jax.load(model)
    for call in (
        lambda: bert.fill_masks(["[MASK]", "[MASK]", "a"]),
        lambda: bert.pseudo_log_likelihood(["a", "a", LONG]),
        lambda: bert.embed(["a", "a", LONG], too_long="error"),
        lambda: bert.words(["a", "a", LONG], too_long="error"),
    ):
        with pytest.raises(TextError) as caught:
            call()
        assert caught.value.number == 2
        assert str(caught.value) == f"text 3: {caught.value.reason}"


def test_blank_lines_have_no_masks_and_are_skipped(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill_mask, "_AT_ONCE", 2)
    Path("texts.txt").write_text("\n \na [MASK]\n\n[MASK] b\nc\n")
    arguments = ("--model", model, "--json", "--input", "texts.txt")
    printed, error = run(fill_mask.main, *arguments, status=2)
    assert [item["text"] for item in objects(printed)] == ["a [MASK]"]
    assert "line 6 of texts.txt" in error
    Path("texts.txt").write_text("\n \na [MASK]\n\n[MASK] b\n")
    printed, error = run(fill_mask.main, *arguments)
    assert [item["text"] for item in objects(printed)] == ["a [MASK]", "[MASK] b"]
    assert error == "warning: skipped 3 blank texts; there is nothing to find in them\n"


# How lines are read.


def test_one_text_of_a_pair_may_be_empty(run: Run, model: Path) -> None:
    lines = "She cooked.\t\n\tpasta\n\n \n\t\n a \t b \n"
    Path("pairs.tsv").write_text(lines)
    expected = [("She cooked.", ""), ("", "pasta"), ("", ""), ("a", "b")]
    arguments = ("--model", model, "--json", "--input")
    for name, content in (("pairs.tsv", ""), ("-", lines), ("-", lines.replace("\n", "\r\n"))):
        printed, _ = run(next_sentence.main, *arguments, name, stdin=content.encode())
        assert [(item["first"], item["second"]) for item in objects(printed)] == expected
    Path("pairs.tsv").write_text("a\tb\tc\n")
    _, error = run(next_sentence.main, *arguments, "pairs.tsv", status=2)
    assert "line 1 of pairs.tsv has 2 tabs" in error


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("is_json", [False, True])
def test_a_byte_order_mark_and_windows_line_ends(
    run: Run, model: Path, end: str, is_json: bool
) -> None:
    texts = ["a b", "c"]
    lines = [json.dumps({"text": text}) if is_json else text for text in texts]
    content = ("\ufeff" + "".join(line + end for line in lines)).encode()
    Path("texts.txt").write_bytes(content)
    more = ("--jsonl",) if is_json else ()
    for name in ("texts.txt", "-"):
        printed, _ = run(embed.main, "--model", model, "--input", name, *more, stdin=content)
        assert [item["text"] for item in objects(printed)] == texts


def test_fields_are_of_objects(run: Run, model: Path) -> None:
    stdin = b'{"one": "a", "two": "b"}'
    arguments = ("--model", model, "--input", "-", "--jsonl", "--json", "--field", "one,two")
    printed, _ = run(next_sentence.main, *arguments, stdin=stdin)
    assert objects(printed)[0]["second"] == "b"


# Targets.


def test_all_targets_are_shown(run: Run, model: Path) -> None:
    def guesses(*more: object) -> list:
        printed, _ = run(fill_mask.main, "--model", model, "a [MASK]", "--json", *more)
        return objects(printed)[0]["masks"][0]

    assert len(guesses()) == 5
    assert {guess["token"] for guess in guesses("--targets", "a,b,c,d,e,f,g")} == set("abcdefg")
    assert len(guesses("--targets", "a,b,c,d,e,f,g", "--top-k", 2)) == 2
    assert len(guesses("--top-k", 7)) == 7


# What is written.


@pytest.mark.parametrize(
    ("layers", "shape"),
    [((), [16]), (("--layers", "all"), [2, 16]), (("--layers=0,1", "--mix", "concat"), [32])],
)
def test_words_of_texts_without_any(
    run: Run, model: Path, layers: tuple[str, ...], shape: list[int]
) -> None:
    arguments = ("--model", model, "--words", "mean", "--output", "w.npz", "--quiet", *layers)
    _, error = run(embed.main, *arguments, "", " ")
    assert "2 of 2 texts are empty; they have no words" in error
    with np.load("w.npz") as found:
        assert {name: list(found[name].shape) for name in found} == {
            "vectors": [0, *shape],
            "text": [0],
            "start": [0],
            "end": [0],
        }
        types = {name: found[name].dtype for name in found}
    run(embed.main, *arguments, "", "a b")
    with np.load("w.npz") as found:
        assert list(found["vectors"].shape) == [2, *shape]
        assert found["text"].tolist() == [1, 1]
        assert {name: found[name].dtype for name in found} == types
    _, error = run(embed.main, "--model", model, "")
    assert "1 of 1 texts are empty; their vectors are of [CLS] [SEP] alone" in error


def test_numbers_in_json_are_those_that_were_computed(run: Run, model: Path) -> None:
    numbers = np.array([[1.2345679e-5, -3.4028235e38], [0.1, 1e-45]], np.float32)
    assert np.array_equal(np.float32(json_numbers(numbers)), numbers)
    assert json_numbers(numbers)[1][0] == 0.100000001
    printed, _ = run(embed.main, "--model", model, "a b c")
    expected = bert_jax.load(model).embed(["a b c"])[0]
    np.testing.assert_array_equal(np.float32(objects(printed)[0]["vector"]), expected)
    run(attentions.main, "--model", model, "a b c", "--output", "a.jsonl")
    weights = objects(Path("a.jsonl").read_text())[0]["attentions"]
    expected = bert_jax.load(model).attentions("a b c").weights
    np.testing.assert_array_equal(np.float32(weights), expected)


# What is refused before a model is loaded: there is none here.


@pytest.mark.parametrize(
    ("main", "arguments", "problem"),
    [
        (embed.main, "a --words mean --pooling cls", "--pooling cannot be given with --words"),
        (embed.main, "a --words mean --normalize", "--normalize cannot be given with --words"),
        (embed.main, "a --pooling pooled --layers 0", "--layers cannot be .* --pooling pooled"),
        (embed.main, "a --pooling pooled --mix sum", "--mix cannot be .* --pooling pooled"),
        (embed.main, "a --field t", "--field is for an --input; leave it out with texts"),
        (embed.main, "a --jsonl", "--jsonl is for an --input; leave it out with texts"),
        (embed.main, "--input a.txt --field t", "--field is for JSON objects; leave it out"),
        (embed.main, "a --output no/x.npz", "--output is no/x.npz, but no is no folder"),
        (embed.main, "a --output a.txt/x.npz", "--output is .*, but a.txt is no folder"),
        (embed.main, "a --output old.npz", "--output is old.npz, which is a folder"),
        (attentions.main, "a --output no/x.npz", "--output is no/x.npz, but no is no folder"),
        (attentions.main, "a --output x.csv", "--output is x.csv; it must end in .npz or .jsonl"),
        *(
            (main, arguments, problem)
            for main in (embed.main, fill_mask.main, next_sentence.main, pseudo_likelihood.main)
            for arguments, problem in (
                ("", "give texts, or a file of them by --input"),
                ("--input empty.txt", "there is no text in the input"),
                ("--input none.txt", "none.txt is no file"),
            )
        ),
    ],
)
def test_what_is_refused_without_loading_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Callable, arguments: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a\n")
    Path("empty.txt").touch()
    Path("old.npz").mkdir()
    with pytest.raises(UserError, match=problem):
        main(["--model", NOWHERE, *arguments.split()])


def test_a_place_that_is_taken_is_refused_without_loading_a_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for taken in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(UserError, match="exists already; choose another folder"):
            convert.main([NOWHERE, str(taken), "--to", "google"])
