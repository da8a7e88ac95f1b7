"""Text as it lies on disk: files of all kinds, what is refused."""

import gzip
from pathlib import Path

import pytest
import zstandard

from bert_jax.data.sources import Document, open_source
from bert_jax.errors import UserError


def read(pattern: object) -> list[Document]:
    return list(open_source(f"text:{pattern}").documents())


def write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix)
    path.write_bytes(pack(data) if pack else data)
    return path


def squares() -> str:
    """Lines that do not pack to nothing: 185 KB, 80 KB packed."""
    return "".join(f"{n * n}\n" for n in range(20_000))


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("a\nb\n\nc\n", [["a", "b"], ["c"]]),
        ("a\n\n\n \t\n\nb", [["a"], ["b"]]),
        ("\n\na\n\n", [["a"]]),
        ("  a  \n\tb\n", [["a", "b"]]),
        ("", []),
        ("\n \n", []),
    ],
)
def test_blank_lines_part_documents(tmp_path: Path, text: str, documents: list[Document]) -> None:
    assert read(write(tmp_path / "a.txt", text)) == documents


def test_windows_line_ends_are_line_ends(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", "a\r\nb\r\n\r\nc\r\n")) == [["a", "b"], ["c"]]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", b"\xef\xbb\xbfa\nb")) == [["a", "b"]]
    assert read(write(tmp_path / "b.txt", b"\xef\xbb\xbf\n\na")) == [["a"]]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\u000b", "\u000c", "\r"])
def test_a_line_ends_at_a_line_feed_only(tmp_path: Path, separator: str) -> None:
    line = f"one{separator}line"
    assert read(write(tmp_path / "a.txt", f"{line}\nanother")) == [[line, "another"]]


def test_the_end_of_a_file_ends_a_document(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", "a")
    write(tmp_path / "2.txt", "b\nc")
    write(tmp_path / "3.txt", "")
    write(tmp_path / "4.txt", "d\n")
    assert read(tmp_path / "*.txt") == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_files_are_unpacked(tmp_path: Path, ending: str) -> None:
    text = "나는 파리를 사랑해.\n\nI love Paris.\n" * 1000
    plain = read(write(tmp_path / "a.txt", text))
    assert read(write(tmp_path / f"a.txt{ending}", text)) == plain
    assert len(plain) == 1001


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_may_lack_its_line_feed(tmp_path: Path, end: str) -> None:
    for ending in ("", ".gz", ".zst"):
        assert read(write(tmp_path / f"a.txt{ending}", f"a\nb{end}")) == [["a", "b"]]


def test_all_frames_of_a_zstd_file_are_read(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0note"  # as pzstd writes
    frames = [skippable, pack(b"a\nb"), pack(b""), skippable, pack(b"c\n\nd"), pack(b"e")]
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"".join(frames))
    assert read(path) == [["a", "bc"], ["de"]]


def test_a_line_may_be_longer_than_what_is_unpacked_at_a_time(tmp_path: Path) -> None:
    line = squares().replace("\n", " ")
    assert read(write(tmp_path / "a.txt.zst", f"{line}\nb")) == [[line.strip(), "b"]]


def test_a_zstd_file_of_a_long_window_is_read(tmp_path: Path) -> None:
    text, window_log = b"a\nb", 28  # `zstd --long=28`; the library stops at 27 by default
    header = b"\x28\xb5\x2f\xfd\0" + bytes([(window_log - 10) << 3])
    block = (len(text) << 3 | 1).to_bytes(3, "little") + text  # raw, the last one
    path = tmp_path / "a.txt.zst"
    path.write_bytes(header + block)
    assert read(path) == [["a", "b"]]


def test_files_come_in_the_order_of_their_names_in_all_folders(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "c/d/3.txt", "b/10.txt", "b/other.md"):
        write(tmp_path / name, name)
    assert read(tmp_path / "**" / "*.txt") == [
        ["a/1.txt"],
        ["b/10.txt"],
        ["b/2.txt"],
        ["c/d/3.txt"],
    ]


def test_a_folder_of_that_name_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    write(tmp_path / "file.txt", "a")
    assert read(tmp_path / "*.txt") == [["a"]]


def test_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.txt", "a")
    assert read("~/a.txt") == [["a"]]


@pytest.mark.parametrize("text", [squares(), ""], ids=["squares", "empty"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_progress_adds_up_to_the_size_on_disk(tmp_path: Path, name: str, text: str) -> None:
    for part in "12":
        write(tmp_path / part / name, text)
    source = open_source(f"text:{tmp_path}/*/{name}")
    steps: list[int] = []
    list(source.documents(steps.append))
    assert min(steps) >= 0
    assert (
        sum(steps) == source.num_bytes == sum(path.stat().st_size for path in tmp_path.glob("*/a*"))
    )


# What is refused.


def test_a_pattern_without_a_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file matches '.*/\*\.txt'"):
        open_source(f"text:{tmp_path}/*.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_text_that_is_not_utf_8_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "가나\n\nParis ".encode() + b"\xb0\xa1\n")
    assert path.name == name
    with pytest.raises(UserError, match=rf"{path} is not UTF-8: byte 0xb0 at offset 14\b"):
        read(path)


def test_utf_16_is_not_utf_8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "I love Paris".encode("utf-16"))
    with pytest.raises(UserError, match="is not UTF-8: byte 0xff at offset 0;"):
        read(path)


def test_the_documents_before_the_bad_byte_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"a\n\nb\n\xff")
    documents = open_source(f"text:{path}").documents()
    assert next(documents) == ["a"]
    with pytest.raises(UserError, match="offset 5;"):
        next(documents)


PACKED = pytest.mark.parametrize(("ending", "packing"), [(".gz", "gzip"), (".zst", "zstd")])


@PACKED
@pytest.mark.parametrize("missing", [1, 4, 100, 40_000])
def test_a_truncated_packed_file_is_named(
    tmp_path: Path, ending: str, packing: str, missing: int
) -> None:
    path = write(tmp_path / f"a.txt{ending}", squares())
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(UserError, match=rf"{path} is not a whole {packing} file.*fetch it again"):
        read(path)


@PACKED
def test_a_damaged_packed_file_is_named(tmp_path: Path, ending: str, packing: str) -> None:
    path = write(tmp_path / f"a.txt{ending}", squares())
    data = bytearray(path.read_bytes())
    data[10] = 0xFF  # behind the header: a block of a type that does not exist
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path} is not a whole {packing} file"):
        read(path)


@PACKED
@pytest.mark.parametrize("text", ["plain text", "a", ""])
def test_a_file_that_is_packed_by_name_only_is_named(
    tmp_path: Path, ending: str, packing: str, text: str
) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"{path} is not a whole {packing} file"):
        read(path)


def test_what_follows_the_last_zstd_frame_is_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.zst", "a")
    path.write_bytes(path.read_bytes() + b"something else")
    with pytest.raises(UserError, match=rf"{path} is not a whole zstd file"):
        read(path)
