"""Sentences with tags, from columns (CoNLL, WNUT, KLUE-NER), JSON lines or TFDS."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import Any, Literal, NamedTuple

from bert_jax.data.files import File, file_at, lines_of, local, unstripped_lines_of
from bert_jax.data.text_files import json_object, refuse_half_characters
from bert_jax.errors import UserError
from bert_jax.tasks.tags import TagError, as_iob2
from bert_jax.tasks.task import Split

Level = Literal["word", "character"]

_TOKENS = ("tokens",)
_TAGS = ("tags", "ner")  # as WikiANN and CoNLL-2003 call them in TFDS


@dataclass(frozen=True)
class Sentence:
    """Words and what is known of them.

    Attributes:
      words: or single characters, spaces too.
      tags: of each word, IOB2; empty if they are not known.
      text: the words with spaces between them, or the characters as they stand; or the raw
        text that the words were found in.
      offsets: of each word, its span of characters in the text.
      where: it stands, for messages.
      document: the number of its document, where the source tells them apart.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    text: str
    offsets: tuple[tuple[int, int], ...]
    where: str
    document: int = 0


class _Read(NamedTuple):
    """A sentence as it was read.

    Attributes:
      words: as they stand.
      tags: as they stand.
      place_of: where a word stands, by its number.
      document: see `Sentence`.
    """

    words: Sequence[str]
    tags: Sequence[str]
    place_of: Callable[[int], str]
    document: int = 0


def read_sentences(
    source: str, *, level: Level = "word", token_column: str = "", tag_column: str = ""
) -> Split:
    """The sentences of a file or a data set; their tags are brought to IOB2.

    Args:
      source: a file of columns: a word or character a line, its tag beside it, white
        space or tabs between; a blank line ends a sentence, `-DOCSTART-` a document, and
        lines that begin with `# ` or `## ` before a sentence are comments. Or, if it
        ends in `.jsonl`, an object a line with lists of words and of tags. Packed
        ones too (`.gz`, `.zst`). Or `tfds:NAME` as `tfds_parts` takes it.
      level: whether words are words or characters.
      token_column: of a file of columns the number of the words' column, from 0, negative
        from the end; of others the name of their field. If empty, 0 or `tokens`.
      tag_column: as well of the tags; if empty, -1 or `tags` or `ner`.

    Raises:
      UserError: there is no sentence, or a line is not what it should be.
    """
    sentences: list[Sentence] = []
    num_empty = num_spaced = num_changed = 0
    for words, read_tags, place_of, document in _found(source, token_column, tag_column):
        if not words:
            num_empty += 1
            continue
        _check_words(words, level, place_of)
        try:
            tags = as_iob2(read_tags)
        except TagError as error:
            place = place_of(error.number)
            raise UserError(f"{place}: {error}; see tag_column, or mend it") from None
        num_changed += sum(map(str.__ne__, tags, read_tags))
        num_spaced += level == "word" and " " in words
        sentences.append(sentence_of_words(words, tags, level, place_of(0), document))
    if not sentences:
        raise UserError(f"{source} is empty: it holds no sentence")
    remarks = []
    if num_empty:
        remarks.append(f"{source}: {num_empty:,} sentences without a word were left out")
    if num_changed:
        remarks.append(f"{source}: {num_changed:,} tags were brought to IOB2")
    if num_spaced:
        remarks.append(
            f"{source}: {num_spaced:,} sentences have a space for a word; if these are characters, "
            "set level to 'character'"
        )
    return Split(sentences, remarks)


def sentence_of_words(
    words: Sequence[str],
    tags: Sequence[str] = (),
    level: Level = "word",
    where: str = "",
    document: int = 0,
) -> Sentence:
    """A sentence whose text is its words."""
    between = " " if level == "word" else ""
    ends = accumulate(map(len, words))
    offsets = tuple(
        (end - len(word) + number * len(between), end + number * len(between))
        for number, (word, end) in enumerate(zip(words, ends, strict=True))
    )
    return Sentence(tuple(words), tuple(tags), between.join(words), offsets, where, document)


