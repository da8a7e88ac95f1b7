"""Sentences and tags from files of columns, JSON lines and TFDS, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tasks.conll_files import (
    Sentence,
    read_sentences,
    sentence_of_fields,
    sentence_of_text,
    sentence_of_words,
)
from bert_jax.tasks.scores.conll import chunks
from bert_jax.tasks.tags import TagError, as_iob2

# The first lines of its train file in IOB1, with the parts of speech and of phrases.
CONLL_2003 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- O O

China NNP I-NP I-LOC
Taiwan NNP I-NP B-LOC
"""

# As KLUE publishes it: an id with the marked sentence, then a character a line.
KLUE = (
    "## klue-ner-v1_train_00000-wikitree\t<경찰:OG>은 <서울 역:LC>#\n"
    "경\tB-OG\n찰\tI-OG\n은\tO\n \tO\n서\tB-LC\n울\tI-LC\n \tI-LC\n역\tI-LC\n#\tO\n\n"
    "## klue-ner-v1_train_00001-wikitree\t# 네\n#\tO\n \tO\n네\tO\n"
)


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def read(source: str, **options: str) -> list[Sentence]:
    return read_sentences(source, **options).examples


def refusal_of(source: str, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        read(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_conll_2003_is_read_with_its_documents_and_its_tags_as_iob2(tmp_path: Path) -> None:
    path = write(tmp_path / "eng.train", CONLL_2003)
    split = read_sentences(path)
    first, second, third = split.examples
    assert first == Sentence(
        words=("EU", "rejects", "German", "call"),
        tags=("B-ORG", "O", "B-MISC", "O"),
        text="EU rejects German call",
        offsets=((0, 2), (3, 10), (11, 17), (18, 22)),
        where=f"line 3 of {path}",
        document=1,
    )
    assert second.tags == ("B-PER", "I-PER")
    assert third.tags == ("B-LOC", "B-LOC")
    assert [each.document for each in split.examples] == [1, 1, 2]
    assert split.remarks == [f"{path}: 4 tags were brought to IOB2"]
    # Of phrases, by their column: from the front and from the back.
    for column in ("2", "-2"):
        assert read(path, tag_column=column)[0].tags == ("B-NP", "B-VP", "B-NP", "I-NP")


def test_packed_files_line_ends_and_a_mark_of_byte_order_change_nothing(tmp_path: Path) -> None:
    wanted = [each.words for each in read(write(tmp_path / "plain", CONLL_2003))]
    windows = ("\ufeff" + CONLL_2003.replace("\n", "\r\n")).encode()
    (tmp_path / "windows.conll").write_bytes(windows)
    (tmp_path / "packed.conll.gz").write_bytes(gzip.compress(windows))
    (tmp_path / "packed.conll.zst").write_bytes(zstandard.compress(windows))
    for name in ("windows.conll", "packed.conll.gz", "packed.conll.zst"):
        assert [each.words for each in read(str(tmp_path / name))] == wanted
    # The mark is no part of the first word, and a file may end without a line feed.
    (sentence,) = read(write(tmp_path / "short", "\ufeffSeoul\tB-LOC"))
    assert sentence.words == ("Seoul",)


def test_klue_s_characters_keep_their_spaces(tmp_path: Path) -> None:
    first, second = read(write(tmp_path / "klue-ner.tsv", KLUE), level="character")
    assert first.text == "경찰은 서울 역#"
    assert first.words == tuple(first.text)
    assert chunks(first.tags) == [("OG", 0, 2), ("LC", 4, 8)]
    assert [first.text[start:stop] for start, stop in first.offsets] == list(first.text)
    assert first.where.startswith("line 2 of")
    assert second.text == "# 네"  # a sign and a space are no comment when they are tokens


def test_characters_read_as_words_are_noticed_and_words_are_no_characters(tmp_path: Path) -> None:
    klue = write(tmp_path / "klue.tsv", KLUE)
    assert read_sentences(klue).remarks == [
        f"{klue}: 2 sentences have a space for a word; if these are characters, set level to "
        "'character'"
    ]
    words = write(tmp_path / "words", CONLL_2003)
    message = refusal_of(words, level="character")
    assert message == f"line 3 of {words} has 'EU' for a character; set level to 'word'"


def test_odd_characters_do_not_tear_words(tmp_path: Path) -> None:
    """WNUT has a word that is U+FE0F alone, and lines with nothing but a tab between sentences."""
    words = ["a\u00a0b", "\u00a0", "\ufe0f", "x\u2028y", "\u0085", "New York", "#", "##tag", '"']
    text = "".join(f"{word}\tO\n" for word in words) + "\t\nnext\tB-LOC\n \t \n\n"
    first, second = read(write(tmp_path / "odd", text))
    assert first.words == tuple(words)
    assert second.words == ("next",)


def test_comments_stand_before_sentences(tmp_path: Path) -> None:
    text = (
        "# id 7\ta letter O\nParis B-LOC\n# O\n\n"
        "# text = On Seoul\n## another\nSeoul B-LOC\n\n# O\n1 O\n"
    )
    found = [each.words for each in read(write(tmp_path / "comments", text))]
    assert found == [("Paris", "#"), ("Seoul",), ("#", "1")]


def test_json_lines_by_their_fields(tmp_path: Path) -> None:
    lines = [
        {"tokens": ["New", "York"], "ner": ["I-LOC", "I-LOC"], "other": ["O", "O"]},
        {"tokens": [], "ner": [], "other": []},
        {"tokens": ["Kim"], "ner": ["S-PER"], "other": ["B-X"]},
    ]
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    split = read_sentences(str(path))
    assert [each.tags for each in split.examples] == [("B-LOC", "I-LOC"), ("B-PER",)]
    assert split.remarks[0] == f"{path}: 1 sentences without a word were left out"
    assert [each.where for each in split.examples] == [f"line {n} of {path}" for n in (1, 3)]
    assert [each.tags for each in read(str(path), tag_column="other")] == [("O", "O"), ("B-X",)]


def test_tfds_gives_the_names_of_its_classes(tmp_path: Path) -> None:
    features = {
        "tokens": tfds.features.Sequence(tfds.features.Text()),
        "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B-PER", "I-PER"])),
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="names",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": [(0, {"tokens": ["김", "Kim", "sat"], "ner": [1, 2, 0]})]},
        data_dir=tmp_path,
        disable_shuffling=True,
    )
    (sentence,) = read(f"tfds:{builder.data_dir}")
    assert sentence.words == ("김", "Kim", "sat")
    assert sentence.tags == ("B-PER", "I-PER", "O")
    assert sentence.where == f"example 1 of tfds:{builder.data_dir}"
    assert "no field 'tag'" in refusal_of(f"tfds:{builder.data_dir}", tag_column="tag")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "FILE is empty: it holds no sentence"),
        ("\n-DOCSTART- O\n\n", {}, "FILE is empty: it holds no sentence"),
        ("A O\n\nB N O\n", {}, "line 3 of FILE has 3 columns, and line 1 has 2; mend the one"),
        ("A O\nB\n", {}, "line 2 of FILE has 1 columns, and line 1 has 2; mend the one"),
        ("A\nB\n", {}, "line 1 of FILE has 1 columns, and one of them is to be both word and tag"),
        ("A\tO\nB\t\n", {}, "line 2 of FILE has an empty column for the tag; mend the line"),
        ("A\tO\n\tO\n", {}, "line 2 of FILE has an empty column for the word; mend the line"),
        ("A O\n", {"tag_column": "3"}, "has 2 columns, none of them number 3 (tag_column)"),
        ("A O\n", {"tag_column": "ner"}, "tag_column is 'ner'; the columns of a CoNLL file go by"),
        ("A O\n\nB PER\n", {}, "line 3 of FILE: tag 'PER' is neither O nor like B-PER or I-PER"),
        ("A O\nB B-\n", {}, "line 2 of FILE: tag 'B-' is neither O nor like"),
    ],
)
def test_what_is_wrong_with_columns_is_said_with_the_line(
    tmp_path: Path, text: str, options: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "data.conll", text)
    assert message in refusal_of(path, **options).replace(path, "FILE")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 1 of FILE is JSON, but no object"),
        ('{"tokens": ["a"]}', "line 1 of FILE has no field 'tags' or 'ner', only 'tokens'"),
        ('{"tokens": ["a"], "tags": [0]}', "line 1 of FILE: field 'tags' is no list of strings"),
        ('{"tokens": ["a"], "tags": []}', "line 1 of FILE has 1 words and 0 tags; mend the line"),
        ('{"tokens": [""], "tags": ["O"]}', "line 1 of FILE has an empty word; mend it"),
        ('{"tokens": ["\\ud800"], "tags": ["O"]}', "line 1 of FILE: field 'tokens' holds half"),
        ("", "FILE is empty: it holds no sentence"),
    ],
)
def test_what_is_wrong_with_json_is_said_with_the_line(
    tmp_path: Path, line: str, message: str
) -> None:
    path = write(tmp_path / "data.jsonl", line)
    assert message in refusal_of(path).replace(path, "FILE")


