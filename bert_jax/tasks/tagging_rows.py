"""Sentences as rows of tokens: which token speaks for which words, and long ones in parts."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from bert_jax.tasks.conll_files import Level, Sentence
from bert_jax.tasks.tags import as_iob2
from bert_jax.tasks.task import Row
from bert_jax.tokenizers import Tokenizer


class Unit(NamedTuple):
    """Tokens of which the first has a tag, that of some words.

    Attributes:
      ids: the tokens.
      start: the first of the words; of several characters that are one piece the tag is its.
      stop: one past the last; `start` if the tokens speak for none.
    """

    ids: list[int]
    start: int
    stop: int


class PartRow(NamedTuple):
    """A part of a sentence as the model sees it.

    Attributes:
      row: the tokens.
      sentence: its number.
      answers: the units whose tags are taken from here, by number, and the token of each.
    """

    row: Row
    sentence: int
    answers: list[tuple[int, int]]


class Part(NamedTuple):
    """Units of a sentence that are read at once.

    Attributes:
      start: the first unit.
      stop: one past the last.
      answers: the first unit whose tag is taken from here and not from another part.
      answers_stop: one past the last.
    """

    start: int
    stop: int
    answers: int
    answers_stop: int


def units_of(
    tokenizer: Tokenizer, sentences: Sequence[Sentence], level: Level, room: int
) -> list[list[Unit]]:
    """The units of each sentence.

    Words are tokenized one by one, each as if after a space, so that none shares a piece
    with its neighbour. One without any piece, a control character, is shown as [UNK]; one
    with more than there is room for is shown without its last ones. Characters are
    tokenized as the text that they are: alone they would be other pieces than
    those that the model was pretrained on.

    Args:
      tokenizer: makes the tokens.
      sentences: to be shown.
      level: whether words are words or characters.
      room: the most tokens of a unit.
    """
    if level == "word":
        words = list(dict.fromkeys(word for each in sentences for word in each.words))
        encodings = tokenizer.encode_batch([f" {word}" for word in words])
        ids_of = {
            word: encoding.ids[1:-1][:room] or [tokenizer.unk_id]
            for word, encoding in zip(words, encodings, strict=True)
        }
        return [
            [Unit(ids_of[word], number, number + 1) for number, word in enumerate(each.words)]
            for each in sentences
        ]
    encodings = tokenizer.encode_batch([each.text for each in sentences])
    return [
        _pieces(each.text, encoding.ids[1:-1], encoding.offsets[1:-1])
        for each, encoding in zip(sentences, encodings, strict=True)
    ]


def _pieces(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[Unit]:
    """Each piece with the characters that none before it speaks for, but for leading spaces.

    Pieces of bytes share a character; those of SentencePiece may begin with a space, and
    one may stand for a mark that is not in the text.
    """
    units = []
    done = 0
    for token_id, (begin, stop) in zip(ids, offsets, strict=True):
        start = max(begin, done)
        while start < stop and text[start].isspace():
            start += 1
        done = max(done, stop)
        units.append(Unit([token_id], start, max(start, stop)))
    return units


def parts_of(units: Sequence[Unit], room: int) -> list[Part]:
    """A sentence's units in parts, one if they fit, each half over the one before.

    A unit is answered for by the part that shows more of what is around it: about a
    quarter of `room` on either side, or up to the sentence's end.

    Args:
      units: none longer than `room`.
      room: the most tokens of a part.
    """
    places = [0, *accumulate(len(unit.ids) for unit in units)]
    spans: list[tuple[int, int]] = []
    bounds = [0]
    start = stop = 0
    while stop < len(units):
        if spans:
            half_way = bisect_left(places, places[start] + room // 2)
            fits_next = bisect_left(places, places[stop + 1] - room)
            start = min(stop, max(half_way, fits_next))
            bounds.append(bisect_left(places, (places[start] + places[stop]) // 2))
        stop = bisect_left(places, places[start] + room + 1) - 1
        spans.append((start, stop))
    bounds.append(len(units))
    return [Part(*span, *answers) for span, answers in zip(spans, pairwise(bounds), strict=False)]


def rows_of(tokenizer: Tokenizer, shown: Sequence[Sequence[Unit]], room: int) -> Iterator[PartRow]:
    """All parts of all sentences, which are given as units."""
    for sentence, units in enumerate(shown):
        for part in parts_of(units, room):
            ids = [tokenizer.cls_id]
            answers = []
            for number in range(part.start, part.stop):
                unit = units[number]
                if part.answers <= number < part.answers_stop and unit.start < unit.stop:
                    answers.append((number, len(ids)))
                ids.extend(unit.ids)
            ids.append(tokenizer.sep_id)
            yield PartRow(Row(ids, [0] * len(ids)), sentence, answers)


def spread(units: Sequence[Unit], tags: Sequence[str], num_words: int) -> tuple[str, ...]:
    """Tags of units as tags of their words, IOB2.

    What lies between, such as a space, is inside an entity if the next unit goes on with it.

    Args:
      units: those that speak for a word.
      tags: theirs, written in any way.
      num_words: of the sentence.
    """
    spoken = ["O"] * num_words
    done = 0
    for unit, tag in zip(units, as_iob2(tags), strict=True):
        if tag != "O":
            inside = f"I{tag[1:]}"
            start = done if tag == inside else unit.start
            spoken[start : unit.stop] = [inside] * (unit.stop - start)
            spoken[unit.start] = tag
        done = unit.stop
    return tuple(spoken)
