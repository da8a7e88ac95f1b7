"""All layers and attentions of a few texts, to look at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bert_jax.errors import UserError
from bert_jax.pretrained.network import Network
from bert_jax.pretrained.rows import padded, row_of
from bert_jax.tokenizers import Encoding


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


def encode(network: Network, pad_id: int, encodings: Sequence[Encoding]) -> Features:
    """See `Pretrained.encode`."""
    if not encodings:
        raise UserError("there is no text to encode")
    longest = max(encoding.length for encoding in encodings)
    rows = [row_of(encoding) for encoding in encodings]
    batch = padded(rows, longest, len(rows), pad_id)
    found = network.fields(*batch, names=("hidden_states", "pooled", "attentions"))
    return Features(
        tokens=[encoding.tokens for encoding in encodings],
        lengths=batch[2],
        layers=found["hidden_states"],
        pooled=found.get("pooled"),
        attention=found["attentions"],
    )


def attentions(
    network: Network,
    encoding: Encoding,
    *,
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
) -> Attention:
    """See `Pretrained.attentions`."""
    for name, chosen, most in (
        ("layer", layers, network.config.num_layers),
        ("head", heads, network.config.num_heads),
    ):
        for number in chosen or ():
            if not -most <= number < most:
                raise UserError(f"there is no {name} {number}; they are 0 to {most - 1}")
    row = row_of(encoding)
    found = network.fields([row.ids], [row.segment_ids], names=("attentions",))
    weights = found["attentions"][:, 0]
    weights = weights if layers is None else weights[list(layers)]
    return Attention(encoding.tokens, weights if heads is None else weights[:, list(heads)])
