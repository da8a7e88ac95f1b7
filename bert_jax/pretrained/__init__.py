"""A pretrained model, ready to use."""

from bert_jax.pretrained.cloze import Likelihood, Prediction
from bert_jax.pretrained.features import Attention, Features
from bert_jax.pretrained.loading import load
from bert_jax.pretrained.model import Pretrained
from bert_jax.pretrained.outputs import Outputs
from bert_jax.pretrained.vectors import WordVector

__all__ = [
    "Attention",
    "Features",
    "Likelihood",
    "Outputs",
    "Prediction",
    "Pretrained",
    "WordVector",
    "load",
]
