"""Google's folders: `bert_config.json`, a TensorFlow 1 checkpoint, `vocab.txt`."""

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from bert_jax.errors import UserError
from bert_jax.interop.naming import Name, Stored, expand, tensors_of
from bert_jax.interop.settings import write_settings
from bert_jax.model.labels import Labels, Task
from bert_jax.model.sizes import BertConfig

_log = logging.getLogger(__name__)

# Kernels lie as Flax has them, [in, out], but for what is called output_weights.
TABLE = {
    "bert/embeddings/word_embeddings": "bert/embeddings/word_embeddings",
    "bert/embeddings/position_embeddings": "bert/embeddings/position_embeddings",
    "bert/embeddings/token_type_embeddings": "bert/embeddings/token_type_embeddings",
    "bert/embeddings/LayerNorm/scale": "bert/embeddings/LayerNorm/gamma",
    "bert/embeddings/LayerNorm/bias": "bert/embeddings/LayerNorm/beta",
    **{
        f"bert/encoder/layer_{{n}}/{module}/{ours}": f"bert/encoder/layer_{{n}}/{module}/{theirs}"
        for module in (
            "attention/self/query",
            "attention/self/key",
            "attention/self/value",
            "attention/output/dense",
            "attention/output/LayerNorm",
            "intermediate/dense",
            "output/dense",
            "output/LayerNorm",
        )
        for ours, theirs in (
            (("scale", "gamma"), ("bias", "beta"))
            if module.endswith("LayerNorm")
            else (("kernel", "kernel"), ("bias", "bias"))
        )
    },
    "bert/pooler/dense/kernel": "bert/pooler/dense/kernel",
    "bert/pooler/dense/bias": "bert/pooler/dense/bias",
    "predictions/dense/kernel": "cls/predictions/transform/dense/kernel",
    "predictions/dense/bias": "cls/predictions/transform/dense/bias",
    "predictions/LayerNorm/scale": "cls/predictions/transform/LayerNorm/gamma",
    "predictions/LayerNorm/bias": "cls/predictions/transform/LayerNorm/beta",
    "predictions/bias": "cls/predictions/output_bias",
    "seq_relationship/dense/kernel": "cls/seq_relationship/output_weights",
    "seq_relationship/dense/bias": "cls/seq_relationship/output_bias",
}
_EPSILON = 1e-12  # of its LayerNorm (tf.contrib.layers.layer_norm), which no config changes
# Of run_classifier.py and run_squad.py; Google's code has no other.
_CLASSIFIERS: dict[str, Task] = {"": "sentence", "cls/squad/": "spans"}


def read_checkpoint(prefix: Path) -> dict[str, Stored]:
    """The tensors of a TensorFlow checkpoint, read when they are asked for.

    Args:
      prefix: the path of its files without `.index` and `.data-…`.

    Raises:
      UserError: damaged, or a checkpoint of TensorFlow 2's objects.
    """
    from bert_jax.data.tensorflow_setup import tf

    def read(name: str) -> np.ndarray:
        try:
            return reader.get_tensor(name)
        except Exception as error:  # TensorFlow has many for a file that is too short
            raise UserError(f"{prefix}: {name} cannot be read ({_first(error)})") from None

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except Exception as error:
        raise UserError(f"{prefix} is no checkpoint, or damaged ({_first(error)})") from None
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in shapes:
        raise UserError(
            f"{prefix} is a checkpoint of TensorFlow 2's objects, which is not supported; "
            "take the model's TensorFlow 1 or Hugging Face form"
        )
    return {name: Stored(tuple(shape), partial(read, name)) for name, shape in shapes.items()}


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:150]


def canonical(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors under the names of `TABLE`, though others stand before them.

    Programs that wrap a model put its scope first (`module/bert/…`), or leave out "bert/".
    """
    words = TABLE["bert/embeddings/word_embeddings"].removeprefix("bert/")
    plain = {name.removesuffix(":0"): tensor for name, tensor in stored.items()}
    prefix = next((name.removesuffix(words) for name in plain if name.endswith(words)), "bert/")
    outer = prefix.removesuffix("bert/")
    encoder = ("embeddings/", "encoder/", "pooler/")
    return {
        (
            "bert/" + name.removeprefix(prefix)
            if name.startswith(prefix) and name.removeprefix(prefix).startswith(encoder)
            else name.removeprefix(outer)
        ): tensor
        for name, tensor in plain.items()
    }


def names_of(
    config: BertConfig, stored: Mapping[str, Stored] | None = None, task: Task | None = None
) -> list[Name]:
    """Google's names of a model's parameters; see `huggingface.names_of`."""
    table = dict(TABLE)
    for prefix, kind in _CLASSIFIERS.items():
        if kind == task or (stored and f"{prefix}output_weights" in stored):
            table["classifier/dense/kernel"] = f"{prefix}output_weights"
            table["classifier/dense/bias"] = f"{prefix}output_bias"
    return expand(table, config.num_layers, transposed="output_weights")


def find_classifier(stored: Mapping[str, Stored]) -> tuple[Task, int] | None:
    """The task of a checkpoint's classifier, and its number of classes; None if it has none."""
    for prefix, task in _CLASSIFIERS.items():
        if f"{prefix}output_weights" in stored:
            return task, stored[f"{prefix}output_weights"].shape[0]
    return None


def write_folder(
    folder: Path, params: PyTree, config: BertConfig, labels: Labels | None, pad_id: int
) -> None:
    """Writes config and weights as Google does, but for the graph (`.meta`), which nobody reads.

    Google's code of 2018 means by "gelu" the exact function, that of today its tanh
    approximation; models with the latter are written as "gelu_new", which it refuses
    rather than take for the former. What it has not is written with a warning.

    Args:
      folder: there already, empty.
      params: those that are trained.
      config: of the model.
      labels: of its classifier, if it has one.
      pad_id: of [PAD].

    Raises:
      UserError: a model that Google's code cannot express.
    """
    from bert_jax.data.tensorflow_setup import tf

    if not config.tie_decoder and "predictions" in params:
        raise UserError("Google's format has no masked-word head with a matrix of its own")
    if config.layer_norm_epsilon != _EPSILON or config.activation in ("gelu_tanh", "silu"):
        _log.warning(
            "Google's own code has %s in every LayerNorm and other names for activations; "
            "what reads bert_config.json must go by layer_norm_eps and hidden_act",
            _EPSILON,
        )
    if labels and labels.task == "tokens":
        raise UserError("Google's format has no classifier of tokens; use --to huggingface")
    tensors = tensors_of(params, names_of(config, task=labels.task if labels else None))
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    settings = write_settings(config, labels, pad_id)
    content = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "bert_config.json").write_text(content, encoding="utf-8")
