"""`config.json` of Hugging Face and `bert_config.json` of Google, which share their keys."""

from collections.abc import Mapping
from typing import Any

from bert_jax.errors import UserError
from bert_jax.model.labels import Labels, Task
from bert_jax.model.sizes import BertConfig

# Google's releases of 2018, and Hugging Face for all of them, mean by "gelu" the exact one.
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}

_NUMBERS = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "width",
    "intermediate_size": "feed_forward_width",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "num_segments",
}
_RATES = {
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "layer_norm_epsilon",
}
# Beside a fine-tuned model: the options of its task, which no other program's file has a key for.
TASK_FILE = "task.json"
# What every BERT's file says, and other models' files do not all of it.
REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


def is_bert(raw: object) -> bool:
    """Whether a JSON file's content is the config of such a model."""
    return isinstance(raw, Mapping) and all(key in raw for key in REQUIRED)


def read_settings(raw: Mapping[str, Any]) -> BertConfig:
    """The model that a config describes.

    Raises:
      UserError: no BERT, or one with something that is not supported.
    """
    _refuse_variants(raw)
    values: dict[str, Any] = {}
    for kind, keys in ((int, _NUMBERS), (float, _RATES)):
        for theirs, ours in keys.items():
            if theirs in raw:
                value = raw[theirs]
                wrong = isinstance(value, bool) or not isinstance(value, kind | int)
                if wrong:
                    what = "whole number" if kind is int else "number"
                    raise UserError(f"{theirs} is {value!r}; it must be a {what}")
                values[ours] = kind(value)
    activation = raw.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UserError(
            f"hidden_act is {activation!r}; supported are {', '.join(sorted(_ACTIVATIONS))}"
        )
    return BertConfig(activation=_ACTIVATIONS[activation], **values)


def _refuse_variants(raw: Mapping[str, Any]) -> None:
    kind = raw.get("model_type", "bert")
    if kind != "bert":
        raise UserError(f"model_type is {kind!r}; only 'bert' is supported")
    if not is_bert(raw):
        missing = [key for key in REQUIRED if key not in raw]
        raise UserError(f"the config lacks {', '.join(missing)}")
    positions = raw.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UserError(
            f"position_embedding_type is {positions!r}; only 'absolute' is supported, "
            "relative positions are not"
        )
    for key, what in (
        ("is_decoder", "decoders"),
        ("add_cross_attention", "decoders"),
        ("quantization_config", "quantised weights"),
    ):
        if raw.get(key):
            raise UserError(f"{key} is set; {what} are not supported")
    if raw.get("embedding_size", raw["hidden_size"]) != raw["hidden_size"]:
        raise UserError("embedding_size differs from hidden_size; that is not supported")


def write_settings(config: BertConfig, labels: Labels | None, pad_id: int) -> dict[str, Any]:
    """The keys of both files; Google's code ignores those that it does not know."""
    named: dict[str, Any] = {}
    if labels and labels.task != "spans":
        named["id2label"] = dict(enumerate(labels.names))
        named["label2id"] = {name: number for number, name in enumerate(labels.names)}
    if labels and labels.problem:
        named["problem_type"] = labels.problem
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "hidden_act": names[config.activation],
        **{theirs: getattr(config, ours) for theirs, ours in (_NUMBERS | _RATES).items()},
        "initializer_range": 0.02,
        "pad_token_id": pad_id,
        **named,
    }


def read_labels(raw: Mapping[str, Any], task: Task, num_classes: int) -> Labels:
    """Names of the classes, as `id2label` has them or numbered."""
    if task == "spans":
        return Labels(task, ("start", "end"))
    given = raw.get("id2label") or {}
    if not isinstance(given, Mapping) or not all(str(key).isdigit() for key in given):
        raise UserError(f"id2label is {given!r}; it must name classes by their numbers")
    names = {int(number): str(name) for number, name in given.items()}
    found = tuple(names.get(n, f"LABEL_{n}") for n in range(num_classes))
    return Labels(task, found, raw.get("problem_type"))
