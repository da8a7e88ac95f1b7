"""Files on servers, read as those on disk are; one that lies in memory stands for all."""

import gzip
import importlib.util
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import zstandard

from bert_jax.data.files import File, find_files, lines_of
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError


@pytest.fixture
def server() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty one, at memory://."""
    server = fsspec.filesystem("memory")
    yield server
    server.store.clear()
    server.pseudo_dirs[:] = [""]


def refusal_of(source: str) -> str:
    with pytest.raises(UserError) as caught:
        list(open_source(source).documents())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_remote_files_are_read_in_the_order_of_their_names(
    server: fsspec.AbstractFileSystem,
) -> None:
    server.pipe("/corpus/b.txt", b"b\n\nc")
    server.pipe("/corpus/a.txt.gz", gzip.compress(b"a\n"))
    server.pipe("/corpus/c.txt.zst", zstandard.ZstdCompressor().compress(b"d"))
    server.pipe("/corpus/deep/d.txt", b"e")
    server.pipe("/corpus/other.md", b"f")
    source = open_source("text:memory://corpus/*.txt*")
    assert list(source.documents()) == [["a"], ["b"], ["c"], ["d"]]
    assert list(open_source("text:memory://corpus/**/*.txt").documents()) == [["b"], ["c"], ["e"]]


def test_json_lines_may_be_remote(server: fsspec.AbstractFileSystem) -> None:
    lines = "".join(json.dumps({"body": text}) + "\n" for text in "ab")
    server.pipe("/a.jsonl.gz", gzip.compress(lines.encode()))
    assert list(open_source("jsonl#body:memory://*.jsonl.gz").documents()) == [["a"], ["b"]]


def test_a_remote_part_survives_pickling(server: fsspec.AbstractFileSystem) -> None:
    server.pipe("/a.txt", b"a")
    (part,) = open_source("text:memory://a.txt").parts
    assert list(pickle.loads(pickle.dumps(part)).documents()) == [["a"]]


def test_progress_adds_up_to_the_remote_size(server: fsspec.AbstractFileSystem) -> None:
    packed = gzip.compress("".join(f"{n * n}\n" for n in range(200_000)).encode())
    server.pipe("/a.txt.gz", packed)
    source = open_source("text:memory://a.txt.gz")
    steps: list[int] = []
    list(source.documents(steps.append))
    assert len(steps) > 1
    assert sum(steps) == source.num_bytes == len(packed)


def test_an_address_of_this_machine_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff")
    assert refusal_of(f"text:file://{tmp_path}/*.txt").startswith(f"{tmp_path}/a.txt is not UTF-8")


def test_hidden_files_are_passed_over_and_links_followed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".hidden.txt").write_text("")
    (folder / "a.txt").write_text("")
    (tmp_path / "link").symlink_to(folder)
    (folder / "b.txt").symlink_to(folder / "a.txt")
    found = find_files(f"{tmp_path}/link/*.txt")
    assert [str(file) for file in found] == [f"{tmp_path}/link/{name}.txt" for name in "ab"]


def test_a_name_may_hold_what_parts_addresses(tmp_path: Path) -> None:
    (tmp_path / "a::b.txt").write_text("a")
    (file,) = find_files(f"{tmp_path}/a::*.txt")
    assert list(lines_of(file, lambda _: None)) == ["a"]


# What is refused.


def test_an_address_without_a_match_is_named(server: fsspec.AbstractFileSystem) -> None:
    server.pipe("/a.txt", b"a")
    assert "no file matches 'memory://*.gz'" in refusal_of("text:memory://*.gz")


def test_text_that_is_not_utf_8_is_named_with_its_address(
    server: fsspec.AbstractFileSystem,
) -> None:
    server.pipe("/corpus/a.txt", b"a\xff")
    assert refusal_of("text:memory://corpus/*").startswith(
        "memory:///corpus/a.txt is not UTF-8: byte 0xff at offset 1"
    )


def test_a_file_that_is_gone_is_named_with_its_address(server: fsspec.AbstractFileSystem) -> None:
    server.pipe("/a.txt", b"a")
    (file,) = find_files("memory://a.txt")
    server.rm("/a.txt")
    with pytest.raises(UserError, match=r"^memory:///a.txt cannot be read: .*check the network"):
        list(lines_of(file, lambda _: None))


def test_a_file_here_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (file,) = find_files(f"{tmp_path}/a.txt")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError) as caught:
        list(lines_of(file, lambda _: None))
    assert str(caught.value) == f"{file} cannot be read: No such file or directory"


def test_a_server_that_does_not_answer_is_named() -> None:
    message = refusal_of("text:ftp://127.0.0.1:1/a.txt")
    assert message.startswith("ftp://127.0.0.1:1/a.txt cannot be read: Connection refused; check")


@pytest.mark.parametrize(("protocol", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_driver_that_is_not_installed_is_named(protocol: str, package: str) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    assert package in refusal_of(f"text:{protocol}://bucket/*.txt")


def test_a_protocol_that_does_not_exist_is_named() -> None:
    assert "'moon://a' cannot be read: Protocol not known: moon" in refusal_of("text:moon://a")


def test_a_file_says_where_it_lies(server: fsspec.AbstractFileSystem) -> None:
    assert str(File(server, "/a.txt", 0, "")) == "memory:///a.txt"
