"""The bidirectional encoder of Devlin et al. 2018, post-LN, as google-research/bert has it.

Module and parameter names follow the published checkpoints: they are what
weights are converted by.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from bert_jax.model.activations import activation
from bert_jax.model.attention import attention_probabilities, dot_product_attention
from bert_jax.model.dropout import Dropout
from bert_jax.model.packing import first_tokens, positions, tokens_at
from bert_jax.model.sizes import BertConfig

# Cut at two standard deviations and not rescaled (modeling.py L379), so the
# effective deviation is 0.0176. Flax's defaults are others for every layer.
initializer = nn.initializers.truncated_normal(stddev=0.02)


def dense(config: BertConfig, features: int, name: str) -> nn.Dense:
    """A dense layer with BERT's initialiser."""
    return nn.Dense(features, dtype=config.dtype, kernel_init=initializer, name=name)


def layer_norm(config: BertConfig, name: str) -> nn.LayerNorm:
    """BERT's LayerNorm, float32 in and out.

    Flax's fast variance, E[x²] − E[x]², loses digits that parity with other
    implementations needs; a bfloat16 model rounds the result to 8 bits anyway, and on an H100
    it makes a base step 7 ms shorter.
    """
    return nn.LayerNorm(
        epsilon=config.layer_norm_epsilon,
        use_fast_variance=config.dtype == "bfloat16",
        dtype=jnp.float32,
        name=name,
    )


class Embeddings(nn.Module):
    """Token + position + segment, normalised."""

    config: BertConfig

    def setup(self) -> None:
        width = self.config.width
        self.word_embeddings = self.param(
            "word_embeddings", initializer, (self.config.vocab_size, width)
        )
        self.position_embeddings = self.param(
            "position_embeddings", initializer, (self.config.max_positions, width)
        )
        self.token_type_embeddings = self.param(
            "token_type_embeddings", initializer, (self.config.num_segments, width)
        )
        self.norm = layer_norm(self.config, "LayerNorm")
        self.dropout = Dropout(self.config.dropout)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        lengths: Int[Array, " B *K"],
        *,
        deterministic: bool,
    ) -> Float[Array, "B T D"]:
        """Looks up in float32 and casts after: a bfloat16 gather has a slow gradient."""
        num_tokens = input_ids.shape[1]
        # A choice, because the gradient of a look-up in two rows is a scatter that all tokens
        # contend for.
        kinds = self.token_type_embeddings[:, None, None, :]
        segments = kinds[0]
        for number in range(1, self.config.num_segments):
            is_here = (segment_ids == number)[:, :, None]
            segments = jnp.where(is_here, kinds[number], segments)
        if lengths.ndim == 1:  # a slice: neither gather nor scatter
            places = self.position_embeddings[None, :num_tokens]
        else:
            places = self.position_embeddings[positions(num_tokens, lengths)]
        x = self.word_embeddings[input_ids] + segments + places
        x = self.norm(x).astype(self.config.dtype)
        return self.dropout(x, deterministic=deterministic)


class BertSelfAttention(nn.Module):
    """Every token looks at every real token."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B *K"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """The heads' results, side by side.

        Where the collection "attentions" is mutable, the probabilities go into it.
        """
        config = self.config

        def project(name: str) -> Float[Array, "B T N H"]:
            heads = (config.num_heads, config.head_width)
            return dense(config, config.width, name)(x).reshape(*x.shape[:2], *heads)

        query, key, value = project("query"), project("key"), project("value")
        if self.is_mutable_collection("attentions"):
            # Apart from the mixing, which need not have them in one piece.
            self.sow("attentions", "probabilities", attention_probabilities(query, key, lengths))
        dropout = Dropout(config.attention_dropout)
        drops = config.attention_dropout > 0 and not deterministic
        mixed = dot_product_attention(
            query,
            key,
            value,
            lengths,
            implementation=config.attention,
            dropout=partial(dropout, deterministic=False) if drops else None,
        )
        return mixed.reshape(x.shape)


class BertSelfOutput(nn.Module):
    """Projection, dropout, residual, LayerNorm."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T _"], residual: Float[Array, "B T D"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """The residual is added before the normalisation (post-LN); x may be D or F wide."""
        x = dense(self.config, self.config.width, "dense")(x)
        x = Dropout(self.config.dropout)(x, deterministic=deterministic)
        return layer_norm(self.config, "LayerNorm")(x + residual).astype(self.config.dtype)


class BertOutput(BertSelfOutput):
    """The same after the feed-forward layer."""


class BertAttention(nn.Module):
    """Self-attention with its residual connection."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B *K"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """One attention block."""
        mixed = BertSelfAttention(self.config, name="self")(x, lengths, deterministic=deterministic)
        return BertSelfOutput(self.config, name="output")(mixed, x, deterministic=deterministic)


class BertIntermediate(nn.Module):
    """The wide half of the feed-forward layer."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T F"]:
        """No dropout here: BERT has none after its activation."""
        x = dense(self.config, self.config.feed_forward_width, "dense")(x)
        return activation(self.config)(x)


class BertLayer(nn.Module):
    """Attention, then feed-forward."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B *K"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """One transformer layer."""
        x = BertAttention(self.config, name="attention")(x, lengths, deterministic=deterministic)
        wide = BertIntermediate(self.config, name="intermediate")(x)
        return BertOutput(self.config, name="output")(wide, x, deterministic=deterministic)


class BertEncoder(nn.Module):
    """The stack of layers."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B *K"], *, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """Unrolled: on an H100, `lax.scan` over layers took a base step from 86 to 126 ms."""

        def apply(layer: BertLayer, x: Array, lengths: Array) -> Array:
            return layer(x, lengths, deterministic=deterministic)

        if self.config.remat:
            apply = nn.remat(apply)
        for number in range(self.config.num_layers):
            x = apply(BertLayer(self.config, name=f"layer_{number}"), x, lengths)
        return x


class BertPooler(nn.Module):
    """A sentence vector from the first token of each sequence."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], lengths: Int[Array, " B *K"]
    ) -> Float[Array, "B *K D"]:
        """Dense and tanh on [CLS]."""
        first = x[:, 0] if lengths.ndim == 1 else tokens_at(x, first_tokens(lengths))
        return jnp.tanh(dense(self.config, self.config.width, "dense")(first))


class Bert(nn.Module):
    """Embeddings, encoder and pooler: what every task shares."""

    config: BertConfig

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config)
        self.encoder = BertEncoder(self.config)
        self.pooler = BertPooler(self.config)

    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        lengths: Int[Array, " B *K"],
        *,
        deterministic: bool,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B *K D"]]:
        """The sequence and the pooled output.

        Args:
          input_ids: token ids, all below `vocab_size`; an array on an
            accelerator cannot raise, so whoever loads the ids checks them.
          segment_ids: 0 or 1.
          lengths: real tokens in each row; padding follows them. As [B K], of each of the
            sequences that a row holds one after the other, 0 for none.
          deterministic: no dropout. Otherwise pass `rngs={"dropout": key}`.
        """
        x = self.embeddings(input_ids, segment_ids, lengths, deterministic=deterministic)
        sequence = self.encoder(x, lengths, deterministic=deterministic)
        return sequence, self.pooler(sequence, lengths)
