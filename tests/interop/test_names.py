"""Every tensor finds its parameter, whatever it is called and however it lies in the file."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from model_folders import (
    DECODER,
    HEADS,
    VOCAB_SIZE,
    WORDS,
    Folder,
    differing,
    make_bert,
    make_config,
    make_tokenizer,
    padded,
)
from safetensors.numpy import save_file

import bert_jax
from bert_jax.errors import UserError
from bert_jax.interop import google, huggingface
from bert_jax.interop.naming import PARTS
from bert_jax.interop.parameters import shapes_of
from bert_jax.model.labels import Labels

Tensors = dict[str, np.ndarray]

# A model of one layer, as run_pretraining.py of google-research/bert writes it.
GOOGLE_NAMES = """
bert/embeddings/LayerNorm/beta
bert/embeddings/LayerNorm/gamma
bert/embeddings/position_embeddings
bert/embeddings/token_type_embeddings
bert/embeddings/word_embeddings
bert/encoder/layer_0/attention/output/LayerNorm/beta
bert/encoder/layer_0/attention/output/LayerNorm/gamma
bert/encoder/layer_0/attention/output/dense/bias
bert/encoder/layer_0/attention/output/dense/kernel
bert/encoder/layer_0/attention/self/key/bias
bert/encoder/layer_0/attention/self/key/kernel
bert/encoder/layer_0/attention/self/query/bias
bert/encoder/layer_0/attention/self/query/kernel
bert/encoder/layer_0/attention/self/value/bias
bert/encoder/layer_0/attention/self/value/kernel
bert/encoder/layer_0/intermediate/dense/bias
bert/encoder/layer_0/intermediate/dense/kernel
bert/encoder/layer_0/output/LayerNorm/beta
bert/encoder/layer_0/output/LayerNorm/gamma
bert/encoder/layer_0/output/dense/bias
bert/encoder/layer_0/output/dense/kernel
bert/pooler/dense/bias
bert/pooler/dense/kernel
cls/predictions/output_bias
cls/predictions/transform/LayerNorm/beta
cls/predictions/transform/LayerNorm/gamma
cls/predictions/transform/dense/bias
cls/predictions/transform/dense/kernel
cls/seq_relationship/output_bias
cls/seq_relationship/output_weights
""".split()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "model", make_bert())


@pytest.mark.parametrize("names_of", [google.names_of, huggingface.names_of])
@pytest.mark.parametrize("num_layers", [1, 12])
def test_each_parameter_has_one_name(names_of: Callable, num_layers: int) -> None:
    config = make_config(num_layers=num_layers)
    names = names_of(config)
    shapes = shapes_of(config, num_classes=None)
    assert sorted(name.path for name in names) == sorted(shapes)
    assert len({name.name for name in names}) == len(names)
    # What is not a matrix has no other way round to lie.
    assert all(len(shapes[name.path]) == 2 for name in names if name.transposed)
    for task in ("sentence", "spans"):
        paths = [name.path for name in names_of(config, task=task)]
        assert sorted(paths) == sorted(
            [*shapes, "classifier/dense/bias", "classifier/dense/kernel"]
        )


def test_untied_matrix_has_a_name() -> None:
    config = make_config(tie_decoder=False)
    names = huggingface.names_of(config)
    assert sorted(name.path for name in names) == sorted(shapes_of(config, num_classes=None))
    assert {name.name: name.transposed for name in names}[f"{DECODER}.weight"] is False


def test_google_s_names_are_those_published() -> None:
    names = google.names_of(make_config(num_layers=1))
    assert sorted(name.name for name in names) == sorted(GOOGLE_NAMES)
    # Only this one matrix lies [out, in].
    assert [name.name for name in names if name.transposed] == [
        "cls/seq_relationship/output_weights"
    ]


def test_torch_s_dense_layers_are_transposed_and_nothing_else() -> None:
    for name in huggingface.names_of(make_config()):
        is_table = "embeddings" in name.name
        is_dense = name.name.endswith(".weight") and "LayerNorm" not in name.name and not is_table
        assert name.transposed == is_dense, name


def renamed(tensors: Tensors, change: Callable[[str], str]) -> Tensors:
    return {change(name): array for name, array in tensors.items()}


def old_layer_norms(name: str) -> str:
    if "LayerNorm" not in name:
        return name
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def with_decoder(tensors: Tensors, *, bias: bool) -> Tensors:
    more = {f"{DECODER}.weight": tensors[f"bert.{WORDS}"]}
    if bias:
        more[f"{DECODER}.bias"] = tensors["cls.predictions.bias"]
    return tensors | more


def decoder_bias_only(tensors: Tensors) -> Tensors:
    return renamed(
        tensors, lambda name: name.replace("predictions.bias", "predictions.decoder.bias")
    )


POSITION_IDS = np.arange(40)[None, :]

# Files that hold the same model, and how many of their tensors are of no use.
SAME: dict[str, tuple[Callable[[Tensors], Tensors], int]] = {
    "as written": (lambda t: t, 0),
    "module. before all": (lambda t: renamed(t, lambda name: f"module.{name}"), 0),
    "gamma and beta": (lambda t: renamed(t, old_layer_norms), 0),
    "module. and gamma": (lambda t: renamed(t, lambda n: "module." + old_layer_norms(n)), 0),
    "position ids": (lambda t: t | {"bert.embeddings.position_ids": POSITION_IDS}, 1),
    "decoder equal": (lambda t: with_decoder(t, bias=False), 1),
    "decoder and its bias equal": (lambda t: with_decoder(t, bias=True), 2),
    "decoder's bias only": (decoder_bias_only, 0),
    "decoder, its bias only": (lambda t: decoder_bias_only(with_decoder(t, bias=False)), 1),
    "float64": (lambda t: {name: array.astype(np.float64) for name, array in t.items()}, 0),
}


@pytest.mark.parametrize("case", SAME)
def test_same_model_under_other_names(case: str, folder: Folder) -> None:
    change, num_ignored = SAME[case]
    tensors = change(folder.tensors)
    bert = bert_jax.load(folder.write(tensors))
    assert not differing(bert.params, make_bert().params)
    assert bert.config == make_config()
    assert bert.parts == {"pooler", "predictions", "seq_relationship"}
    # Every tensor of the file is accounted for.
    assert len(bert.report.ignored) == num_ignored
    assert len(bert.report.loaded) == len(tensors) - num_ignored
    assert not bert.report.created


@pytest.mark.parametrize("prefix", ["", "bert.", "module.", "module.bert."])
def test_encoder_alone(prefix: str, folder: Folder) -> None:
    tensors = {
        prefix + name.removeprefix("bert."): array
        for name, array in folder.tensors.items()
        if name.startswith("bert.")
    } | {f"{prefix}embeddings.position_ids": POSITION_IDS}
    bert = bert_jax.load(folder.write(tensors))
    assert differing(bert.params["bert"], make_bert().params["bert"]) == []
    assert bert.parts == {"pooler"}
    assert bert.report.created == ["predictions", "seq_relationship"]
    assert list(bert.report.ignored.values()) == ["buffers"]
    assert len(bert.report.loaded) == len(tensors) - 1


@pytest.mark.parametrize("head", HEADS)
def test_missing_head_is_none_and_named(
    head: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    bert = bert_jax.load(folder.write({n: a for n, a in folder.tensors.items() if head not in n}))
    part = head.split(".")[1]
    assert bert.report.created == [part]
    assert bert.parts == {"pooler", "predictions", "seq_relationship"} - {part}
    outputs = bert.forward([[1, 2, 3]])
    fields = {"pooler": "pooled", "predictions": "mlm_logits", "seq_relationship": "nsp_logits"}
    absent = [field for field in fields.values() if getattr(outputs, field) is None]
    assert absent == [fields[part]]
    assert "initialised" in caplog.text


def test_what_is_initialised_is_the_same_each_time(folder: Folder) -> None:
    path = folder.write({n: a for n, a in folder.tensors.items() if n.startswith("bert.")})
    assert not differing(bert_jax.load(path).params, bert_jax.load(path).params)


@pytest.mark.parametrize(
    "missing",
    [
        "cls.predictions.transform.dense.bias",
        "cls.predictions.bias",
        "cls.seq_relationship.weight",
        "bert.pooler.dense.bias",
        "bert.embeddings.token_type_embeddings.weight",
        "bert.encoder.layer.1.output.LayerNorm.weight",
    ],
)
def test_part_that_is_incomplete_is_refused(missing: str, folder: Folder) -> None:
    del folder.tensors[missing]
    with pytest.raises(UserError, match=rf"lack {missing}; get the folder again"):
        bert_jax.load(folder.write(folder.tensors))


def test_missing_layers_are_refused(folder: Folder) -> None:
    tensors = {n: a for n, a in folder.tensors.items() if ".layer.1." not in n}
    with pytest.raises(UserError, match=r"lack bert.encoder.layer.1.* and 15 more"):
        bert_jax.load(folder.write(tensors))


def test_layers_that_the_config_does_not_count_are_refused(folder: Folder) -> None:
    """An encoder cut short would still give vectors, of nothing that it was trained for."""
    with pytest.raises(UserError, match="have a layer 1, the config says 1 layers"):
        bert_jax.load(folder.write(folder.tensors, num_hidden_layers=1))


def test_unknown_tensors_are_reported(folder: Folder) -> None:
    more = {"bert.adapter.weight": np.ones((2, 2)), "vision.bias": np.ones(3)}
    bert = bert_jax.load(folder.write(folder.tensors | more))
    assert bert.report.ignored == dict.fromkeys(more, "unknown")
    assert ("ignored", "2 unknown: bert.adapter.weight, vision.bias") in bert.report.rows()


@pytest.mark.parametrize("said", [True, False])
def test_decoder_of_its_own_is_used_whatever_the_config_says(said: bool, folder: Folder) -> None:
    """As in transformers 5, whose bias is then the decoder's too."""
    own = np.random.default_rng(3).normal(size=(VOCAB_SIZE, 24)).astype(np.float32)
    bias = np.arange(VOCAB_SIZE, dtype=np.float32)
    tensors = folder.tensors | {f"{DECODER}.weight": own, f"{DECODER}.bias": bias}
    bert = bert_jax.load(folder.write(tensors, tie_word_embeddings=said))
    assert not bert.config.tie_decoder
    np.testing.assert_array_equal(bert.params["predictions"]["decoder"], own)
    np.testing.assert_array_equal(bert.params["predictions"]["bias"], bias)
    assert bert.report.ignored == {"cls.predictions.bias": "superfluous"}


