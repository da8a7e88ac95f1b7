"""What comes out of a model: arrays of NumPy, float32."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Outputs(NamedTuple):
    """All that a model makes of a batch, float32; None for parts that it does not have.

    Attributes:
      hidden_states: 0 is what the embeddings give, L the last layer's output. At padding
        there is something too, which means nothing.
      pooled: dense and tanh of the last layer at [CLS].
      mlm_logits: scores over the vocabulary, before the softmax.
      nsp_logits: 0 is "follows", 1 "is from elsewhere".
      class_logits: of a fine-tuned classifier, one row a sentence or one a token.
      attentions: after the softmax; a row sums to 1 over the real keys.
    """

    hidden_states: Float[np.ndarray, "layers B T D"]
    pooled: Float[np.ndarray, "B D"] | None
    mlm_logits: Float[np.ndarray, "B T V"] | None
    nsp_logits: Float[np.ndarray, "B 2"] | None
    class_logits: Float[np.ndarray, "B *T C"] | None
    attentions: Float[np.ndarray, "L B N T T"] | None


class Features(NamedTuple):
    """What a model makes of some texts, in one batch.

    Attributes:
      tokens: of each text, with [CLS] and [SEP].
      lengths: how many these are; what lies behind them in the arrays is padding.
      layers: hidden states, 0 the embeddings, those of `Outputs`.
      pooled: None without a pooler.
      attention: softmax of the scores; a row sums to 1 over the real keys.
    """

    tokens: list[list[str]]
    lengths: np.ndarray
    layers: Float[np.ndarray, "layers B T D"]
    pooled: Float[np.ndarray, "B D"] | None
    attention: Float[np.ndarray, "L B N T T"]

    @property
    def mean(self) -> Float[np.ndarray, "B D"]:
        """Of the last layer's vectors at real tokens, [CLS] and [SEP] among them."""
        is_real = np.arange(self.layers.shape[2]) < self.lengths[:, None]
        return (self.layers[-1] * is_real[..., None]).sum(1) / self.lengths[:, None]

    @property
    def cls(self) -> Float[np.ndarray, "B D"]:
        """The last layer's vector at [CLS]."""
        return self.layers[-1, :, 0]


class Attention(NamedTuple):
    """Where the tokens of a text look.

    Attributes:
      tokens: with [CLS] and [SEP].
      weights: layer, head, the token that looks, the token it looks at; softmax before
        dropout, so each row sums to 1.
    """

    tokens: list[str]
    weights: Float[np.ndarray, "layers heads T T"]
