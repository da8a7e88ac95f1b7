"""The heads on the encoder, and the models that carry them: for pretraining and for a task."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from bert_jax.model.activations import activation
from bert_jax.model.dropout import Dropout
from bert_jax.model.encoder import Bert, dense, initializer, layer_norm
from bert_jax.model.labels import Labels
from bert_jax.model.packing import tokens_at
from bert_jax.model.sizes import BertConfig


class MaskedWordPredictions(nn.Module):
    """Vectors to scores over the vocabulary."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B P D"], word_embeddings: Float[Array, "V D"]
    ) -> Float[Array, "B P V"]:
        """Dense, activation, LayerNorm, then the product with the embeddings or the own matrix."""
        x = activation(self.config)(dense(self.config, self.config.width, "dense")(x))
        x = layer_norm(self.config, "LayerNorm")(x).astype(self.config.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.config.vocab_size,))
        if not self.config.tie_decoder:
            word_embeddings = self.param("decoder", initializer, word_embeddings.shape)
        table = word_embeddings.astype(self.config.dtype)
        # float32 out of the product: the loss takes a softmax over V of it.
        scores = jnp.einsum("bpd,vd->bpv", x, table, preferred_element_type=jnp.float32)
        return scores + bias[None, None, :]


class SeqRelationship(nn.Module):
    """Is B what follows A? Class 0 says it is."""

    config: BertConfig

    @nn.compact
    def __call__(self, pooled: Float[Array, "*rows D"]) -> Float[Array, "*rows 2"]:
        """Scores in float32."""
        return nn.Dense(2, dtype=jnp.float32, kernel_init=initializer, name="dense")(pooled)


class Classifier(nn.Module):
    """Scores of classes, for a sentence's vector or for every token's."""

    config: BertConfig
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows C"]:
        """Scores in float32."""
        return nn.Dense(self.num_classes, dtype=jnp.float32, kernel_init=initializer, name="dense")(
            x
        )


class BertForPreTraining(nn.Module):
    """BERT with the masked-word and next-sentence heads."""

    config: BertConfig

    def setup(self) -> None:
        self.bert = Bert(self.config)
        self.predictions = MaskedWordPredictions(self.config)
        self.seq_relationship = SeqRelationship(self.config)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        lengths: Int[Array, " B *K"],
        mlm_positions: Int[Array, "B P"],
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "B P V"], Float[Array, "B *K 2"]]:
        """Scores of both tasks, float32.

        The vocabulary head sees the P predicted positions only: over all T it is
        89 % of the arithmetic of a tiny model and 21 % of a base one.
        """
        sequence, pooled = self.bert(input_ids, segment_ids, lengths, deterministic=deterministic)
        predicted = tokens_at(sequence, mlm_positions)
        table = self.bert.embeddings.word_embeddings
        return self.predictions(predicted, table), self.seq_relationship(pooled)


class BertForTask(nn.Module):
    """BERT with a classifier of sentences, of tokens, or of the ends of spans.

    Attributes:
      config: of the encoder.
      labels: what is told apart.
      classifier_dropout: rate on what the classifier sees.
    """

    config: BertConfig
    labels: Labels
    classifier_dropout: float = 0.0

    def setup(self) -> None:
        self.bert = Bert(self.config)
        self.dropout = Dropout(self.classifier_dropout)
        self.classifier = Classifier(self.config, len(self.labels.names))

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        lengths: Int[Array, " B"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B *T C"]:
        """Scores of the classes in float32: [B C] of sentences, else [B T C]."""
        sequence, pooled = self.bert(input_ids, segment_ids, lengths, deterministic=deterministic)
        vectors = pooled if self.labels.task == "sentence" else sequence
        return self.classifier(self.dropout(vectors, deterministic=deterministic))
