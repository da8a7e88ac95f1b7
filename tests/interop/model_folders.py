"""Small models with random parameters, and their folders taken apart and put together again."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors.numpy import load_file, save_file
from tokenizers import normalizers

from bert_jax.interop.naming import flatten, nest
from bert_jax.interop.parameters import shapes_of
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.pretrained.model import PRETRAINING
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

VOCAB_SIZE = 130  # rounded up to 8, 64 and 128 it is 136, 192 and 256
WORDS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder"
HEADS = ("bert.pooler.", "cls.predictions.", "cls.seq_relationship.")


def make_config(**changes: Any) -> BertConfig:
    """Two layers; no two widths are the same, so that nothing fits where it does not belong."""
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "num_layers": 2,
        "num_heads": 3,
        "width": 24,
        "feed_forward_width": 56,
        "max_positions": 40,
        "activation": "gelu_tanh",
        "layer_norm_epsilon": 1e-6,
        "dropout": 0.2,
        "attention_dropout": 0.05,
    }
    return BertConfig(**settings | changes)


@functools.cache
def make_params(config: BertConfig, num_classes: int | None = None) -> PyTree:
    """Every entry is random: what is exchanged or left out shows."""
    random = np.random.default_rng(7)
    shapes = shapes_of(config, num_classes=num_classes)
    noise = {p: random.normal(0, 0.3, shape).astype(np.float32) for p, shape in shapes.items()}
    return nest(noise)


def make_tokenizer(vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Lower-case WordPiece of made-up words."""
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = [
        *syllables,
        *(f"##{syllable}" for syllable in syllables),
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    pieces = [*Specials(), *words][:vocab_size]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    return Tokenizer(wordpiece_runtime(pieces, normalizer))


def make_bert(
    *,
    parts: frozenset[str] = PRETRAINING,
    labels: Labels | None = None,
    tokenizer: Tokenizer | None = None,
    **changes: Any,
) -> Pretrained:
    """A model as if trained."""
    config = make_config(**changes)
    params = make_params(config, len(labels.names) if labels else None)
    parts = parts | {"classifier"} if labels else parts
    return Pretrained(BertForPreTraining(config), params, tokenizer, parts=parts, labels=labels)


class Folder:
    """A Hugging Face folder: its tensors and its config, to be changed and written anew."""

    def __init__(self, path: Path, bert: Pretrained):
        bert.save(path)
        self.path = path
        self.tensors = load_file(path / "model.safetensors")
        self.config = json.loads((path / "config.json").read_text())

    def write(
        self, tensors: Mapping[str, np.ndarray], name: str = "model.safetensors", **config: Any
    ) -> Path:
        """Both files anew; returns the folder."""
        (self.path / "model.safetensors").unlink(missing_ok=True)
        contiguous = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
        save_file(contiguous, self.path / name)
        (self.path / "config.json").write_text(json.dumps(self.config | config))
        return self.path


def padded(array: np.ndarray, num_rows: int) -> np.ndarray:
    """With rows of noise, which must not matter."""
    noise = np.random.default_rng(1).normal(size=(num_rows - len(array), *array.shape[1:]))
    return np.concatenate([array, noise.astype(array.dtype)])


def differing(one: PyTree, other: PyTree) -> list[str]:
    """Paths of the parameters that are not equal to the bit."""
    a, b = flatten(one), flatten(other)
    assert a.keys() == b.keys()
    assert all(isinstance(leaf, np.ndarray | jax.Array) for leaf in (*a.values(), *b.values()))
    return [
        path for path in a if a[path].dtype != b[path].dtype or not np.array_equal(a[path], b[path])
    ]
