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
    pooled: Float[np.ndarray, "B D"] | None = None
    mlm_logits: Float[np.ndarray, "B T V"] | None = None
    nsp_logits: Float[np.ndarray, "B 2"] | None = None
    class_logits: Float[np.ndarray, "B *T C"] | None = None
    attentions: Float[np.ndarray, "L B N T T"] | None = None
