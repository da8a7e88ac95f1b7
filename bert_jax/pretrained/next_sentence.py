"""How probable it is that one text follows another."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from bert_jax.errors import UserError
from bert_jax.pretrained.network import Network, Pass
from bert_jax.pretrained.rows import compute_rows, row_of
from bert_jax.tokenizers import Tokenizer


def next_sentence(
    network: Network, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]
) -> tuple[Float[np.ndarray, " n"], int]:
    """See `Pretrained.next_sentence`; and how many pairs were cut."""
    network.require("seq_relationship", "next_sentence")
    if network.config.num_segments < 2:
        raise UserError("the model has one segment only, so it takes no pairs")
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise UserError("pairs must be a list of two texts each")
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    encodings = tokenizer.encode_batch(firsts, seconds)
    most = network.config.max_positions
    num_cut = sum(encoding.length > most for encoding in encodings)
    if num_cut:
        encodings = tokenizer.encode_batch(firsts, seconds, most)
    found = np.zeros(len(pairs), np.float32)
    rows = [row_of(encoding) for encoding in encodings]
    for members, probabilities in compute_rows(network, tokenizer.pad_id, _is_next, rows):
        found[members] = probabilities
    return found, num_cut


def _is_next(seen: Pass) -> jax.Array:
    """The probability of class 0."""
    return jax.nn.softmax(seen.nsp_logits())[:, 0]