def test_of_two_biases_the_decoder_s_counts(folder: Folder) -> None:
    """As in transformers 5.23, which was asked."""
    bias = np.arange(VOCAB_SIZE, dtype=np.float32)
    bert = bert_jax.load(folder.write(folder.tensors | {f"{DECODER}.bias": bias}))
    assert bert.config.tie_decoder
    np.testing.assert_array_equal(bert.params["predictions"]["bias"], bias)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(dtype: type, folder: Folder) -> None:
    tensors = {name: array.astype(dtype) for name, array in folder.tensors.items()}
    bert = bert_jax.load(folder.write(tensors))
    rounded = {name: array.astype(np.float32) for name, array in tensors.items()}
    reference = bert_jax.load(Folder(folder.path.parent / "rounded", make_bert()).write(rounded))
    assert not differing(bert.params, reference.params)
    assert differing(bert.params, make_bert().params)


@pytest.mark.parametrize("num_rows", [136, 192, 256])
@pytest.mark.parametrize("config_says", ["the rows", "the vocabulary"])
@pytest.mark.parametrize("tied", [True, False])
def test_padded_vocabulary_is_cropped(
    num_rows: int, config_says: str, tied: bool, tmp_path: Path
) -> None:
    original = make_bert(tie_decoder=tied, tokenizer=make_tokenizer())
    folder = Folder(tmp_path / "model", original)
    by_piece = {n: a for n, a in folder.tensors.items() if len(a) == VOCAB_SIZE}
    assert len(by_piece) == (2 if tied else 4)
    tensors = folder.tensors | {n: padded(array, num_rows) for n, array in by_piece.items()}
    size = num_rows if config_says == "the rows" else VOCAB_SIZE
    bert = bert_jax.load(folder.write(tensors, vocab_size=size))
    assert not differing(bert.params, original.params)
    assert bert.config == original.config
    assert bert.report.cropped == num_rows - VOCAB_SIZE