def test_a_missing_file_and_an_array_of_json_are_refused(tmp_path: Path) -> None:
    assert refusal_of(str(tmp_path / "none")).endswith("is no file")
    assert "must end in .jsonl" in refusal_of(write(tmp_path / "data.json", "[]"))


@pytest.mark.parametrize(
    ("written", "iob2"),
    [
        ("I-A I-A O I-A B-A I-B", "B-A I-A O B-A B-A B-B"),  # IOB1
        ("B-A I-A E-A S-A S-B O B-B E-B", "B-A I-A I-A B-A B-B O B-B I-B"),  # IOBES
        ("B-A L-A U-A B-A I-A L-A", "B-A I-A B-A B-A I-A I-A"),  # BILOU
        ("E-A E-A O L-B I-B", "B-A B-A O B-B B-B"),  # what has ended does not go on
        ("I-A-B I-A-C", "B-A-B B-A-C"),  # a type with a dash
        ("", ""),
    ],
)
def test_all_ways_of_writing_tags_are_read(written: str, iob2: str) -> None:
    assert as_iob2(written.split()) == tuple(iob2.split())


@pytest.mark.parametrize("tag", ["", "B", "-A", "B-", "X-A", "o", "PER", "b-A"])
def test_what_is_no_tag_is_refused_by_its_number(tag: str) -> None:
    with pytest.raises(TagError) as caught:
        as_iob2(["O", tag])
    assert caught.value.number == 1


