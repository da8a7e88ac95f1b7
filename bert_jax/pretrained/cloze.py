"""What a masked-word head knows: guesses for [MASK], and how likely a text is."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bert_jax.errors import TextError, UserError
from bert_jax.pretrained.network import Network, Pass
from bert_jax.pretrained.rows import Row, compute_rows
from bert_jax.tokenizers import Tokenizer


class Prediction(NamedTuple):
    """One candidate for a [MASK]."""

    token: str
    token_id: int
    probability: float


class Likelihood(NamedTuple):
    """How likely each token of a text is, given all others.

    Attributes:
      tokens: those of the text.
      log_probabilities: of each, in nats.
    """

    tokens: list[str]
    log_probabilities: list[float]

    @property
    def total(self) -> float:
        """The pseudo-log-likelihood, in nats."""
        return float(sum(self.log_probabilities))

    @property
    def perplexity(self) -> float:
        """The exponential of the mean of minus the log-probabilities."""
        return float(np.exp(-self.total / max(len(self.tokens), 1)))


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """The likeliest tokens at a position, or the given ones, as (ids, probabilities)."""

    top_k: int
    targets: tuple[int, ...]

    def __call__(
        self, seen: Pass, positions: Int[Array, " B"]
    ) -> tuple[Int[Array, "B K"], Float[Array, "B K"]]:
        probabilities = jax.nn.softmax(seen.mlm_logits(positions[:, None])[:, 0])
        if self.targets:
            ids = jnp.array(self.targets)
            found, best = jax.lax.top_k(probabilities[:, ids], min(self.top_k, len(ids)))
            return ids[best], found
        found, best = jax.lax.top_k(probabilities, self.top_k)
        return best, found


def log_probability(
    seen: Pass, positions: Int[Array, " B"], ids: Int[Array, " B"]
) -> Float[Array, " B"]:
    """Of one token at one position of each row, in nats."""
    scores = jax.nn.log_softmax(seen.mlm_logits(positions[:, None])[:, 0])
    return jnp.take_along_axis(scores, ids[:, None], axis=1)[:, 0]


def fill_mask(
    network: Network,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    top_k: int | None,
    targets: Sequence[str] | None,
) -> list[list[list[Prediction]]]:
    """For each row, for each [MASK] in it, the candidates; see `Pretrained.fill_mask`."""
    network.require("predictions", "fill_mask")
    wanted = tuple(dict.fromkeys(target_id(tokenizer, target) for target in targets or ()))
    most = len(wanted) or network.config.vocab_size
    top_k = (len(wanted) or min(5, most)) if top_k is None else top_k
    if top_k < 1 or (not wanted and top_k > most):
        raise UserError(f"top_k is {top_k}; it must lie between 1 and {most}")
    masked = []
    for number, row in enumerate(rows):
        places = np.flatnonzero(np.array(row.ids) == tokenizer.mask_id)
        if not len(places):
            raise TextError(
                f"there is no {tokenizer.runtime.specials.mask} in the text; "
                "write one where a word is to be found",
                number=number,
                num_texts=len(rows),
            )
        masked += [(number, Row(row.ids, row.segment_ids, (int(place),))) for place in places]
    candidates = _Candidates(top_k, wanted)
    found: list[list[Prediction]] = [[] for _ in masked]
    for members, (ids, probabilities) in compute_rows(
        network, tokenizer.pad_id, candidates, [row for _, row in masked]
    ):
        for member, row_ids, row_probabilities in zip(members, ids, probabilities, strict=True):
            found[member] = [
                Prediction(tokenizer.token(token_id), int(token_id), float(probability))
                for token_id, probability in zip(row_ids, row_probabilities, strict=True)
            ]
    results: list[list[list[Prediction]]] = [[] for _ in rows]
    for (number, _), predictions in zip(masked, found, strict=True):
        results[number].append(predictions)
    return results


def target_id(tokenizer: Tokenizer, target: str) -> int:
    """The id of a word as it stands in a text, or of a piece as the vocabulary writes it.

    Raises:
      UserError: the vocabulary has no one piece for it.
    """
    # Byte-level vocabularies have another piece for a word after a space than inside another.
    encoding = tokenizer.encode(f" {target}")
    if encoding.length == 3 and encoding.ids[1] != tokenizer.unk_id:
        return encoding.ids[1]
    if target in tokenizer.runtime.vocab:
        return tokenizer.runtime.vocab[target]
    pieces = " ".join(encoding.tokens[1:-1])
    raise UserError(f"the target {target!r} is no one piece of the vocabulary, but {pieces!r}")


def pseudo_log_likelihood(
    network: Network, tokenizer: Tokenizer, rows: Sequence[Row]
) -> list[Likelihood]:
    """Each token masked in turn, the text's other tokens given (Salazar et al. 2020).

    Special tokens are not scored, neither the frame nor those written in the text.
    """
    network.require("predictions", "the likelihood of a text")
    special = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, tokenizer.mask_id)
    masked, owners = [], []
    for number, row in enumerate(rows):
        for place, token_id in enumerate(row.ids):
            if token_id not in special:
                ids = list(row.ids)
                ids[place] = tokenizer.mask_id
                masked.append(Row(ids, row.segment_ids, (place, token_id)))
                owners.append(number)
    scores = np.zeros(len(masked), np.float32)
    for members, found in compute_rows(network, tokenizer.pad_id, log_probability, masked):
        scores[members] = found
    results = [Likelihood([], []) for _ in rows]
    for owner, row, score in zip(owners, masked, scores, strict=True):
        results[owner].tokens.append(tokenizer.token(row.more[1]))
        results[owner].log_probabilities.append(float(score))
    return results
