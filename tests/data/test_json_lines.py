"""Text in a field of JSON objects, one a line: what is a document, what is refused."""

import gzip
import json
import re
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.sources import Document, open_source
from bert_jax.errors import UserError

PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def read(pattern: object, kind: str = "jsonl") -> list[Document]:
    return list(open_source(f"{kind}:{pattern}").documents())


def write(path: Path, *records: object, ascii_only: bool = True) -> Path:
    path.write_text("".join(json.dumps(each, ensure_ascii=ascii_only) + "\n" for each in records))
    return path


def refusal_of(path: Path) -> str:
    """The message that reading a file ends with."""
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("a", ["a"]),
        ("a\nb", ["a", "b"]),
        ("a\n\n\nb\n", ["a", "b"]),
        ("  a\r\n\t\n b ", ["a", "b"]),
        ("one\u2028line\u0085only", ["one\u2028line\u0085only"]),
        ("나는 파리를\n사랑해 🗼", ["나는 파리를", "사랑해 🗼"]),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as it is"])
def test_the_lines_of_the_text_are_the_paragraphs(
    tmp_path: Path, text: str, document: Document, ascii_only: bool
) -> None:
    assert read(write(tmp_path / "a.jsonl", {"text": text}, ascii_only=ascii_only)) == [document]


def test_every_object_is_a_document(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl", {"text": "a"}, {"text": "b"})
    write(tmp_path / "2.jsonl", {"text": "c"})
    assert read(tmp_path / "*.jsonl") == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_object_without_text_is_passed_over(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": text}, {"text": "b"})
    assert read(path) == [["a"], ["b"]]


def test_blank_lines_of_the_file_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"text": "a"}\r\n \n{"text": "b"}\n\n')
    assert read(path) == [["a"], ["b"]]


def test_other_fields_may_hold_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"meta": {"text": ["\ud800"]}, "text": "a", "id": None})
    assert read(path) == [["a"]]


@pytest.mark.parametrize("field", ["content", "본문", "a b", "#", "*", "text#2"])
def test_another_field_is_chosen_by_name(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", field: "b"})
    assert read(path, kind=f"jsonl#{field}") == [["b"]]


@pytest.mark.parametrize("name", ["a#b.jsonl", "a:b.jsonl", "#"])
def test_a_pattern_may_hold_what_parts_kind_and_field(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"text": "a", "b.jsonl": "b"})
    assert read(path) == read(path, kind="jsonl#text") == [["a"]]


PARAGRAPHS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1).filter(
    lambda paragraph: paragraph == paragraph.strip()
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    documents=st.lists(st.lists(PARAGRAPHS, min_size=1, max_size=4), max_size=6),
    ascii_only=st.booleans(),
)
@pytest.mark.parametrize("ending", PACK)
def test_documents_survive_the_way_through_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    documents: list[Document],
    ascii_only: bool,
) -> None:
    lines = [
        json.dumps({"text": "\n".join(each)}, ensure_ascii=ascii_only) + "\n" for each in documents
    ]
    path = tmp_path_factory.getbasetemp() / f"any.jsonl{ending}"
    path.write_bytes(PACK[ending]("".join(lines).encode()))
    assert read(path) == documents


@pytest.mark.parametrize("ending", PACK)
def test_progress_adds_up_to_the_size_on_disk(tmp_path: Path, ending: str) -> None:
    lines = "".join(f'{{"text": "{n * n}"}}\n' for n in range(5_000))
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(PACK[ending](lines.encode()))
    source = open_source(f"jsonl:{path}")
    steps: list[int] = []
    assert sum(1 for _ in source.documents(steps.append)) == 5_000
    assert sum(steps) == source.num_bytes == path.stat().st_size


# What is refused.


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("plain text", "is not JSON: Expecting value (column 1)"),
        ('{"text": "a"', "is not JSON: Expecting ',' delimiter (column 13)"),
        ('{"text": "a"} {"text": "b"}', "is not JSON: Extra data (column 15)"),
        ('{"text": "a\tb"}', "is not JSON: Invalid control character at (column 12)"),
        ('{"text": "a", "n": ' + "9" * 5_000 + "}", "is JSON that Python cannot read: Exceeds"),
        ("[" * 200_000, "is JSON that Python cannot read: maximum recursion depth"),
        ('["a"]', "is JSON, but no object like {'text': ...}"),
        ('"a"', "is JSON, but no object"),
        ("null", "is JSON, but no object"),
        ("{}", "has no field 'text', only none; choose another: jsonl#FIELD:GLOB"),
        ('{"id": 1, "Text": "a"}', "has no field 'text', only 'id', 'Text'; choose another"),
        ('{"a\\nb\\ud800": 1}', r"has no field 'text', only 'a\nb\ud800'"),
        ('{"text": null}', "field 'text' is no string"),
        ('{"text": ["a"]}', "field 'text' is no string"),
        (r'{"text": "a\ud83d b"}', r"field 'text' holds half a character, the escape \ud83d alone"),
        (r'{"text": "\udc00"}', r"field 'text' holds half a character, the escape \udc00 alone"),
    ],
    ids=lambda value: value[:30],
)
def test_a_bad_line_is_named_with_its_place(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a"}}\n\n{line}\n{{"text": "b"}}\n')
    assert re.match(rf"{path}, line 3:? {re.escape(problem)}", refusal_of(path))


def test_the_documents_before_a_bad_line_are_read(tmp_path: Path) -> None:
    documents = open_source(f"jsonl:{write(tmp_path / 'a.jsonl', {'text': 'a'}, 3)}").documents()
    assert next(documents) == ["a"]
    with pytest.raises(UserError, match="line 2 "):
        next(documents)


def test_a_truncated_packed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(PACK[".zst"](b'{"text": "a"}\n')[:-1])
    assert refusal_of(path).startswith(f"{path} is not a whole zstd file")


def test_a_pattern_without_a_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file matches '.*/\*\.jsonl'"):
        open_source(f"jsonl:{tmp_path}/*.jsonl")