@pytest.mark.parametrize("num_rows", [129, 131, 132, 320])
def test_table_of_another_size_is_refused(num_rows: int, folder: Folder) -> None:
    name = f"bert.{WORDS}"
    tensors = folder.tensors | {name: np.ones((num_rows, 24), np.float32)}
    with pytest.raises(UserError, match=rf"{name} has the shape \[{num_rows}, 24\].*\[130, 24\]"):
        bert_jax.load(folder.write(tensors))


def test_tables_without_a_vocabulary_are_never_cropped(folder: Folder) -> None:
    name = "bert.embeddings.position_embeddings.weight"
    tensors = folder.tensors | {name: np.ones((48, 24), np.float32)}
    with pytest.raises(UserError, match=r"\[48, 24\].*\[40, 24\]"):
        bert_jax.load(folder.write(tensors))


def test_tokenizer_of_another_size_is_refused(folder: Folder) -> None:
    make_tokenizer(125).save(folder.path / "new")
    for file in (folder.path / "new").iterdir():
        file.rename(folder.path / file.name)
    with pytest.raises(UserError, match="the tokenizer has 125 pieces, the config says 130"):
        bert_jax.load(folder.path)


def test_transposed_matrix_is_refused(folder: Folder) -> None:
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(UserError, match=rf"{name} has the shape \[24, 56\].*\[56, 24\]"):
        bert_jax.load(folder.write(folder.tensors | {name: folder.tensors[name].T}))


