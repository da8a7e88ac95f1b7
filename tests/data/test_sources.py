"""Names of sources, the parts that they are read in, and mixtures of them."""

import pickle
from pathlib import Path

import pytest

from bert_jax.data.sources import Part, Source, Weighted, mixture, open_source, text_source
from bert_jax.data.text_files import PART_BYTES
from bert_jax.errors import UserError


def source_of_sizes(folder: Path, sizes: list[int]) -> Source:
    """Files of one line that are this large, in units of an eighth of a part."""
    for number, size in enumerate(sizes):
        (folder / f"{number:03}.txt").write_text(f"{number} ".ljust(size * PART_BYTES // 8))
    return open_source(f"text:{folder}/*.txt")


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([1], [1]),
        ([8], [8]),
        ([3, 3, 3], [9]),
        ([3, 3, 3, 1, 1], [9, 2]),
        ([1, 20, 8, 9], [21, 8, 9]),
        ([4, 4] * 3, [8, 8, 8]),
    ],
)
def test_small_files_share_a_part(tmp_path: Path, sizes: list[int], shares: list[int]) -> None:
    source = source_of_sizes(tmp_path, sizes)
    assert [round(8 * part.num_bytes / PART_BYTES) for part in source.parts] == shares
    assert [document for part in source.parts for document in part.documents()] == [
        [str(number)] for number in range(len(sizes))
    ]


@pytest.mark.parametrize("kind", ["text", "jsonl", "jsonl#name"])
def test_a_part_survives_pickling(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.gz.jsonl").write_text('{"text": "a", "name": "b"}\n')
    source = open_source(f"{kind}:{tmp_path}/*.jsonl")
    assert source.name == f"{kind}:{tmp_path}/*.jsonl"
    (part,) = source.parts
    copy: Part = pickle.loads(pickle.dumps(part))
    assert list(copy.documents()) == list(source.documents())
    assert copy.num_bytes == source.num_bytes


def test_python_docs_are_one_part() -> None:
    (part,) = open_source("python_docs").parts
    copy: Part = pickle.loads(pickle.dumps(part))
    assert next(copy.documents()) == next(part.documents())


def test_files_come_in_the_order_given(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    source = text_source([tmp_path / name for name in "cab"])
    assert list(source.documents()) == [["c"], ["a"], ["b"]]


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path}/a is no file"):
        text_source([tmp_path / "a"])


@pytest.mark.parametrize(
    "source",
    [
        "wikipedia",
        "text",
        "text:",
        "python_docs:3",
        "",
        "txt:a",
        "text#text:a",
        "jsonl",
        "jsonl:",
        "jsonl#:a",
        "jsonl#text",
        "jsonl#text:",
        "tfds",
        "tfds:",
        "tfds#text:",
        "tfds#:pg19",
    ],
)
def test_an_unknown_source_is_refused_with_those_known(source: str) -> None:
    with pytest.raises(
        UserError, match=r"unknown data.source.*python_docs, text:GLOB, .*tfds:NAME"
    ):
        open_source(source)


# Mixtures.


@pytest.mark.parametrize(
    ("source", "items"),
    [
        ("1 text:a, 3 text:b", [(0.25, "text:a"), (0.75, "text:b")]),
        ("1 text:a,3 text:b", [(0.25, "text:a"), (0.75, "text:b")]),
        (" .5  python_docs ,  1.5 jsonl#x:b c ", [(0.25, "python_docs"), (0.75, "jsonl#x:b c")]),
        ("2 text:a", [(1, "text:a")]),
        (
            "0.2 tfds#book_text:pg19, 0.8 tfds:wikipedia/20230601.en",
            [(0.2, "tfds#book_text:pg19"), (0.8, "tfds:wikipedia/20230601.en")],
        ),
        (
            "1 text:a,1 b,{2 c,d}/[3,4] *, 3 text:b",
            [(0.25, "text:a,1 b,{2 c,d}/[3,4] *"), (0.75, "text:b")],
        ),
        (
            "1e-1 tfds:a:train[:10%]+test, 3E-1 tfds:a:test",
            [(0.25, "tfds:a:train[:10%]+test"), (0.75, "tfds:a:test")],
        ),
    ],
)
def test_items_of_a_mixture(source: str, items: list[tuple[float, str]]) -> None:
    found = mixture(source)
    assert [item.source for item in found] == [name for _, name in items]
    assert [item.weight for item in found] == pytest.approx([weight for weight, _ in items])
    assert sum(item.weight for item in found) == pytest.approx(1)


@pytest.mark.parametrize(
    "source",
    [
        "python_docs",
        "text:a,b",
        "text:a,1 b",
        "text:0.5 a, 2",
        "text:a,text:b",
        "text:1,1 x:2",
        "nonsense",
    ],
)
def test_what_merely_holds_commas_and_numbers_is_one_source(source: str) -> None:
    assert mixture(source) == [Weighted(1.0, source)]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("0 text:a, 1 text:b", "the weight of 'text:a' is 0; it must be more than 0"),
        ("1 text:a, -0.5 text:b", "the weight of 'text:b' is -0.5; it must be more than 0"),
        ("1e999 text:a", "the weight of 'text:a' is 1e999"),
        ("1 text:a, text:b", "'text:b' has no weight and known source"),
        ("text:a, 1 text:b", "'text:a' has no weight and known source"),
        ("1 python_docs, python_docs", "'python_docs' has no weight and known source"),
        ("1 wiki:a, 1 text:b", "'1 wiki:a' has no weight and known source"),
        ("1 text:a, 2 text:b, 3 text:a", "names 'text:a' twice; add up its weights"),
    ],
)
def test_a_bad_mixture_is_refused(source: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        mixture(source)
    assert problem in str(caught.value)
