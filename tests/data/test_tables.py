"""Labelled examples in files of columns: what is read, what is refused."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.tables import Row, read_table
from bert_jax.errors import UserError

EXAMPLES = [("I love Paris", "1"), ("샘은 그 영화가 싫었다", "0"), ('an "odd" one, this', "1")]


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix)
    path.write_bytes(pack(data) if pack else data)
    return path


def values(path: Path, *columns: str) -> list[tuple[str, ...]]:
    return [row.values for row in read_table(path, columns or ("text", "label"))]


def as_tsv(rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"{number}\t{text}\t{label}" for number, (text, label) in enumerate(rows)]
    return "\n".join(["id\ttext\tlabel", *lines, ""])


def as_csv(rows: Sequence[tuple[str, str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("label", "text"), *((label, text) for text, label in rows)])
    return file.getvalue()


def as_jsonl(rows: Sequence[tuple[str, str]]) -> str:
    objects = [{"text": text, "more": [1], "label": int(label)} for text, label in rows]
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)


WRITERS = {"tsv": as_tsv, "csv": as_csv, "jsonl": as_jsonl, "txt": as_tsv}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", WRITERS)
def test_the_same_examples_from_every_kind_of_file(
    tmp_path: Path, ending: str, packing: str
) -> None:
    path = write(tmp_path / f"a.{ending}{packing}", WRITERS[ending](EXAMPLES))
    assert values(path) == EXAMPLES
    assert values(path, "label", "text") == [(label, text) for text, label in EXAMPLES]
    assert values(path, "label") == [(label,) for _, label in EXAMPLES]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            st.sampled_from("01"),
        ),
        min_size=1,
    )
)
def test_any_text_survives_csv_and_json(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for ending in ("csv", "jsonl"):
        assert values(write(folder / f"a.{ending}", WRITERS[ending](rows))) == rows


def test_a_quote_in_a_tsv_is_a_quote(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"open and\t1\n"closed"\t0\n')
    assert values(path) == [('"open and', "1"), ('"closed"', "0")]


def test_empty_fields_at_the_ends_of_a_line_are_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\n\t1\na \t\n\t\n")
    assert values(path) == [("", "1"), ("a ", ""), ("", "")]


def test_line_breaks_in_quotes_are_text_and_lines_are_counted_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"two\n\nlines",1\nb,0\n')
    assert read_table(path, ["text", "label"]) == [
        Row(("two\n\nlines", "1"), 2),
        Row(("b", "0"), 5),
    ]


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_byte_order_marks_windows_line_ends_and_blank_lines_do_no_harm(
    tmp_path: Path, ending: str
) -> None:
    text = WRITERS[ending](EXAMPLES).replace("\r\n", "\n").replace("\n", "\r\n")
    text = text.replace("\r\n", "\r\n\r\n")
    assert values(write(tmp_path / f"a.{ending}", "\ufeff" + text)) == EXAMPLES


def test_the_last_line_may_lack_its_line_feed(tmp_path: Path) -> None:
    for ending in ("tsv", "csv", "jsonl"):
        assert values(write(tmp_path / f"a.{ending}", WRITERS[ending](EXAMPLES).strip())) == (
            EXAMPLES
        )


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (-1, "-1"), (0.5, "0.5"), (True, "true"), ("joy", "joy")]
)
def test_numbers_of_json_are_read_as_written(tmp_path: Path, value: object, text: str) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "a", "label": value}))
    assert values(path) == [("a", text)]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.tsv", "", "is empty: it holds no examples"),
        ("a.csv", "", "is empty: it holds no examples"),
        ("a.jsonl", "\n\n", "is empty: it holds no examples"),
        ("a.tsv", "text\tlabel\n", "is empty: it holds no examples"),
        ("a.tsv", "a\tb\n1\t2\n", "has no columns 'text'; its first line names 'a', 'b'"),
        ("a.csv", "a,text\n1,2\n", "has no columns 'label'; its first line names 'a', 'text'"),
        ("a.csv", "text,label,text\n1,2,3\n", "has 2 columns 'text'; its first line names"),
        ("a.tsv", "text\tlabel\na\t1\nb\n", "line 3 .* has 1 fields where there are names for 2"),
        ("a.csv", 'text,label\n"a\nb",1\nc,0,0\n', "line 4 .* has 3 fields where"),
        ("a.csv", 'text,label\na,1\n"b,0\nc,0\n', "line 3 .* is not CSV: unexpected end of data"),
        ("a.csv", 'text,label\n"b"x,0\n', "line 2 .* is not CSV: ',' expected after '\"'"),
        ("a.jsonl", '{"text": "a"}', "line 1 .* has no field 'label', only 'text'"),
        ("a.jsonl", '{"text": "a", "label": null}', "line 1 .*: field 'label' is neither"),
        ("a.jsonl", '{"text": "a", "label": [1]}', "line 1 .*: field 'label' is neither"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}', "line 1 .*: field 'text' holds half a"),
        ("a.jsonl", "[1]", "line 1 .* is JSON, but no object like {'text': ...}"),
        ("a.jsonl", '\n{"text": "a"', "line 2 .* is not JSON: "),
        ("a.tsv", b"text\tlabel\n\xb0\xa1\t1\n", "is not UTF-8: byte 0xb0 at offset 11"),
        ("a.json", "[]", "is empty"),
        ("a.parquet", "PAR1", r"must end in \.tsv, \.csv, \.jsonl or \.json, packed or not$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=problem) as caught:
        read_table(path, ["text", "label"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.tsv is no file"):
        read_table(tmp_path / "nothing.tsv", ["text"])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "columns", "num_rows"),
    [
        ("SST-2/dev.tsv", ("sentence", "label"), 872),
        ("RTE/dev.tsv", ("sentence1", "sentence2", "label"), 277),
        ("mnli/part.csv", ("premise", "hypothesis", "label"), None),
        ("nsmc/train.tsv", ("document", "label"), None),
    ],
)
def test_published_files_are_read(
    shared_data: Path, name: str, columns: tuple[str, ...], num_rows: int | None
) -> None:
    rows = read_table(shared_data / "tasks" / name, columns)
    assert num_rows is None or len(rows) == num_rows
    assert 2 <= len({row.values[-1] for row in rows}) <= 3