def tags_of(entities: list[tuple[str, int, int]], num_words: int, scheme: str) -> list[str]:
    """Tags of entities, in order, as a scheme writes them."""
    tags = ["O"] * num_words
    last_type, last_stop = "", -1
    for kind, start, stop in entities:
        marks = ["B", *"I" * (stop - start - 1)]
        if scheme == "IOB1" and not (kind == last_type and start == last_stop):
            marks[0] = "I"
        if scheme in ("IOBES", "BILOU"):
            marks[-1] = "EL"[scheme == "BILOU"]
            marks = marks if len(marks) > 1 else ["SU"[scheme == "BILOU"]]
        tags[start:stop] = [f"{mark}-{kind}" for mark in marks]
        last_type, last_stop = kind, stop
    return tags


@given(st.lists(st.tuples(st.sampled_from(["A", "B", ""]), st.integers(1, 4)), max_size=12))
def test_schemes_have_the_same_entities(lengths: list[tuple[str, int]]) -> None:
    entities, place = [], 0
    for kind, length in lengths:
        if kind:
            entities.append((kind, place, place + length))
        place += length
    for scheme in ("IOB1", "IOB2", "IOBES", "BILOU"):
        read_tags = as_iob2(tags_of(entities, place, scheme))
        assert list(read_tags) == tags_of(entities, place, "IOB2")
        assert as_iob2(read_tags) == read_tags
        assert chunks(read_tags) == entities


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=12))
def test_illegal_sequences_keep_the_entities_that_conlleval_reads(tags: list[str]) -> None:
    """Its rule: B- begins one, and so does I- after O or after another type."""
    starts = [
        tag[0] == "B" or (tag[0] == "I" and (before == "O" or before[2:] != tag[2:]))
        for before, tag in zip(["O", *tags], tags, strict=False)
    ]
    assert [tag[0] == "B" for tag in as_iob2(tags)] == starts


