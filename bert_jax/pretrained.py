"""A pretrained model, ready to use."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.steps import init_params

_PAD_TO = 32  # inputs are padded to a multiple of this, so that few lengths are compiled


class Prediction(NamedTuple):
    """One candidate for a [MASK]."""

    token: str
    token_id: int
    probability: float


class Pretrained:
    """A model with its parameters and its tokenizer."""

    def __init__(self, model: BertForPreTraining, params: PyTree, tokenizer: Tokenizer):
        self.model = model
        self.params = params
        self.tokenizer = tokenizer

    def fill_mask(self, text: str, *, top_k: int = 5) -> list[list[Prediction]]:
        """The likeliest tokens for each [MASK] of a text, best first.

        Raises:
          UserError: no [MASK], or a text longer than the model.
        """
        ids = self.tokenizer.encode(text).ids
        return self.fill_mask_ids(ids, top_k=top_k)

    def fill_mask_ids(self, ids: Sequence[int], *, top_k: int) -> list[list[Prediction]]:
        """As `fill_mask`, for a text encoded already."""
        positions = np.flatnonzero(np.array(ids) == self.tokenizer.mask_id)
        config = self.model.config
        if not len(positions):
            raise UserError("there is no [MASK] in the text; write one where a word is to be found")
        if len(ids) > config.max_positions:
            raise UserError(
                f"the text has {len(ids)} tokens, the model takes {config.max_positions}; cut it"
            )
        if not 1 <= top_k <= config.vocab_size:
            raise UserError(f"top_k is {top_k}; it must lie between 1 and {config.vocab_size}")
        probabilities = self._probabilities(ids, positions)
        best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]
        return [
            [
                Prediction(self.tokenizer.token(token_id), int(token_id), float(row[token_id]))
                for token_id in candidates
            ]
            for row, candidates in zip(probabilities, best, strict=True)
        ]

    def _probabilities(
        self, ids: Sequence[int], positions: Int[np.ndarray, " M"]
    ) -> Float[np.ndarray, "M V"]:
        """The distribution over the vocabulary at each position."""
        length = min(-(-len(ids) // _PAD_TO) * _PAD_TO, self.model.config.max_positions)
        padded = np.full((1, length), self.tokenizer.pad_id, np.int32)
        padded[0, : len(ids)] = ids
        # All positions go in, so that the number of masks is no new shape to compile.
        everywhere = np.arange(length, dtype=np.int32)[None]
        lengths = np.array([len(ids)], np.int32)
        return np.asarray(self._forward(self.params, padded, lengths, everywhere))[positions]

    @cached_property
    def _forward(self) -> Any:
        def forward(params: PyTree, ids: Array, lengths: Array, positions: Array) -> Array:
            logits, _ = self.model.apply(
                {"params": params}, ids, jax.numpy.zeros_like(ids), lengths, positions
            )
            return jax.nn.softmax(logits[0])

        return jax.jit(forward)


def load(folder: str | Path) -> Pretrained:
    """The model in a run folder, with the parameters of its newest checkpoint.

    Raises:
      UserError: not a run folder, or nothing saved in it yet.
    """
    run = RunFolder(Path(folder))
    record = run.read()
    if not run.is_trained:
        raise UserError(f"{folder} holds no checkpoint yet; train it first")
    config, tokenizer = record["config"], load_tokenizer(run.tokenizer)
    if tokenizer.hash != record["tokenizer_hash"]:
        raise UserError(
            f"{run.tokenizer} is tokenizer {tokenizer.hash[:12]}, the model was trained with "
            f"{record['tokenizer_hash'][:12]}"
        )
    model = BertForPreTraining(BertConfig(vocab_size=tokenizer.vocab_size, **config["model"]))
    shapes = jax.eval_shape(lambda: init_params(model, stream_key(0, Stream.INIT)))
    checkpoints = Checkpoints(run.checkpoints, read_only=True)
    return Pretrained(model, checkpoints.restore_params(shapes), tokenizer)
