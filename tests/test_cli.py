import errno
import subprocess
import sys

import pytest

from bert_jax import cli
from bert_jax.errors import UserError


def run(error: BaseException | None, *arguments: str) -> int:
    def main(_: list[str]) -> None:
        if error:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["command", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.run(main)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such\n thing"), 2, "error: no such thing"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: the disk is full; free some"),
        (ValueError("RESOURCE_EXHAUSTED: No space left on device"), 2, "error: the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            2,
            "error: Permission denied: /x",
        ),
        (ZeroDivisionError("oops"), 1, "error: ZeroDivisionError: oops; run again with --debug"),
    ],
)
def test_errors_are_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error) == status
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        ("KeyboardInterrupt('saved at step 3')", 130, "saved at step 3"),
        ("KeyboardInterrupt()", 130, "interrupted; the same command goes on from there"),
        ("Terminated('saved at step 3')", 0, "saved at step 3"),
    ],
)
def test_after_a_signal_it_leaves_at_once(error: str, status: int, line: str) -> None:
    """In a process of its own, without the farewells of what it has loaded."""
    program = f"""
import atexit
from bert_jax import cli
from bert_jax.errors import Terminated
def main(arguments):
    atexit.register(print, "farewell")
    print("result")
    raise {error}
cli.run(main)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.strip()) == (status, line)
    assert ended.stdout == "result\n"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ZeroDivisionError("oops"), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_success_is_status_zero() -> None:
    assert run(None) == 0


def test_a_parser_complains_in_one_line_and_its_help_has_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = cli.Parser("thing", "Does it.", example="python -m bert_jax.thing --x 1")
    parser.add_argument("--x", type=int)
    with pytest.raises(UserError, match=r"argument --x: invalid int value: 'a'; see python -m"):
        parser.parse_args(["--x", "a"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "example:\n  python -m bert_jax.thing --x 1" in capsys.readouterr().out
