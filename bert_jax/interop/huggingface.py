"""Hugging Face's folders: `config.json`, `model.safetensors`, tokenizer files."""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from jaxtyping import PyTree
from safetensors.numpy import save_file

from bert_jax.errors import UserError
from bert_jax.interop.naming import Name, Stored, expand, tensors_of
from bert_jax.interop.settings import write_settings
from bert_jax.model.labels import Labels, Task
from bert_jax.model.sizes import BertConfig

# torch's Linear has its weight the other way round than a Dense of Flax: [out, in].
TABLE = {
    "bert/embeddings/word_embeddings": "bert.embeddings.word_embeddings.weight",
    "bert/embeddings/position_embeddings": "bert.embeddings.position_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "bert.embeddings.token_type_embeddings.weight",
    "bert/embeddings/LayerNorm/scale": "bert.embeddings.LayerNorm.weight",
    "bert/embeddings/LayerNorm/bias": "bert.embeddings.LayerNorm.bias",
    **{
        f"bert/encoder/layer_{{n}}/{ours}/{parameter}": f"bert.encoder.layer.{{n}}.{theirs}.{name}"
        for ours, theirs in {
            "attention/self/query": "attention.self.query",
            "attention/self/key": "attention.self.key",
            "attention/self/value": "attention.self.value",
            "attention/output/dense": "attention.output.dense",
            "attention/output/LayerNorm": "attention.output.LayerNorm",
            "intermediate/dense": "intermediate.dense",
            "output/dense": "output.dense",
            "output/LayerNorm": "output.LayerNorm",
        }.items()
        for parameter, name in (
            ("scale" if ours.endswith("LayerNorm") else "kernel", "weight"),
            ("bias", "bias"),
        )
    },
    "bert/pooler/dense/kernel": "bert.pooler.dense.weight",
    "bert/pooler/dense/bias": "bert.pooler.dense.bias",
    "predictions/dense/kernel": "cls.predictions.transform.dense.weight",
    "predictions/dense/bias": "cls.predictions.transform.dense.bias",
    "predictions/LayerNorm/scale": "cls.predictions.transform.LayerNorm.weight",
    "predictions/LayerNorm/bias": "cls.predictions.transform.LayerNorm.bias",
    "predictions/bias": "cls.predictions.bias",
    "seq_relationship/dense/kernel": "cls.seq_relationship.weight",
    "seq_relationship/dense/bias": "cls.seq_relationship.bias",
}
_WORDS = TABLE["bert/embeddings/word_embeddings"]
_BIAS = TABLE["predictions/bias"]
_DECODER, _DECODER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"

_CLASSIFIERS: dict[str, Task] = {"classifier": "sentence", "qa_outputs": "spans"}
_CLASSIFIER_OF: dict[Task, str] = {
    "sentence": "classifier",
    "tokens": "classifier",
    "spans": "qa_outputs",
}
_ARCHITECTURES: dict[Task, str] = {
    "sentence": "BertForSequenceClassification",
    "tokens": "BertForTokenClassification",
    "spans": "BertForQuestionAnswering",
}


def read_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of a file, read when they are asked for.

    Raises:
      UserError: a truncated or damaged file.
    """

    def read(name: str) -> np.ndarray:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {
                name: Stored(tuple(file.get_slice(name).get_shape()), partial(read, name))
                for name in file.keys()  # noqa: SIM118 (it is no mapping)
            }
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from None


def canonical(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors under the names of `TABLE`, however old or bare the folder is.

    Names may lack "bert." (a folder of an encoder alone) or have more before it
    (`module.`), and a LayerNorm may have gamma and beta.
    """
    words = _WORDS.removeprefix("bert.")
    prefix = next((name.removesuffix(words) for name in stored if name.endswith(words)), "bert.")
    outer = prefix.removesuffix("bert.")
    found = {}
    for name, tensor in stored.items():
        plain = re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", name))
        if plain.startswith(prefix) and (prefix or plain.startswith(_ENCODER)):
            plain = "bert." + plain.removeprefix(prefix)
        else:
            plain = plain.removeprefix(outer)
        found[plain] = tensor
    return found


