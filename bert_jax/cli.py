"""What all commands share: how they report errors, and their common flags.

Exit statuses are those of `errors`. A traceback is shown only with `--debug`.
"""

import argparse
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from bert_jax.errors import Terminated, UserError, explain


class Parser(argparse.ArgumentParser):
    """An argument parser with `--debug`, an example in its help, and one-line errors."""

    def __init__(self, command: str, description: str, *, example: str):
        super().__init__(
            prog=f"python -m bert_jax.{command}",
            description=description,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--debug", action="store_true", help="show a traceback on errors")

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the whole usage."""
        raise UserError(f"{message}; see {self.prog} --help")


def run(main: Callable[[list[str]], None]) -> NoReturn:
    """Runs a command on the process's arguments and exits with its status."""
    arguments = sys.argv[1:]
    if "--debug" not in arguments:
        threading.excepthook = _warn_of_thread
        sys.unraisablehook = _ignore_interrupts
        # Orbax logs every file, and what it raises a second time with a traceback.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × or Hangul
    try:
        main(arguments)
    except BrokenPipeError:  # such as `| head`: nobody reads on, and that is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        status, line = explain(error)
        print(line, file=sys.stderr)
        _leave(status, at_once=isinstance(error, Terminated | KeyboardInterrupt))
    sys.exit(0)


def _leave(status: int, *, at_once: bool) -> NoReturn:
    """Exits; without the libraries' farewells after a signal, or if other processes wait.

    TensorFlow takes seconds for its own, and crashes if a signal met it while it was loading;
    JAX waits for the other processes of a run.
    """
    joined = "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()
    if at_once or joined:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _warn_of_thread(failure: threading.ExceptHookArgs) -> None:
    """A helper thread that died, in a line."""
    text = " ".join(str(failure.exc_value).split())
    print(f"warning: {failure.exc_type.__name__} in a thread: {text[:200]}", file=sys.stderr)


def _ignore_interrupts(lost: Any) -> None:
    """Silent about a Ctrl-C that came during a callback of JAX's and cannot be raised there."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
