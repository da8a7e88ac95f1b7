"""What a model is made of: its configuration, the named sizes, its arithmetic."""

import dataclasses
from typing import Any

from bert_jax.errors import UserError

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "tanh")
ATTENTIONS = ("auto", "einsum", "cudnn")
DTYPES = ("float32", "bfloat16")

# L, A, H of Devlin et al. 2018 (base, large) and Turc et al. 2019, "Well-read
# students learn better", table 1 (the others).
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"num_layers": 2, "num_heads": 2, "width": 128},
    "mini": {"num_layers": 4, "num_heads": 4, "width": 256},
    "small": {"num_layers": 4, "num_heads": 8, "width": 512},
    "medium": {"num_layers": 8, "num_heads": 8, "width": 512},
    "base": {"num_layers": 12, "num_heads": 12, "width": 768},
    "large": {"num_layers": 24, "num_heads": 16, "width": 1024},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
    """A BERT, completely.

    Attributes:
      vocab_size: V.
      num_layers: L.
      num_heads: N; each is `width / num_heads` wide.
      width: D.
      feed_forward_width: F; 0 stands for the usual 4·D.
      max_positions: rows of the position table; no input may be longer.
      num_segments: rows of the segment table.
      activation: "gelu" is xΦ(x), as in the checkpoints of 2018 and Hugging Face's
        "gelu"; "gelu_tanh" its tanh approximation, Google's since February 2019;
        others for published models that have them.
      layer_norm_epsilon: added to the variance.
      tie_decoder: scores over the vocabulary are taken with the word embeddings, as
        published; otherwise with a matrix of their own.
      dropout: rate on the embeddings and the output of attention and feed-forward.
      attention_dropout: rate on the attention probabilities.
      attention: "einsum" is exact everywhere; "cudnn" is NVIDIA's flash attention, in
        bfloat16 and without dropout of probabilities; "auto" takes it where it can. TPUs and
        CPUs have "einsum", which XLA fuses.
      dtype: of matrix products and activations. Parameters, LayerNorm, softmax
        and losses are float32 always.
      remat: keep of each layer only its input for the backward pass, and compute the
        rest of it again there: less memory, a quarter more time (110 ms a step instead of
        86, base on an H100).
    """

    vocab_size: int
    num_layers: int
    num_heads: int
    width: int
    feed_forward_width: int = 0
    max_positions: int = 512
    num_segments: int = 2
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    tie_decoder: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.1
    attention: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self) -> None:
        if self.feed_forward_width == 0:
            object.__setattr__(self, "feed_forward_width", 4 * self.width)
        for name, value in vars(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise UserError(f"model.{name} is {value}; it must be positive")
        if self.width % self.num_heads:
            raise UserError(
                f"model.width {self.width} is not a multiple of model.num_heads {self.num_heads}"
            )
        for name, choices in (
            ("activation", ACTIVATIONS),
            ("attention", ATTENTIONS),
            ("dtype", DTYPES),
        ):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"model.{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}"
                )
        if not self.layer_norm_epsilon > 0:
            raise UserError(
                f"model.layer_norm_epsilon is {self.layer_norm_epsilon}; it must be positive"
            )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"model.{name} is {getattr(self, name)}; it is a share, 0 to 1")

        if self.attention == "cudnn" and (self.attention_dropout or self.dtype != "bfloat16"):
            raise UserError(
                "model.attention=cudnn computes in bfloat16 and has no dropout; set "
                "model.dtype=bfloat16 and model.attention_dropout=0, or model.attention=auto"
            )

    @property
    def head_width(self) -> int:
        """H."""
        return self.width // self.num_heads


def training_flops(config: BertConfig, *, tokens: Any, views: Any, predictions: Any) -> Any:
    """Floating-point operations of a training step.

    6·(L·(4·D² + 2·D·F)·tokens + (D² + D·V)·predictions) + 12·L·D·views: two for each
    multiply-add, times three for forward and backward. Look-ups, LayerNorm, softmax, the
    pooler and the optimizer are not counted.

    Args:
      config: the model.
      tokens: how many go through the layers.
      views: how many tokens each of them looks at, added up over all of them.
      predictions: how many get the vocabulary head.
    """
    layer = 4 * config.width**2 + 2 * config.width * config.feed_forward_width
    head = config.width**2 + config.width * config.vocab_size
    arithmetic = 6.0 * (config.num_layers * layer * tokens + head * predictions)
    return arithmetic + 12.0 * config.num_layers * config.width * views


def training_flops_per_token(config: BertConfig, *, seq_len: int, num_predictions: int) -> float:
    """The same per token of a padded batch, every position as if it were real.

    6·(L·(4·D² + 2·D·F) + f·(D² + D·V)) + 12·L·D·T, with f = P/T.
    """
    return training_flops(config, tokens=1, views=seq_len, predictions=num_predictions / seq_len)
