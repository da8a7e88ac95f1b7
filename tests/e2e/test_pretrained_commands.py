"""The commands on a pretrained model, on a run of seconds and on what is exported of it."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax import (
    attentions,
    cli,
    convert,
    embed,
    fill_mask,
    next_sentence,
    parity,
    pseudo_likelihood,
)

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command and returns what it prints; status 2 is an error in one line."""

    def run(main: Callable, *arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["command", *map(str, arguments)])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
        printed = capsys.readouterr()
        assert caught.value.code == status, printed
        assert "Traceback" not in printed.err
        if status:
            assert printed.err.splitlines()[-1].startswith("error: ")
        return printed.err if status else printed.out

    return run


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("exported") / "huggingface"
    bert_jax.load(trained).save(folder)
    return folder


def test_round_trips_of_a_run_are_bit_equal(run: Run, trained: Path, tmp_path: Path) -> None:
    before = bert_jax.load(trained)
    for layout in ("huggingface", "google"):
        printed = run(convert.main, trained, tmp_path / layout, "--to", layout)
        assert f"made {tmp_path / layout}" in printed
        after = bert_jax.load(tmp_path / layout)
        assert after.config == before.config
        assert after.tokenizer.hash == before.tokenizer.hash
        assert after.parts == before.parts
        jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
        assert not after.report.created
        assert not after.report.ignored


def test_fill_mask(run: Run, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("ba [MASK] ko\n[MASK] ta [MASK]\n")
    arguments = ("--model", exported, "--input", tmp_path / "texts.txt", "--top-k", 2)
    printed = run(fill_mask.main, *arguments)
    assert "[MASK] ta [MASK] (mask 2 of 2)" in printed
    lines = [json.loads(line) for line in run(fill_mask.main, *arguments, "--json").splitlines()]
    assert [len(line["masks"]) for line in lines] == [1, 2]
    assert all(len(candidates) == 2 for line in lines for candidates in line["masks"])


def test_next_sentence(run: Run, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("ba ko\tta mi\nta\tko\n")
    printed = run(next_sentence.main, "--model", exported, "ba ko", "ta mi", "ta", "ko", "--json")
    given = [json.loads(line) for line in printed.splitlines()]
    arguments = ("--input", tmp_path / "pairs.tsv", "--json")
    printed = run(next_sentence.main, "--model", exported, *arguments)
    assert [json.loads(line) for line in printed.splitlines()] == given
    assert all(0 < line["is_next"] < 1 for line in given)
    (tmp_path / "pairs.tsv").write_text("ba ko ta mi\n")
    printed = run(next_sentence.main, "--model", exported, *arguments, status=2)
    assert "line 1 of" in printed
    assert "put one between two texts" in printed
    printed = run(next_sentence.main, "--model", exported, "one", status=2)
    assert "give two and two" in printed


def test_pseudo_likelihood(run: Run, exported: Path) -> None:
    printed = run(pseudo_likelihood.main, "--model", exported, "ba ko ta", "--json")
    found = json.loads(printed)
    assert found["total"] == pytest.approx(sum(found["log_probabilities"]))
    assert len(found["tokens"]) == len(found["log_probabilities"])
    assert "perplexity" in run(pseudo_likelihood.main, "--model", exported, "ba ko ta")


def test_embed(run: Run, exported: Path, tmp_path: Path) -> None:
    """Rows keep the numbers of their lines, blank ones too, whatever the form."""
    texts = ["ba ko", "", "ta mi bo. Ba?", "ko"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"t": t}) + "\n" for t in texts))
    expected = bert_jax.load(exported).embed(texts)
    model = ("--model", exported, "--quiet")
    for arguments in (["texts.txt"], ["texts.jsonl", "--field", "t"]):
        source = (tmp_path / arguments[0], *arguments[1:])
        for output in ("vectors.npz", "vectors.jsonl"):
            path = tmp_path / output
            run(embed.main, *model, "--input", *source, "--output", path)
            if path.suffix == ".npz":
                found = np.load(path)["vectors"]
            else:
                found = [json.loads(line)["vector"] for line in path.read_text().splitlines()]
            np.testing.assert_allclose(found, expected, atol=1e-5)
    printed = run(embed.main, *model, *texts)
    assert [json.loads(line)["text"] for line in printed.splitlines()] == texts
    assert sorted(path.name for path in tmp_path.iterdir() if "vectors." in path.name) == [
        "vectors.jsonl",
        "vectors.npz",
    ]