def sentence_of_text(text: str, level: Level = "word", where: str = "") -> Sentence:
    """A raw text as one sentence, or as its characters.

    Words are parted at white space and punctuation marks, each of which is a word, as data
    sets have it; but not at those inside abbreviations and compounds: U.S, Rolls-Royce.
    """
    if level == "character":
        return sentence_of_words(text, (), level, where)
    offsets: list[tuple[int, int]] = []
    start: int | None = None
    for place, character in enumerate(text):
        parts = character.isspace() or (_is_mark(character) and not _joins(text, place))
        if parts and start is not None:
            offsets.append((start, place))
            start = None
        if not parts and start is None:
            start = place
        elif parts and not character.isspace():
            offsets.append((place, place + 1))
    if start is not None:
        offsets.append((start, len(text)))
    words = tuple(text[start:stop] for start, stop in offsets)
    return Sentence(words, (), text, tuple(offsets), where)


def sentence_of_fields(
    fields: Mapping[str, Any], level: Level, where: str, tokens_field: str = ""
) -> Sentence:
    """A sentence to be tagged: of a list of words, or of a `text`.

    Raises:
      UserError: neither is there.
    """
    name = tokens_field or _TOKENS[0]
    if name in fields:
        words = _strings(fields, name, where)
        _check_words(words, level, partial(_same, where))
        return sentence_of_words(words, (), level, where)
    text = fields.get("text")
    if not isinstance(text, str):
        raise UserError(f"{where} has neither {name!r}, a list of words, nor 'text', a string")
    refuse_half_characters(text, "text", where)
    return sentence_of_text(text, level, where)


