"""Beside torch and transformers themselves: models of theirs here, and ours there."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from differences import HIDDEN, apart, compare, relative
from tokenizers import normalizers

import bert_jax
from bert_jax import cli, parity
from bert_jax.model.sizes import SIZES
from bert_jax.pretrained import Outputs, Pretrained
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

pytestmark = pytest.mark.torch

REFERENCES = Path(__file__).parent / "references"
TEXTS = ["bad kilo", "do re mi, mi re do!", "Fa [MASK] la", "", "xyz 한 ab"]
PAIRS = ["mi", "", "do [MASK]", "la la la la", "BE"]
SLOW = ("small", "medium", "base", "large")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked about a folder, and triton does not meet TensorFlow."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "tensorflow" in sys.modules and "triton" not in sys.modules and find_spec("triton"):
        # Measured with torch 2.14.1, triton 3.8.0 and tensorflow-cpu 2.21.0.
        pytest.skip("importing triton after TensorFlow is a segmentation fault; use make parity")


def make_model(size: str) -> Any:
    """A BertForPreTraining of a published size; its parameters are as large as trained ones."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    width = SIZES[size]["width"]
    config = BertConfig(
        num_hidden_layers=SIZES[size]["num_layers"],
        num_attention_heads=SIZES[size]["num_heads"],
        hidden_size=width,
        intermediate_size=4 * width,
        attn_implementation="eager",  # the only one that returns attentions
    )
    torch.manual_seed(0)
    model = BertForPreTraining(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.1 if parameter.ndim == 1 or "embeddings" in name else width**-0.5
            parameter.normal_(float(name.endswith("LayerNorm.weight")), scale)
    return model


def run(model: Any, ids: np.ndarray, segments: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """What a model of transformers gives, by our names."""
    import torch

    inputs = {
        "input_ids": torch.from_numpy(ids),
        "token_type_ids": torch.from_numpy(segments),
        "attention_mask": torch.from_numpy(np.arange(ids.shape[1]) < lengths[:, None]).long(),
    }
    with torch.no_grad():
        seen = model(**inputs, output_hidden_states=True, output_attentions=True)
        found = {
            "hidden_states": torch.stack(seen.hidden_states),
            "attentions": torch.stack(seen.attentions),
            "mlm_logits": seen.get("prediction_logits"),
            "nsp_logits": seen.get("seq_relationship_logits"),
        }
        if "start_logits" in seen:
            found["class_logits"] = torch.stack([seen.start_logits, seen.end_logits], dim=-1)
        elif "logits" in seen:
            kind = type(model).__name__
            names = {"BertForMaskedLM": "mlm_logits", "BertForNextSentencePrediction": "nsp_logits"}
            found[names.get(kind, "class_logits")] = seen.logits
        encoder = getattr(model, "bert", model)
        if encoder.pooler is not None:
            found["pooled"] = encoder(**inputs).pooler_output
    return {name: tensor.numpy() for name, tensor in found.items() if tensor is not None}


def make_batch(vocab_size: int, num_tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two rows, one of them with padding, both with a second segment."""
    random = np.random.default_rng(0)
    lengths = np.array([num_tokens, 2 * num_tokens // 3])
    ids = random.integers(1, vocab_size, (2, num_tokens))
    places = np.arange(num_tokens)[None, :]
    ids = np.where(places < lengths[:, None], ids, 0)
    segments = ((places >= num_tokens // 2) & (ids > 0)).astype(np.int64)
    return ids, segments, lengths


@pytest.mark.parametrize(
    ("size", "num_tokens"),
    [("tiny", 64), ("tiny", 512), ("mini", 64)]
    + [pytest.param(size, 64, marks=pytest.mark.slow) for size in SLOW],
)
def test_their_model_gives_the_same_here(size: str, num_tokens: int, tmp_path: Path) -> None:
    model = make_model(size)
    model.save_pretrained(tmp_path)
    batch = make_batch(model.config.vocab_size, num_tokens)
    theirs = run(model, *batch)
    del model
    bert = bert_jax.load(tmp_path)
    assert {key: getattr(bert.config, key) for key in SIZES[size]} == SIZES[size]
    print(f"\n{size}, {num_tokens} tokens: ", end="")
    compare(bert.forward(*batch, attentions=True), theirs, batch[2])


def make_tokenizer(vocab_size: int) -> Tokenizer:
    """Lower-case WordPiece of syllables and letters."""
    syllables = "do re mi fa la ki ba bad ##do ##re ##lo ##la ##d".split()
    pieces = [*Specials(), *syllables, *"abcdefghijklmnopqrstuvwxyz,!"]
    pieces += [f"[unused{n}]" for n in range(vocab_size - len(pieces))]
    return Tokenizer(wordpiece_runtime(pieces, normalizers.BertNormalizer(lowercase=True)))


def export(reference: str, folder: Path) -> Pretrained:
    """A model of the references, with a tokenizer, as we write it."""
    read = bert_jax.load(REFERENCES / reference)
    bert = Pretrained(
        read.model,
        read.params,
        make_tokenizer(read.config.vocab_size),
        parts=read.parts,
        labels=read.labels,
    )
    bert.save(folder)
    return bert


@pytest.mark.parametrize(
    ("reference", "auto"),
    [
        ("pretraining", "AutoModelForPreTraining"),
        ("pretraining_relu_eps", "AutoModelForPreTraining"),
        ("pretraining_untied", "AutoModelForPreTraining"),
        ("masked_lm_gelu_new", "AutoModelForMaskedLM"),
        ("masked_lm_untied", "AutoModelForMaskedLM"),
        ("encoder", "AutoModel"),
        ("next_sentence", "AutoModelForNextSentencePrediction"),
        ("sentence_classifier", "AutoModelForSequenceClassification"),
        ("token_classifier", "AutoModelForTokenClassification"),
        ("question_answering", "AutoModelForQuestionAnswering"),
    ],
)
def test_our_model_gives_the_same_there(reference: str, auto: str, tmp_path: Path) -> None:
    import transformers

    bert = export(reference, tmp_path / "model")
    model, info = getattr(transformers, auto).from_pretrained(
        tmp_path / "model", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info.values()), info
    assert type(model).__name__ == model.config.architectures[0]
    if bert.labels and bert.labels.task != "spans":
        assert tuple(model.config.id2label.values()) == bert.labels.names
    batch = make_batch(bert.config.vocab_size, 20)
    compare(bert.forward(*batch, attentions=True), run(model.eval(), *batch), batch[2])


@pytest.mark.parametrize("tied", [True, False])
def test_model_of_both_heads_opens_as_one_of_masked_words(tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    bert = export("pretraining" if tied else "pretraining_untied", tmp_path / "model")
    model, info = AutoModelForMaskedLM.from_pretrained(
        tmp_path / "model", output_loading_info=True, attn_implementation="eager"
    )
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    assert all(".pooler." in key or "seq_relationship" in key for key in info["unexpected_keys"])
    batch = make_batch(bert.config.vocab_size, 20)
    ours = bert.forward(*batch, attentions=True)
    compare(ours._replace(pooled=None, nsp_logits=None), run(model.eval(), *batch), batch[2])


def test_tokenizer_opens_there(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    bert = export("pretraining", tmp_path / "model")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.model_max_length == bert.config.max_positions
    for pairs in (None, PAIRS):
        ours = bert.tokenizer.encode_batch(TEXTS, pairs)
        found = theirs(TEXTS, pairs)
        assert found["input_ids"] == [encoding.ids for encoding in ours]
        assert found["token_type_ids"] == [encoding.segment_ids for encoding in ours]
    assert (theirs.mask_token_id, theirs.pad_token_id) == (
        bert.tokenizer.mask_id,
        bert.tokenizer.pad_id,
    )


def test_fill_mask_finds_the_same_words(tmp_path: Path) -> None:
    from transformers import pipeline

    bert = export("pretraining", tmp_path / "model")
    fill = pipeline("fill-mask", model=str(tmp_path / "model"), top_k=5)
    for text in ("do re [MASK] fa", "[MASK] bad, la!"):
        (ours,) = bert.fill_mask(text, top_k=5)
        theirs = fill(text)
        assert [guess["token"] for guess in theirs] == [guess.token_id for guess in ours]
        assert [guess["token_str"] for guess in theirs] == [guess.token for guess in ours]
        scores = [np.array([g["score"] for g in theirs]), np.array([g.probability for g in ours])]
        assert apart(*scores) <= 1e-5


def test_classification_pipelines_name_our_classes(tmp_path: Path) -> None:
    from transformers import pipeline

    bert = export("sentence_classifier", tmp_path / "model")
    (found,) = pipeline("text-classification", model=str(tmp_path / "model"), top_k=None)(["do re"])
    (logits,) = bert.forward([bert.tokenizer.encode("do re").ids]).class_logits
    ours = np.exp(logits) / np.exp(logits).sum()
    assert {guess["label"] for guess in found} == set(bert.labels.names)
    for guess in found:
        assert guess["score"] == pytest.approx(ours[bert.labels.names.index(guess["label"])], 1e-5)


@pytest.mark.parametrize("reference", ["encoder", "pretraining"])
def test_sentence_transformers_makes_the_same_vectors(reference: str, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    bert = export(reference, tmp_path / "model")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    texts = [*TEXTS, "do re mi " * 30]  # longer than the model
    vectors = theirs.encode(texts)
    assert relative(bert.embed(texts), vectors) <= HIDDEN


def test_they_save_what_we_wrote_and_it_is_the_same(tmp_path: Path) -> None:
    """There and back again, through another program."""
    from transformers import AutoModelForPreTraining, AutoTokenizer

    bert = export("pretraining_untied", tmp_path / "ours")
    AutoModelForPreTraining.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = bert_jax.load(tmp_path / "theirs")
    assert back.config == bert.config
    assert [e.ids for e in back.tokenizer.encode_batch(TEXTS, PAIRS)] == [
        e.ids for e in bert.tokenizer.encode_batch(TEXTS, PAIRS)
    ]
    batch = make_batch(bert.config.vocab_size, 20)
    one, other = bert.forward(*batch), back.forward(*batch)
    for name in Outputs._fields:
        if getattr(one, name) is not None:
            assert apart(getattr(one, name), getattr(other, name)) == 0, name


@pytest.fixture
def run_parity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., list[str]]:
    """Runs the command and returns its lines; status 2 is an error in one line."""

    def run_parity(*arguments: object, status: int = 0) -> list[str]:
        monkeypatch.setattr("sys.argv", ["parity", *map(str, arguments)])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as caught:
            cli.run(parity.main)
        printed = capsys.readouterr()
        assert caught.value.code == status, printed
        assert "Traceback" not in printed.err
        return (printed.err if status else printed.out).splitlines()

    return run_parity


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("pretraining", ["pooled", "mlm_logits", "nsp_logits"]),
        ("masked_lm_untied", ["mlm_logits"]),
        ("encoder", ["pooled"]),
        ("next_sentence", ["pooled", "nsp_logits"]),
        ("sentence_classifier", ["pooled", "class_logits"]),
        ("token_classifier", ["class_logits"]),
        ("question_answering", ["class_logits"]),
    ],
)
def test_parity_command(
    reference: str, parts: list[str], run_parity: Callable, tmp_path: Path
) -> None:
    export(reference, tmp_path / "model")
    lines = run_parity(tmp_path / "model", f"torch:{tmp_path / 'model'}")
    known = ("pooled", "mlm_logits", "nsp_logits", "class_logits")
    assert [name for name in known if any(line.startswith(name) for line in lines)] == parts
    assert not any(line.startswith("not compared") for line in lines)
    assert lines[-1] == "equal to rounding"


def test_parity_of_a_padded_vocabulary(run_parity: Callable, tmp_path: Path) -> None:
    """Ours crops what transformers keeps."""
    from transformers import AutoModelForPreTraining

    bert = export("pretraining", tmp_path / "model")
    model = AutoModelForPreTraining.from_pretrained(tmp_path / "model")
    model.resize_token_embeddings(bert.config.vocab_size, pad_to_multiple_of=8)
    model.save_pretrained(tmp_path / "model")
    lines = run_parity(f"torch:{tmp_path / 'model'}", tmp_path / "model")
    missing = model.config.vocab_size - bert.config.vocab_size
    assert missing > 0
    assert f"not compared: {missing} rows beyond the vocabulary" in lines
    assert any(line.startswith("mlm_logits") for line in lines)
    assert lines[-1] == "what both have is equal to rounding"


def test_parity_of_multiple_choice(run_parity: Callable, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, BertForMultipleChoice

    folder = tmp_path / "model"
    export("sentence_classifier", folder)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    BertForMultipleChoice(config).save_pretrained(folder)
    lines = run_parity(folder, f"torch:{folder}")
    assert any(line.startswith("class_logits") for line in lines)
    assert lines[-1] == "equal to rounding"


def test_parity_with_heads_that_transformers_made_up(run_parity: Callable, tmp_path: Path) -> None:
    """What is random there is compared with nothing."""
    folder = tmp_path / "model"
    export("masked_lm_untied", folder)
    for architecture in ("BertForPreTraining", "BertForSequenceClassification"):
        content = json.loads((folder / "config.json").read_text())
        content["architectures"] = [architecture]
        (folder / "config.json").write_text(json.dumps(content))
        lines = run_parity(f"torch:{folder}", f"torch:{folder}")
        rows = [line.split()[0] for line in lines]
        assert not {"pooled", "nsp_logits", "class_logits"} & set(rows)
        assert ("mlm_logits" in rows) is (architecture == "BertForPreTraining")


def test_parity_refuses_what_transformers_cannot_read(run_parity: Callable, tmp_path: Path) -> None:
    def complaint(name: str, content: bytes) -> str:
        folder = tmp_path / "broken" / name
        shutil.copytree(tmp_path / "model", folder)
        (folder / name).write_bytes(content)
        return run_parity(f"torch:{folder}", tmp_path / "model", status=2)[-1]

    export("pretraining", tmp_path / "model")
    said = f"error: transformers cannot read {tmp_path / 'broken'}"
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    config = (tmp_path / "model" / "config.json").read_bytes()
    for name, content in (
        ("model.safetensors", weights[:1000]),
        ("model.safetensors", weights[:-1]),
        ("model.safetensors", b""),
        ("config.json", config[:50]),
        ("config.json", config.replace(b'"hidden_size": 24', b'"hidden_size": 48')),
        ("config.json", config.replace(b'"BertForPreTraining"', b'"BertTokenizer"')),
        ("tokenizer.json", b'{"version": "1.0"}'),
        ("tokenizer.json", b"{"),
        ("config.json", b'{"model_type": "clip"}'),
    ):
        assert complaint(name, content).startswith(said)
        shutil.rmtree(tmp_path / "broken")