def test_embed_words(run: Run, exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.npz"
    arguments = ("--words", "first", "--layers", "all", "--output", path)
    run(embed.main, "--model", exported, "ba ko", "ta", "--quiet", *arguments)
    found = np.load(path)
    words = bert_jax.load(exported).words(["ba ko", "ta"], pieces="first", layers="all")
    assert found["text"].tolist() == [0, 0, 1]
    assert found["start"].tolist() == [0, 3, 0]
    assert found["end"].tolist() == [2, 5, 2]
    flat = [word.vector for of_text in words for word in of_text]
    np.testing.assert_allclose(found["vectors"], flat, atol=1e-5)


def test_attentions(run: Run, exported: Path, tmp_path: Path) -> None:
    printed = run(attentions.main, "--model", exported, "ba ko", "--layers", "0", "--heads", "1")
    assert "layer 0, head 1" in printed
    run(attentions.main, "--model", exported, "ba", "ko", "--output", tmp_path / "a.npz")
    found = np.load(tmp_path / "a.npz")
    np.testing.assert_allclose(found["attentions"].sum(-1), 1, atol=1e-5)
    assert found["attentions"].shape[-1] == len(found["tokens"])
    printed = run(attentions.main, "--model", exported, "ba", "--heads", "9", status=2)
    assert "there is no head 9" in printed


def test_parity(run: Run, trained: Path, exported: Path, tmp_path: Path) -> None:
    printed = run(parity.main, trained, exported)
    assert "layer 1" in printed
    assert "0 of 32 hard strings differ" in printed
    assert "equal to rounding" in printed
    other = tmp_path / "other"
    bert = bert_jax.load(exported)
    bert.params["bert"]["pooler"]["dense"]["bias"] += 0.1
    bert.save(other)
    found = json.loads(run(parity.main, exported, other, "--json"))
    differs = [row["what"] for row in found["differences"] if not row["is_rounding"]]
    assert differs == ["pooled", "nsp_logits"]
    assert not found["is_rounding"]
    assert found["same_first"] == 1


def test_an_archive(run: Run, trained: Path, tmp_path: Path) -> None:
    run(convert.main, trained, tmp_path / "google", "--to", "google")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in (tmp_path / "google").iterdir():
            archive.write(file, f"uncased_L-2/{file.name}")
    printed = run(parity.main, trained, tmp_path / "model.zip")
    assert "equal to rounding" in printed


def test_bad_folders(run: Run, exported: Path, tmp_path: Path) -> None:
    def changed(name: str, **settings: object) -> Path:
        folder = tmp_path / name
        shutil.copytree(exported, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))
        return folder

    def complaint(folder: Path, *more: object) -> str:
        return run(fill_mask.main, "--model", folder, "[MASK]", *more, status=2)

    cut = changed("cut")
    weights = (cut / "model.safetensors").read_bytes()
    for content in (b"", b"garbage" * 9, weights[:1000], weights[:-1]):
        (cut / "model.safetensors").write_bytes(content)
        assert "model.safetensors is damaged" in complaint(cut)
    (cut / "model.safetensors").unlink()
    assert "has a config but no weights" in complaint(cut)
    (cut / "pytorch_model.bin").write_bytes(b"anything")
    assert "allow it by --allow-pickle" in complaint(cut)
    assert "pytorch_model.bin" in complaint(cut, "--allow-pickle")
    assert "these do not belong together" in complaint(changed("wide", hidden_size=64))
    assert "the weights lack bert.encoder.layer.1." in complaint(changed("d", num_hidden_layers=3))
    deep = changed("deep")
    tensors = load_file(deep / "model.safetensors")
    more = {name.replace("layer.0", "layer.1"): tensor for name, tensor in tensors.items()}
    save_file(tensors | more, deep / "model.safetensors")
    assert "the weights have a layer 1, the config says 1 layers" in complaint(deep)
    assert "hidden_act is 'swishy'" in complaint(changed("activation", hidden_act="swishy"))
    relative = changed("relative", position_embedding_type="relative_key")
    assert "relative positions are not" in complaint(relative)
    assert "only 'bert' is supported" in complaint(changed("kind", model_type="roberta"))
    assert "decoders are not supported" in complaint(changed("decoder", is_decoder=True))
    assert "the tokenizer has 150 pieces, the config says 900" in complaint(
        changed("size", vocab_size=900)
    )
    (broken := changed("broken") / "config.json").write_text('{"a')
    assert "config.json is damaged" in complaint(broken.parent)
    wordless = changed("wordless")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (wordless / name).unlink()
    assert "has no tokenizer" in complaint(wordless)
    assert "nothing is downloaded" in complaint(tmp_path / "nowhere")
    (tmp_path / "file").write_text("text")
    assert "neither a folder nor a zip archive" in complaint(tmp_path / "file")
    printed = run(convert.main, exported, wordless, "--to", "google", status=2)
    assert "exists already" in printed


def test_bad_texts(run: Run, exported: Path, tmp_path: Path) -> None:
    def complaint(content: str, name: str = "texts.txt", *more: object) -> str:
        (tmp_path / name).write_text(content)
        arguments = ("--model", exported, "--input", tmp_path / name, *more)
        return run(embed.main, *arguments, status=2)

    assert "there is no text in the input" in complaint("")
    assert "is not JSON" in complaint("{", "texts.jsonl")
    assert "has no field 'text', only 'txt'" in complaint('{"txt": "a"}', "texts.jsonl")
    long = "ba " * 600
    assert "truncate it or read it in windows" in complaint(long, "a.txt", "--too-long", "error")
    assert "must end in .npz or .jsonl" in complaint("a", "a.txt", "--output", "vectors.csv")
    assert "there is no layer 9" in complaint("a", "a.txt", "--layers", "9")
    assert "give texts, or a file" in run(embed.main, "--model", exported, status=2)
    assert "is no file" in run(embed.main, "--model", exported, "--input", "nowhere", status=2)
