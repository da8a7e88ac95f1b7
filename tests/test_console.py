"""What a person sees."""

import pytest

from bert_jax.console import Console, size


def test_words_flow_in_lines_of_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Console().flow("  A  ", ["word"] * 30)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "  A  " + " ".join(["word"] * 19)
    assert second == "     " + " ".join(["word"] * 11)


def test_hangul_takes_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Console().flow("한 ", ["한국어"] * 20 + ["x" * 120])
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines] == [1 + 14, 6, 1]
    assert lines[1].startswith("   한국어")


def test_no_words_are_an_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    Console().flow("A ", [])
    assert capsys.readouterr().out == "A \n"


def test_sizes_have_units_of_1000() -> None:
    assert [size(n) for n in (0, 999, 1_000_000, 2_340_000_000)] == [
        "0.0 kB",
        "1.0 kB",
        "1.0 MB",
        "2.3 GB",
    ]
