"""Many texts through a network: in batches of similar lengths, few shapes, results in order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from bert_jax.errors import TextError, UserError
from bert_jax.pretrained.network import Network
from bert_jax.tokenizers import Encoding, Tokenizer

# A batch is padded to one of these: each is compiled, which takes half a second for 6 layers.
_LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
# Of a batch. On two cores MiniLM reads 17,000 tokens a second in batches of 1,024 and 13,000
# in those of 4,096, whose activations leave the cache; an accelerator would like more.
_TOKENS = {"cpu": 1024, "gpu": 32768, "tpu": 32768}
_AHEAD = 2  # batches that are computed while the result of one is taken


class Row(NamedTuple):
    """An input of the network, and what the function of it takes beside it."""

    ids: Sequence[int]
    segment_ids: Sequence[int]
    more: tuple[int, ...] = ()


def row_of(encoding: Encoding) -> Row:
    """A text or pair as a row."""
    return Row(encoding.ids, encoding.segment_ids)


def compute_rows(
    network: Network, pad_id: int, function: Callable[..., PyTree], rows: Sequence[Row]
) -> Iterator[tuple[Int[np.ndarray, " B"], Any]]:
    """`function(pass, *more)` of all rows, in batches.

    The longest rows come first, so memory that is not there is missed at once.

    Args:
      network: whose pass it is.
      pad_id: the id at padding.
      function: see `Network.compute`; its results have the axis B first.
      rows: in any order.

    Yields:
      Which rows these are, and their results as NumPy arrays.

    Raises:
      UserError: a row is longer than the model takes.
    """
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number].ids))
    waiting: deque[tuple[list[int], Any]] = deque()
    start = 0
    while start < len(order):
        length = _round_up(len(rows[order[start]].ids), network.config.max_positions)
        num_rows = max(1, _TOKENS.get(jax.default_backend(), 32768) // length)
        members = order[start : start + num_rows]
        start += num_rows
        # A last batch that is not full is as large as the next power of two, so that one
        # sentence alone does not cost as much as a batch of them.
        num_rows = min(num_rows, 1 << (len(members) - 1).bit_length())
        batch = padded([rows[number] for number in members], length, num_rows, pad_id)
        waiting.append((members, network.compute(function, *batch)))
        if len(waiting) > _AHEAD:
            yield _take(*waiting.popleft())
    while waiting:
        yield _take(*waiting.popleft())


def _take(members: list[int], found: PyTree) -> tuple[Int[np.ndarray, " B"], Any]:
    """Waits for a batch; the rows that only fill it up are cut off."""
    arrays = jax.tree.map(lambda array: np.asarray(array)[: len(members)], found)
    return np.array(members), arrays


def _round_up(length: int, most: int) -> int:
    if length > most:
        raise UserError(f"a text has {length} tokens, the model takes {most}; cut it")
    return next((fit for fit in _LENGTHS if length <= fit <= most), most)


def padded(rows: Sequence[Row], length: int, num_rows: int, pad_id: int) -> list[np.ndarray]:
    """Arrays [B T], [B T], [B] and what else the function takes, [B] each."""
    ids = np.full((num_rows, length), pad_id, np.int32)
    segment_ids = np.zeros((num_rows, length), np.int32)
    lengths = np.ones(num_rows, np.int32)
    more = np.zeros((len(rows[0].more), num_rows), np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
        segment_ids[number, : len(row.ids)] = row.segment_ids
        lengths[number] = len(row.ids)
        more[:, number] = row.more
    return [ids, segment_ids, lengths, *more]


class Text(NamedTuple):
    """What is read of one text: its windows, and whether anything of it is left out."""

    windows: list[Row]
    was_cut: bool


def windows_of(
    encodings: Sequence[Encoding],
    number: int,
    tokenizer: Tokenizer,
    max_length: int,
    too_long: str,
) -> Text:
    """A text as rows that the model takes.

    Args:
      encodings: of some texts, as long as they are.
      number: of the one that is meant.
      tokenizer: that it is of.
      max_length: of a row.
      too_long: "truncate", "window" (side by side, each with its own [CLS] and
        [SEP]) or "error".

    Raises:
      TextError: it is too long, and that is an error.
    """
    encoding = encodings[number]
    if encoding.length <= max_length:
        return Text([row_of(encoding)], was_cut=False)
    if too_long == "error":
        raise TextError(
            f"the text has {encoding.length} tokens, the model takes {max_length}; truncate it or "
            "read it in windows",
            number=number,
            num_texts=len(encodings),
        )
    room = max(1, max_length - 2)
    pieces = encoding.ids[1:-1]
    rows = [
        Row(
            ids := [tokenizer.cls_id, *pieces[start : start + room], tokenizer.sep_id],
            [0] * len(ids),
        )
        for start in range(0, len(pieces), room)
    ]
    return Text(rows[:1], was_cut=True) if too_long == "truncate" else Text(rows, was_cut=False)
