"""Checkpoints as TensorFlow 1 wrote them, with all that training left in them, and archives."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from model_folders import differing, make_bert, make_tokenizer, padded

import bert_jax
from bert_jax.data.tensorflow_setup import tf
from bert_jax.errors import UserError
from bert_jax.interop import google
from bert_jax.pretrained import Pretrained

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def original() -> Pretrained:
    return make_bert(tokenizer=make_tokenizer())


@pytest.fixture
def folder(original: Pretrained, tmp_path: Path) -> Path:
    path = tmp_path / "uncased_L-2_H-24_A-3"
    original.save(path, "google")
    return path


def read(folder: Path) -> Tensors:
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def rewrite(folder: Path, tensors: Tensors, name: str = "bert_model.ckpt") -> None:
    for file in folder.glob("bert_model.ckpt*"):
        file.unlink()
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )


@pytest.mark.parametrize("slots", [("adam_m", "adam_v"), ("lamb_m", "lamb_v")])
def test_slots_of_optimizers_are_ignored_and_counted(
    slots: tuple[str, str], folder: Path, original: Pretrained
) -> None:
    """As in a checkpoint of run_pretraining.py, before anyone made it smaller."""
    tensors = read(folder)
    more = {f"{name}/{slot}": np.ones_like(a) for name, a in tensors.items() for slot in slots}
    more |= {"global_step": np.array(1_000_000), "beta1_power": np.float32(0.0)}
    rewrite(folder, tensors | more, "model.ckpt-1000000")
    bert = bert_jax.load(folder)
    assert not differing(bert.params, original.params)
    assert bert.report.ignored == dict.fromkeys(more, "of an optimizer")
    assert sorted(bert.report.loaded) == sorted(tensors)
    assert sorted(bert.report.loaded) == sorted(n.name for n in google.names_of(original.config))


@pytest.mark.parametrize(
    "name", ["bert_model.ckpt", "model.ckpt-28252", "my model.best", "weights"]
)
def test_any_name_will_do(name: str, folder: Path, original: Pretrained) -> None:
    rewrite(folder, read(folder), name)
    (folder / "bert_config.json").rename(folder / "settings.json")
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{name}"\n')
    bert = bert_jax.load(folder)
    assert not differing(bert.params, original.params)
    assert bert.tokenizer.hash == original.tokenizer.hash


@pytest.mark.parametrize("scope", ["module/bert/", "", "a/b/bert/"])
def test_scopes_around_the_model(scope: str, folder: Path, original: Pretrained) -> None:
    outer = scope.removesuffix("bert/")
    tensors = {
        scope + name.removeprefix("bert/") if name.startswith("bert/") else outer + name: array
        for name, array in read(folder).items()
    }
    rewrite(folder, tensors)
    bert = bert_jax.load(folder)
    assert not differing(bert.params, original.params)
    assert not bert.report.ignored


def test_of_two_checkpoints_none_is_chosen(folder: Path) -> None:
    for number in (1, 2):
        for file in list(folder.glob("bert_model.ckpt.*")):
            shutil.copy(file, folder / file.name.replace("bert_model", f"model-{number}"))
    with pytest.raises(UserError, match="holds 3 checkpoints"):
        bert_jax.load(folder)


def test_encoder_alone(folder: Path) -> None:
    rewrite(folder, {n: a for n, a in read(folder).items() if not n.startswith("cls/")})
    bert = bert_jax.load(folder)
    assert bert.parts == {"pooler"}
    assert bert.report.created == ["predictions", "seq_relationship"]


def test_incomplete_head_is_refused(folder: Path) -> None:
    tensors = read(folder)
    del tensors["cls/predictions/output_bias"]
    rewrite(folder, tensors)
    with pytest.raises(UserError, match="lack cls/predictions/output_bias"):
        bert_jax.load(folder)


def test_padded_vocabulary_is_cropped(folder: Path, original: Pretrained) -> None:
    """As in checkpoints for mixed precision."""
    tensors = read(folder)
    for name in ("bert/embeddings/word_embeddings", "cls/predictions/output_bias"):
        tensors[name] = padded(tensors[name], 136)
    rewrite(folder, tensors)
    bert = bert_jax.load(folder)
    assert not differing(bert.params, original.params)
    assert bert.report.cropped == 6


@pytest.mark.parametrize("prefix", ["", "cls/squad/"])
def test_classifiers_of_google_s_programs(prefix: str, folder: Path) -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(2, 24)).astype(np.float32)
    more = {f"{prefix}output_weights": weights, f"{prefix}output_bias": weights[:, 0]}
    kept = {n: a for n, a in read(folder).items() if not n.startswith("cls/")}
    rewrite(folder, kept | more)
    bert = bert_jax.load(folder)
    assert bert.labels[:2] == (
        ("spans", ("start", "end")) if prefix else ("sentence", ("LABEL_0", "LABEL_1"))
    )
    outputs = bert.forward([[1, 2, 3]])
    vectors = outputs.hidden_states[-1] if prefix else outputs.pooled
    expected = vectors @ weights.T + weights[:, 0]
    np.testing.assert_allclose(outputs.class_logits, expected, atol=1e-5)


def test_config_of_2018_is_enough(folder: Path, original: Pretrained) -> None:
    """What Google's file says, and not more: LayerNorm's epsilon is then 1e-12."""
    said = json.loads((folder / "bert_config.json").read_text())
    keys = """attention_probs_dropout_prob hidden_act hidden_dropout_prob hidden_size
        initializer_range intermediate_size max_position_embeddings num_attention_heads
        num_hidden_layers type_vocab_size vocab_size""".split()
    assert set(keys) <= said.keys()
    published = {key: said[key] for key in keys} | {"hidden_act": "gelu", "directionality": "bidi"}
    (folder / "bert_config.json").write_text(json.dumps(published))
    bert = bert_jax.load(folder)
    assert (bert.config.activation, bert.config.layer_norm_epsilon) == ("gelu", 1e-12)
    assert not differing(bert.params, original.params)


@pytest.mark.parametrize("layout", ["google", "huggingface"])
@pytest.mark.parametrize("top", ["", "uncased_L-2_H-24_A-3/", "a/b/"])
def test_archives(layout: str, top: str, original: Pretrained, tmp_path: Path) -> None:
    original.save(tmp_path / "model", layout)
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in (tmp_path / "model").iterdir():
            packed.write(file, top + file.name)
        packed.writestr("__MACOSX/._config.json", b"\0\5\x16\7")
    bert = bert_jax.load(archive)
    assert not differing(bert.params, original.params)
    assert bert.config == original.config
    assert bert.tokenizer.hash == original.tokenizer.hash


def test_archive_without_a_model_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "text.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.txt", "no model")
    with pytest.raises(UserError, match=r"text\.zip holds no model"):
        bert_jax.load(archive)


def test_checkpoint_of_objects_is_refused(folder: Path) -> None:
    for file in folder.glob("bert_model.ckpt*"):
        file.unlink()
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(folder / "ckpt"))
    with pytest.raises(UserError, match="TensorFlow 2's objects, which is not supported"):
        bert_jax.load(folder)