def _is_mark(character: str) -> bool:
    """Punctuation as BERT has it: ASCII's signs are all marks."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


def _joins(text: str, place: int) -> bool:
    """Whether a mark is inside a word: data sets keep U.S, AT&T and New York-based whole."""
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return text[place] in ".-&_" and len(around) == 2 and around.isalnum()


def _found(source: str, token_column: str, tag_column: str) -> Iterable[_Read]:
    if source.startswith("tfds:"):
        from bert_jax.data.tfds_source import tfds_examples  # TensorFlow, which files do not need

        examples = enumerate(tfds_examples(source.removeprefix("tfds:")), 1)
        placed = ((f"example {number} of {source}", fields) for number, fields in examples)
        return _of_fields(placed, token_column, tag_column)
    file = file_at(local(source))
    ending = re.search(r"\.jsonl?(?=(\.gz|\.zst)?$)", source)
    if ending is None:
        return _of_columns(
            file,
            _number(token_column, 0, "token_column"),
            _number(tag_column, -1, "tag_column"),
        )
    if ending[0] == ".json":
        raise UserError(f"{source} must end in .jsonl; jq -c '.[]' makes it of an array")
    lines = enumerate(lines_of(file, lambda _: None), 1)
    objects = (
        (place, json_object(line, place, example="tokens"))
        for place, line in ((f"line {number} of {file}", line) for number, line in lines)
        if line
    )
    return _of_fields(objects, token_column, tag_column)


def _number(column: str, default: int, name: str) -> int:
    if not re.fullmatch(r"-?\d+|", column):
        raise UserError(f"{name} is {column!r}; the columns of a CoNLL file go by number, from 0")
    return int(column or default)


def _of_columns(file: File, token: int, tag: int) -> Iterator[_Read]:
    words: list[str] = []
    tags: list[str] = []
    document, start = 0, 0
    first: tuple[int, int] | None = None  # a line of words and how many columns it has
    lines = unstripped_lines_of(file, lambda _: None)
    for number, unstripped in enumerate(chain(lines, [""]), 1):
        line = unstripped.removesuffix("\n").removesuffix("\r")
        line = line.removeprefix("\ufeff") if number == 1 else line
        begins_document = line.startswith("-DOCSTART-")
        if begins_document or not line.strip():
            if words:
                yield _Read(words, tags, partial(_line, file, start), document)
            words, tags = [], []
            document += begins_document
            continue
        if not words and _is_comment(line):
            continue
        columns = _columns(line)
        first = first or (number, len(columns))
        _check_columns(columns, first, f"line {number} of {file}", token, tag)
        start = start if words else number
        words.append(columns[token])
        tags.append(columns[tag])


def _columns(line: str) -> list[str]:
    """At tabs if there are any: the word may be a space, or hold one that is no ASCII."""
    if "\t" not in line:
        return [column for column in line.split(" ") if column]
    return [column.strip(" ") or column for column in line.split("\t")]


def _is_comment(line: str) -> bool:
    """Whether a line before a sentence is none of it: `## klue-ner-v1_train_00000 ...`.

    A word has no space in it; and where spaces part the columns, the last one is a tag.
    """
    if not re.match("##? ", line):
        return False
    return "\t" in line or not re.search(r" (O|[BIESLU]-\S+) *$", line)


def _check_columns(
    columns: list[str], first: tuple[int, int], place: str, token: int, tag: int
) -> None:
    """Whether a line has what it should.

    Raises:
      UserError: it has not.
    """
    count = len(columns)
    if count != first[1]:
        raise UserError(
            f"{place} has {count} columns, and line {first[0]} has {first[1]}; mend the one that "
            "is wrong"
        )
    for name, column in (("token_column", token), ("tag_column", tag)):
        if not -count <= column < count:
            raise UserError(f"{place} has {count} columns, none of them number {column} ({name})")
    if token % count == tag % count:
        raise UserError(
            f"{place} has {count} columns, and one of them is to be both word and tag; a line is "
            "a word and its tag"
        )
    for name, content in (("word", columns[token]), ("tag", columns[tag])):
        if not content:
            raise UserError(f"{place} has an empty column for the {name}; mend the line")


def _of_fields(
    objects: Iterable[tuple[str, dict[str, Any]]], token_column: str, tag_column: str
) -> Iterator[_Read]:
    for place, fields in objects:
        words = _strings(fields, _field(fields, token_column, _TOKENS, place), place)
        tags = _strings(fields, _field(fields, tag_column, _TAGS, place), place)
        if len(words) != len(tags):
            raise UserError(f"{place} has {len(words)} words and {len(tags)} tags; mend the line")
        yield _Read(words, tags, partial(_same, place))


def _line(file: File, first: int, word: int) -> str:
    return f"line {first + word} of {file}"


def _same(place: str, _word: int) -> str:
    return place


def _field(fields: Mapping[str, Any], asked: str, usual: Sequence[str], place: str) -> str:
    """The field asked for, or the first of the usual ones that is there."""
    names = [asked] if asked else usual
    for name in names:
        if name in fields:
            return name
    present = ", ".join(map(repr, fields)) or "none"
    raise UserError(
        f"{place} has no field {' or '.join(map(repr, names))}, only {present}; choose others by "
        "token_column and tag_column"
    )


def _strings(fields: Mapping[str, Any], name: str, place: str) -> list[str]:
    value = fields[name]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UserError(f"{place}: field {name!r} is no list of strings")
    for each in value:
        refuse_half_characters(each, name, place)
    return value


def _check_words(words: Sequence[str], level: Level, place_of: Callable[[int], str]) -> None:
    """Refuses what cannot be a word, or no character.

    Raises:
      UserError: there is one.
    """
    for number, word in enumerate(words):
        if not word:
            raise UserError(f"{place_of(number)} has an empty word; mend it")
        if level == "character" and len(word) > 1:
            raise UserError(
                f"{place_of(number)} has {word[:20]!r} for a character; set level to 'word'"
            )
