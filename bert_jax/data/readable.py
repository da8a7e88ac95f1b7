"""Masked examples for a person to read."""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from bert_jax.data.batches import Batches, predicted_tokens
from bert_jax.tokenizers import Tokenizer

LEGEND = "[MASK→hidden], wrong→right and =kept= are to be predicted"


class Example(NamedTuple):
    """An example in words.

    Attributes:
      segments: the marked words of each segment, one or two.
      random_next: whether the second segment is a random one.
    """

    segments: list[list[str]]
    random_next: bool


def examples(batches: Batches) -> Iterator[Example]:
    """The first examples of training, in order, for ever."""
    for step in count(batches.first_step):
        batch, layout = batches.batch(step), batches.unmasked(step)
        lengths = layout.lengths.reshape(batches.batch_size, -1)  # [B K]
        starts = np.cumsum(lengths, axis=1) - lengths
        labels = batch.get("nsp_labels", np.zeros_like(lengths)).reshape(lengths.shape)
        predicted, place = predicted_tokens(batch), np.arange(batches.pairs.seq_len)
        for row, number in zip(*np.nonzero(lengths), strict=True):
            start, segments = starts[row, number], []
            mine = (place >= start) & (place < start + lengths[row, number])
            for segment in range(2):
                here = mine & layout.text[row] & (layout.segment_ids[row] == segment)
                if here.any():
                    segments.append(
                        marked_words(
                            batches.tokenizer,
                            ids=layout.ids[row, here],
                            shown=batch["input_ids"][row, here],
                            predicted=predicted[row, here],
                            continues=layout.continues[row, here],
                        )
                    )
            yield Example(segments, bool(labels[row, number]))


def marked_words(
    tokenizer: Tokenizer,
    *,
    ids: Int[np.ndarray, " S"],
    shown: Int[np.ndarray, " S"],
    predicted: Bool[np.ndarray, " S"],
    continues: Bool[np.ndarray, " S"],
) -> list[str]:
    """The words of a segment, its predicted tokens marked as `LEGEND` has it.

    Args:
      tokenizer: gives the text.
      ids: the tokens.
      shown: what the model sees in their place.
      predicted: which are to be predicted.
      continues: which belong to the word before.
    """
    starts = np.flatnonzero(np.append(True, ~continues[1:])).tolist()
    words = []
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        word, first, written = "", start, ""
        for end in range(start + 1, stop + 1):
            # What a piece adds to its word, for alone it may be written otherwise. There is no
            # space inside a word: BPE's pieces are decoded with some, for they bear no mark.
            text = tokenizer.decode(ids[start:end]).replace(" ", "")
            if text.endswith("\N{REPLACEMENT CHARACTER}") and end < stop:
                continue  # some bytes of a character; it is marked as a whole
            part = slice(first, end)
            word += _marked(
                tokenizer, text[len(written) :], ids[part], shown[part], predicted[part]
            )
            first, written = end, text
        words.append(word)
    return words


def _marked(
    tokenizer: Tokenizer,
    text: str,
    ids: Int[np.ndarray, " S"],
    shown: Int[np.ndarray, " S"],
    predicted: Bool[np.ndarray, " S"],
) -> str:
    """The text of a piece, or of the pieces of one character, with its mark."""
    if not predicted.any():
        return text
    text = text or tokenizer.token(ids[0])  # such as the space before a word
    if (shown == tokenizer.mask_id).any():
        return f"[MASK→{text}]"
    if (shown == ids).all():
        return f"={text}="
    return f"{tokenizer.decode(shown).strip() or tokenizer.token(shown[0])}→{text}"
