"""A model's parameters on a device, and compiled functions of what they make of a batch."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree

from bert_jax.errors import UserError
from bert_jax.interop.naming import TITLES
from bert_jax.model.encoder import Bert, BertLayer, Embeddings
from bert_jax.model.heads import Classifier, MaskedWordPredictions, SeqRelationship
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained.outputs import Outputs

_PAD_TO = 32  # inputs are padded to a multiple of this, so that few lengths are compiled


class Pass:
    """One pass through the encoder while it is compiled; what nobody asks for costs nothing."""

    def __init__(
        self,
        network: "Network",
        params: PyTree,
        input_ids: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        lengths: Int[Array, " B"],
    ):
        self._config, self._params, self._labels = network.config, params, network.labels
        self.lengths = lengths
        (self.sequence, pooled), seen = Bert(network.config).apply(
            {"params": params["bert"]},
            input_ids,
            segment_ids,
            lengths,
            deterministic=True,
            capture_intermediates=_is_state,
            mutable=["intermediates", "attentions"],
        )
        self.pooled: Float[Array, "B D"] = pooled.astype(jnp.float32)
        states, layers = seen["intermediates"], range(network.config.num_layers)
        encoder = states["encoder"]
        self.hidden_states: list[Float[Array, "B T D"]] = [
            states["embeddings"]["__call__"][0].astype(jnp.float32),
            *(encoder[f"layer_{n}"]["__call__"][0].astype(jnp.float32) for n in layers),
        ]
        probabilities = seen["attentions"]["encoder"]
        self.attentions: list[Float[Array, "B N T T"]] = [
            probabilities[f"layer_{n}"]["attention"]["self"]["probabilities"][0] for n in layers
        ]

    @property
    def is_real(self) -> Array:
        """[B T], whether a position holds a token."""
        return jnp.arange(self.sequence.shape[1])[None, :] < self.lengths[:, None]

    def mlm_logits(self, positions: Int[Array, "B P"]) -> Float[Array, "B P V"]:
        """Scores over the vocabulary at some positions."""
        vectors = jnp.take_along_axis(self.sequence, positions[:, :, None], axis=1)
        table = self._params["bert"]["embeddings"]["word_embeddings"]
        head = MaskedWordPredictions(self._config)
        scores: Any = head.apply({"params": self._params["predictions"]}, vectors, table)
        return scores

    def nsp_logits(self) -> Float[Array, "B 2"]:
        """Scores of "follows" and "is from elsewhere"."""
        head = SeqRelationship(self._config)
        scores: Any = head.apply({"params": self._params["seq_relationship"]}, self.pooled)
        return scores

    def class_logits(self) -> Float[Array, "B *T C"]:
        """Scores of the classes, for sentences or for tokens."""
        assert self._labels is not None
        vectors = self.pooled if self._labels.task == "sentence" else self.sequence
        head = Classifier(self._config, len(self._labels.names))
        scores: Any = head.apply({"params": self._params["classifier"]}, vectors)
        return scores


def _is_state(module: nn.Module, method: str) -> bool:
    """Whether Flax is to keep what a module returns."""
    return isinstance(module, Embeddings | BertLayer) and method == "__call__"


class Network:
    """A BERT with its parameters.

    Args:
      config: of the model.
      params: of `BertForPreTraining`, and of a `Classifier` under "classifier".
      parts: which of pooler, predictions, seq_relationship and classifier were trained.
      labels: of the classifier, None without one.
    """

    def __init__(
        self, config: BertConfig, params: PyTree, parts: frozenset[str], labels: Labels | None
    ):
        self.config = config
        self.params = params
        self.parts = parts
        self.labels = labels
        self._compiled: dict[Any, Callable] = {}

    def at(self, params: PyTree) -> "Network":
        """The same network at other parameters, which shares what is compiled."""
        other = Network(self.config, params, self.parts, self.labels)
        other._compiled = self._compiled
        return other

    @cached_property
    def _on_device(self) -> PyTree:
        return jax.device_put(self.params)

    def compute(
        self,
        function: Callable[..., PyTree],
        input_ids: Int[np.ndarray, "B T"],
        segment_ids: Int[np.ndarray, "B T"],
        lengths: Int[np.ndarray, " B"],
        *more: np.ndarray,
    ) -> PyTree:
        """`function(pass, *more)`, compiled once for each function and shapes.

        Args:
          function: pure, and equal to itself the next time: of a module, or a
            frozen dataclass.
          input_ids: valid ones; `forward` checks those that a user brings.
          segment_ids: likewise.
          lengths: real tokens of each row.
          more: what else the function takes.

        Returns:
          Arrays of JAX, which may still be being computed.
        """
        if function not in self._compiled:

            def traced(params: PyTree, *batch: Array) -> PyTree:
                # Published weights equal their source only if float32 is meant: by default TPUs
                # and newer GPUs round the factors of products.
                with jax.default_matmul_precision("highest"):
                    return function(Pass(self, params, *batch[:3]), *batch[3:])

            self._compiled[function] = jax.jit(traced)
        return self._compiled[function](self._on_device, input_ids, segment_ids, lengths, *more)

    def forward(
        self,
        input_ids: Any,
        segment_ids: Any = None,
        lengths: Any = None,
        *,
        attentions: bool = False,
    ) -> Outputs:
        """See `Pretrained.forward`."""
        names = [name for name in Outputs._fields if name != "attentions" or attentions]
        return Outputs(**self.fields(input_ids, segment_ids, lengths, names=names))

    def fields(
        self, input_ids: Any, segment_ids: Any = None, lengths: Any = None, *, names: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Some fields of `Outputs`, those that the model has; the others cost nothing."""
        ids, segments, sizes = self._checked(input_ids, segment_ids, lengths)
        num_tokens = ids.shape[1]
        width = min(-(-num_tokens // _PAD_TO) * _PAD_TO, self.config.max_positions)
        padding = [(0, 0), (0, width - num_tokens)]
        there = frozenset(name for name in names if _PART_OF.get(name) in {None, *self.parts})
        found = self.compute(_Fields(there), np.pad(ids, padding), np.pad(segments, padding), sizes)
        found = jax.tree.map(np.asarray, found)
        per_token = {"hidden_states": 2, "mlm_logits": 1, "class_logits": 1}
        if self.labels and self.labels.task == "sentence":
            del per_token["class_logits"]
        for name in found.keys() & per_token.keys():
            found[name] = found[name][(slice(None),) * per_token[name] + (slice(num_tokens),)]
        if "attentions" in found:
            found["attentions"] = found["attentions"][..., :num_tokens, :num_tokens]
        return found

    def _checked(
        self, input_ids: Any, segment_ids: Any, lengths: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inputs as arrays [B T], [B T] and [B]; an accelerator could not complain."""
        try:
            ids = np.asarray(input_ids)
        except ValueError:  # rows of several lengths
            raise UserError("input_ids are ragged; pad the rows and give their lengths") from None
        if ids.ndim != 2 or not ids.size:
            raise UserError(f"input_ids has the shape {list(ids.shape)}; it must be [B T]")
        self._check_ids(ids)
        segments = np.zeros_like(ids) if segment_ids is None else np.asarray(segment_ids)
        sizes = np.full(len(ids), ids.shape[1]) if lengths is None else np.asarray(lengths)
        if segments.shape != ids.shape or sizes.shape != ids.shape[:1]:
            raise UserError(
                f"input_ids is {list(ids.shape)}, segment_ids {list(segments.shape)}, lengths "
                f"{list(sizes.shape)}; they must be [B T], [B T] and [B]"
            )
        for name, array, least, most in (
            ("segment_ids", segments, 0, self.config.num_segments - 1),
            ("lengths", sizes, 1, ids.shape[1]),
        ):
            if array.dtype.kind not in "iub" or array.min() < least or array.max() > most:
                raise UserError(f"{name} must be whole numbers from {least} to {most}")
        return ids.astype(np.int32), segments.astype(np.int32), sizes.astype(np.int32)

    def _check_ids(self, ids: np.ndarray) -> None:
        """Refuses ids that are not in the vocabulary, and more than there are positions."""
        if ids.dtype.kind not in "iu":
            raise UserError(f"input_ids are {ids.dtype}; they must be whole numbers")
        if ids.shape[-1] > self.config.max_positions:
            raise UserError(
                f"a row has {ids.shape[-1]} tokens, the model takes {self.config.max_positions}"
            )
        outside = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if outside.size:
            raise UserError(
                f"the id {outside[0]} is not in the vocabulary, which has "
                f"{self.config.vocab_size} pieces, 0 to {self.config.vocab_size - 1}"
            )

    def require(self, part: str, purpose: str) -> None:
        """Refuses what the model cannot do.

        Raises:
          UserError: it lacks a part, or that was never trained.
        """
        if part not in self.parts:
            raise UserError(f"the model has no trained {TITLES[part]}, which {purpose} needs")


# Which part of a model a field of `Outputs` is of, if it is not of the encoder's.
_PART_OF = {
    "pooled": "pooler",
    "mlm_logits": "predictions",
    "nsp_logits": "seq_relationship",
    "class_logits": "classifier",
}


@dataclasses.dataclass(frozen=True)
class _Fields:
    """Computes some fields of `Outputs`."""

    names: frozenset[str]

    def __call__(self, seen: Pass) -> dict[str, Array]:
        """By name."""
        everywhere = jnp.broadcast_to(
            jnp.arange(seen.sequence.shape[1])[None, :], seen.sequence.shape[:2]
        )
        compute: dict[str, Callable[[], Array]] = {
            "hidden_states": lambda: jnp.stack(seen.hidden_states),
            "pooled": lambda: seen.pooled,
            "mlm_logits": lambda: seen.mlm_logits(everywhere),
            "nsp_logits": seen.nsp_logits,
            "class_logits": seen.class_logits,
            "attentions": lambda: jnp.stack(seen.attentions),
        }
        return {name: compute[name]() for name in self.names}