def write_shards(folder: Folder) -> list[str]:
    (folder.path / "model.safetensors").unlink()
    names = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"]
    names.append("model-00003-of-00003.safetensors")
    weight_map = {name: names[n % 3] for n, name in enumerate(sorted(folder.tensors))}
    for file in names:
        part = {name: folder.tensors[name] for name in weight_map if weight_map[name] == file}
        save_file(part, folder.path / file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder.path / "model.safetensors.index.json").write_text(json.dumps(index))
    return names


def test_shards_are_put_together(folder: Folder) -> None:
    write_shards(folder)
    save_file({"state": np.ones(2)}, folder.path / "optimizer.safetensors")  # not listed
    bert = bert_jax.load(folder.path)
    assert not differing(bert.params, make_bert().params)
    assert not bert.report.ignored


def test_missing_shard_is_named(folder: Folder) -> None:
    gone = write_shards(folder)[1]
    (folder.path / gone).unlink()
    with pytest.raises(UserError, match=f"index.json lists {gone}, which is not there"):
        bert_jax.load(folder.path)


def test_files_are_recognised_by_their_content(tmp_path: Path) -> None:
    labels = Labels("sentence", ("no", "yes"))
    original = make_bert(labels=labels, tokenizer=make_tokenizer())
    folder = Folder(tmp_path / "model", original)
    folder.write(folder.tensors, "weights.safetensors")
    (folder.path / "config.json").rename(folder.path / "bert.json")
    bert = bert_jax.load(folder.path)
    assert not differing(bert.params, original.params)
    assert (bert.labels, bert.tokenizer.hash) == (labels, original.tokenizer.hash)
    assert bert.parts == {*PARTS}


def test_config_says_nothing_of_the_tie(folder: Folder) -> None:
    """Older files do not have the key; `tie_decoder` follows the tensors."""
    folder.config.pop("tie_word_embeddings")
    bert = bert_jax.load(folder.write(folder.tensors))
    assert bert.config == dataclasses.replace(make_config(), tie_decoder=True)