@given(st.text(), st.sampled_from(["word", "character"]))
def test_offsets_of_a_raw_text_slice_to_its_words(text: str, level: str) -> None:
    sentence = sentence_of_text(text, level)
    assert sentence.text == text
    assert tuple(text[start:stop] for start, stop in sentence.offsets) == sentence.words
    places = [place for start, stop in sentence.offsets for place in range(start, stop)]
    if level == "character":
        assert places == list(range(len(text)))
    else:  # all but white space, once
        assert places == [place for place, each in enumerate(text) if not each.isspace()]


@given(st.lists(st.text(min_size=1)), st.sampled_from(["word", "character"]))
def test_offsets_of_words_slice_to_them(words: list[str], level: str) -> None:
    sentence = sentence_of_words(words, (), level)
    assert [sentence.text[start:stop] for start, stop in sentence.offsets] == words
    assert sentence.text == (" " if level == "word" else "").join(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Obama's trip to Seoul, (Korea).", "Obama ' s trip to Seoul , ( Korea ) ."),
        ("The U.S. and Rolls-Royce at&t", "The U.S . and Rolls-Royce at&t"),
        ("-a- ...b 서울역,경찰은「네」", "- a - . . . b 서울역 , 경찰은 「 네 」"),
        ("हिन्दी\u00a0में", "हिन्दी में"),  # vowel signs are no letters, but inside words
        ("", ""),
    ],
)
def test_raw_text_is_parted_at_marks_but_not_inside_names(text: str, words: str) -> None:
    assert sentence_of_text(text).words == tuple(words.split())


def test_what_is_to_be_tagged_is_a_text_or_words() -> None:
    fields = {"tokens": ["U.S.", "Navy"], "text": "ignored"}
    assert sentence_of_fields(fields, "word", "it") == sentence_of_words(
        ["U.S.", "Navy"], where="it"
    )
    assert sentence_of_fields({"text": "U.S. Navy"}, "word", "it").words == ("U.S", ".", "Navy")
    assert sentence_of_fields({"text": "서울"}, "character", "it").words == ("서", "울")
    assert sentence_of_fields({"words": ["a b"]}, "word", "it", "words").words == ("a b",)
    for fields, message in [
        ({"id": 1}, "line 2 has neither 'tokens', a list of words, nor 'text', a string"),
        ({"text": 5}, "line 2 has neither"),
        ({"tokens": "Kim"}, "line 2: field 'tokens' is no list of strings"),
        ({"tokens": [""]}, "line 2 has an empty word; mend it"),
        ({"text": "\ud800"}, "line 2: field 'text' holds half a character"),
    ]:
        with pytest.raises(UserError, match=message.replace("(", r"\(")):
            sentence_of_fields(fields, "word", "line 2")


@pytest.mark.shared
def test_wnut_has_the_sizes_that_its_lines_say(shared_data: Path) -> None:
    """Counted here by the text alone: its lines that begin an entity, its runs of lines."""
    for name, sentences, entities in [
        ("wnut17train.conll", 3_394, 1_975),
        ("emerging.dev.conll", 1_009, 836),
    ]:
        path = shared_data / "tasks" / "wnut17" / name
        lines = path.read_bytes().decode().split("\n")
        assert sum(line.split("\t")[-1].startswith("B-") for line in lines) == entities
        split = read_sentences(str(path))
        assert len(split.examples) == sentences
        assert sum(len(chunks(each.tags)) for each in split.examples) == entities
        assert sum(len(each.words) for each in split.examples) == sum(
            bool(line.strip()) for line in lines
        )
        assert split.remarks == []
