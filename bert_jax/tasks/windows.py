"""Paragraphs in windows: `[CLS] question [SEP] a part of the paragraph [SEP]`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from bert_jax.tasks.squad_files import Question
from bert_jax.tasks.task import Row
from bert_jax.tokenizers import Encoding, Tokenizer


class Window(NamedTuple):
    """A part of a paragraph, as the model sees it with a question.

    Attributes:
      question: which one, by its number.
      row: what the model sees.
      first: place of the first token of the paragraph in the row.
      start: that token's number in the whole paragraph.
      starts: [N] of each of its N tokens of the paragraph, the first character there.
      ends: [N], one past the last.
      has_text: [N], whether it is more than space.
      is_fullest: [N], whether no other window shows more of what stands around the token.
    """

    question: int
    row: Row
    first: int
    start: int
    starts: Int[np.ndarray, " N"]
    ends: Int[np.ndarray, " N"]
    has_text: Bool[np.ndarray, " N"]
    is_fullest: Bool[np.ndarray, " N"]


class Paragraph(NamedTuple):
    """The tokens of a whole paragraph.

    Attributes:
      ids: N token ids.
      starts: [N], first character of each.
      ends: [N], one past the last.
      has_text: [N], whether it is more than space, or than nothing.
    """

    ids: list[int]
    starts: Int[np.ndarray, " N"]
    ends: Int[np.ndarray, " N"]
    has_text: Bool[np.ndarray, " N"]

    def tokens_of(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last token that share characters with a span; None if none does."""
        first = int(np.searchsorted(self.ends, start, side="right"))
        last = int(np.searchsorted(self.starts, end, side="left")) - 1
        return (first, last) if first <= last else None


def paragraphs_of(tokenizer: Tokenizer, questions: Sequence[Question]) -> dict[str, Paragraph]:
    """The paragraph of each question, by its text."""
    texts = list(dict.fromkeys(each.context for each in questions))
    return {
        text: _paragraph(text, encoding)
        for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True)
    }


def _paragraph(text: str, encoding: Encoding) -> Paragraph:
    # Pieces of one character's bytes, and those that are a space alone, may go back a little.
    offsets = np.array(encoding.offsets[1:-1], int).reshape(-1, 2)
    starts = np.maximum.accumulate(offsets[:, 0]) if len(offsets) else offsets[:, 0]
    ends = np.maximum.accumulate(offsets[:, 1]) if len(offsets) else offsets[:, 1]
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    has_text = np.array([bool(text[start:end].strip()) for start, end in spans], bool)
    return Paragraph(encoding.ids[1:-1], starts, ends, has_text)


def windows_of(
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    paragraphs: dict[str, Paragraph],
    *,
    max_length: int,
    stride: int,
    max_question_length: int,
) -> Iterator[Window]:
    """All windows of questions, in their order.

    Args:
      tokenizer: of the model.
      questions: N of them.
      paragraphs: of `paragraphs_of`.
      max_length: the most tokens of a row.
      stride: how many tokens one window begins after the one before.
      max_question_length: the most tokens of a question; of a longer one the end is cut.
    """
    asked = tokenizer.encode_batch([each.question for each in questions])
    for number, (each, encoding) in enumerate(zip(questions, asked, strict=True)):
        start_of_row = [*encoding.ids[: 1 + min(max_question_length, encoding.length - 2)]]
        start_of_row.append(tokenizer.sep_id)
        paragraph = paragraphs[each.context]
        num_tokens = len(paragraph.ids)
        spans = list(_spans(num_tokens, max_length - len(start_of_row) - 1, stride))
        fullest = _fullest(spans, num_tokens)
        for place, (start, stop) in enumerate(spans):
            ids = [*start_of_row, *paragraph.ids[start:stop], tokenizer.sep_id]
            yield Window(
                question=number,
                row=Row(ids, [0] * len(start_of_row) + [1] * (stop - start + 1)),
                first=len(start_of_row),
                start=start,
                starts=paragraph.starts[start:stop],
                ends=paragraph.ends[start:stop],
                has_text=paragraph.has_text[start:stop],
                is_fullest=fullest[start:stop] == place,
            )


def _spans(num_tokens: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Parts of a paragraph (google-research/bert, run_squad.py)."""
    start = 0
    while True:
        stop = min(start + room, num_tokens)
        yield start, stop
        if stop == num_tokens:
            return
        start += min(stop - start, stride)


def _fullest(spans: Sequence[tuple[int, int]], num_tokens: int) -> Int[np.ndarray, " N"]:
    """Of each token of a paragraph, the window that shows most of what stands around it.

    By the smaller of the tokens to its left and right, and a hundredth of the window's length
    (google-research/bert, run_squad.py); of equals, the first.
    """
    best, fullest = np.full(num_tokens, -1.0), np.zeros(num_tokens, int)
    for number, (start, stop) in enumerate(spans):
        place = np.arange(stop - start)
        score = np.minimum(place, place[::-1]) + 0.01 * (stop - start)
        is_better = score > best[start:stop]
        best[start:stop][is_better] = score[is_better]
        fullest[start:stop][is_better] = number
    return fullest
