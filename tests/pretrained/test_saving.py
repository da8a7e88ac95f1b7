"""What is written for other programs, beside the weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from model_cases import TEXTS, make_model, make_tokenizer
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.errors import UserError
from bert_jax.model.labels import Labels
from bert_jax.pretrained import Pretrained

SIZES = {"wordpiece": 200, "bpe": 150, "byte_bpe": 300, "unigram": 80, "sentencepiece_bpe": 120}


@pytest.mark.parametrize("kind", SIZES)
def test_every_vocabulary_goes_round_and_opens_in_tokenizers(kind: str, tmp_path: Path) -> None:
    """The library's own reader stands for `transformers`, which builds on it."""
    before = make_model(make_tokenizer(SIZES[kind], type=kind))
    before.save(tmp_path / "model")
    after = bert_jax.load(tmp_path / "model")
    assert after.tokenizer.hash == before.tokenizer.hash
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    for text in TEXTS:
        encoding = theirs.encode(text, TEXTS[0])
        assert encoding.ids == before.tokenizer.encode(text, TEXTS[0]).ids
        assert encoding.type_ids == before.tokenizer.encode(text, TEXTS[0]).segment_ids
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 64


def test_parts_that_were_never_trained_are_left_out(bert: Pretrained, tmp_path: Path) -> None:
    parts = frozenset({"predictions"})
    Pretrained(bert.model, bert.params, bert.tokenizer, parts=parts).save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings["architectures"] == ["BertForMaskedLM"]
    after = bert_jax.load(tmp_path / "model")
    assert after.parts == parts
    assert after.report.created == ["pooler", "seq_relationship"]
    outputs = after.forward([[2, 3]])
    assert outputs.pooled is None
    assert outputs.nsp_logits is None
    np.testing.assert_array_equal(outputs.mlm_logits, bert.forward([[2, 3]]).mlm_logits)


def test_a_place_that_is_taken(bert: Pretrained, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bert.save(tmp_path / "empty")
    with pytest.raises(UserError, match="exists already; choose another folder"):
        bert.save(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="exists already"):
        bert.save(tmp_path / "file")


def test_what_google_s_format_cannot_hold(tmp_path: Path) -> None:
    bert = make_model(make_tokenizer(), tie_decoder=False)
    with pytest.raises(UserError, match="no masked-word head with a matrix of its own"):
        bert.save(tmp_path / "google", "google")
    assert not list(tmp_path.iterdir())
    bert.save(tmp_path / "huggingface")
    after = bert_jax.load(tmp_path / "huggingface")
    assert not after.config.tie_decoder
    for one, other in zip(bert.forward([[2, 9, 3]]), after.forward([[2, 9, 3]]), strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_settings_of_sentence_transformers_are_handed_on(bert: Pretrained, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    bert.save(folder)
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    bert_jax.load(folder).save(tmp_path / "copy")
    for name in ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    bert_jax.load(folder).save(tmp_path / "google", "google")
    assert not (tmp_path / "google" / "modules.json").exists()


def test_what_a_classifier_s_config_says_is_kept(bert: Pretrained, tmp_path: Path) -> None:
    params = bert.params | {
        "classifier": {"dense": {"kernel": np.ones((32, 2)), "bias": np.zeros(2)}}
    }
    labels = Labels("sentence", ("calm", "angry"), "multi_label_classification")
    parts = frozenset({"pooler", "classifier"})
    before = Pretrained(bert.model, params, bert.tokenizer, parts=parts, labels=labels)
    before.save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings["problem_type"] == "multi_label_classification"
    assert settings["id2label"] == {"0": "calm", "1": "angry"}
    assert settings["pad_token_id"] == bert.tokenizer.pad_id
    assert bert_jax.load(tmp_path / "model").labels == labels


def test_a_tokenizer_that_cannot_be_used_leaves_the_weights(
    bert: Pretrained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bert.save(tmp_path / "model")
    for name, content in {
        "tokenizer.json": None,
        "tokenizer_config.json": None,
        "vocab.txt": "".join(f"piece{i}\n" for i in range(200)),
    }.items():
        (tmp_path / "model" / name).unlink()
        if content:
            (tmp_path / "model" / name).write_text(content)
    wordless = bert_jax.load(tmp_path / "model")
    assert "takes ids only" in caplog.text
    assert wordless.forward([[2, 3]]).pooled is not None
    with pytest.raises(UserError, match=r"the vocabulary lacks \[PAD\]"):
        wordless.embed(["a"])


def test_quantised_weights_are_refused(bert: Pretrained, tmp_path: Path) -> None:
    bert.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file(tensors | {name: tensors[name].astype(np.int8)}, path)
    with pytest.raises(UserError, match=f"{name} is int8; quantised weights are not supported"):
        bert_jax.load(tmp_path / "model")