_ENCODER = ("embeddings.", "encoder.", "pooler.")


def resolve_decoder(stored: Mapping[str, Stored]) -> tuple[dict[str, Stored], bool, list[str]]:
    """Whether the vocabulary head is tied to the embeddings, without what a file says twice.

    A file may hold the embeddings again as the head's matrix. What counts is what
    is in it, not what the config calls tied; transformers takes it so too, and of
    two biases that of the matrix.

    Returns:
      The tensors, the bias under its one name; whether the head is tied; the names of
      those that are left out.
    """
    stored = dict(stored)
    superfluous = []
    tied = (
        _DECODER not in stored or _WORDS not in stored or _equal(stored[_DECODER], stored[_WORDS])
    )
    if tied and stored.pop(_DECODER, None) is not None:
        superfluous.append(_DECODER)
    if (bias := stored.pop(_DECODER_BIAS, None)) is not None:
        if _BIAS in stored:
            superfluous.append(_BIAS)
        stored[_BIAS] = bias
    return stored, tied, superfluous


def _equal(one: Stored, other: Stored) -> bool:
    return one.shape == other.shape and np.array_equal(one.read(), other.read())


def names_of(
    config: BertConfig, stored: Mapping[str, Stored] | None = None, task: Task | None = None
) -> list[Name]:
    """Hugging Face's names of a model's parameters.

    Args:
      config: of the model.
      stored: where to look for the name of its classifier.
      task: of the classifier, if it is not to be looked for.
    """
    table = dict(TABLE)
    if not config.tie_decoder:
        table["predictions/decoder"] = _DECODER
    for name in _CLASSIFIERS:
        wanted = task is not None and name == _CLASSIFIER_OF[task]
        if wanted or (stored and f"{name}.weight" in stored):
            table["classifier/dense/kernel"] = f"{name}.weight"
            table["classifier/dense/bias"] = f"{name}.bias"
    return expand(table, config.num_layers, transposed="weight")


def find_classifier(
    stored: Mapping[str, Stored], raw: Mapping[str, Any]
) -> tuple[Task, int] | None:
    """The task of a folder's classifier, and its number of classes; None if it has none."""
    for name, task in _CLASSIFIERS.items():
        if f"{name}.weight" in stored:
            named = {architecture: task for task, architecture in _ARCHITECTURES.items()}
            said = [named[a] for a in raw.get("architectures") or () if a in named]
            # Without a pooler there is no sentence vector to score.
            bare = "bert.pooler.dense.weight" not in stored
            guess: Task = "tokens" if task == "sentence" and bare else task
            return (said or [guess])[0], stored[f"{name}.weight"].shape[0]
    return None


def write_folder(
    folder: Path, params: PyTree, config: BertConfig, labels: Labels | None, pad_id: int
) -> None:
    """Writes config and weights as `transformers` and `sentence-transformers` open them.

    Args:
      folder: there already, empty.
      params: those that are trained.
      config: of the model.
      labels: of its classifier, if it has one.
      pad_id: of [PAD].
    """
    tensors = tensors_of(params, names_of(config, task=labels.task if labels else None))
    if not config.tie_decoder and _BIAS in tensors:
        tensors[_DECODER_BIAS] = tensors[_BIAS]
    # Without this remark of where it comes from, older versions of transformers refuse it.
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "architectures": [_architecture(params, labels)],
        "model_type": "bert",
        **write_settings(config, labels, pad_id),
        "position_embedding_type": "absolute",
        "tie_word_embeddings": config.tie_decoder,
        "dtype": "float32",
    }
    content = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(content, encoding="utf-8")


def _architecture(params: PyTree, labels: Labels | None) -> str:
    if labels:
        return _ARCHITECTURES[labels.task]
    heads = {"predictions", "seq_relationship"} & params.keys()
    return {
        frozenset(): "BertModel",
        frozenset({"predictions"}): "BertForMaskedLM",
        frozenset({"seq_relationship"}): "BertForNextSentencePrediction",
    }.get(frozenset(heads), "BertForPreTraining")
