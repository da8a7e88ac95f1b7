"""What goes wrong, by whose it is to fix.

Status 0 is success, or saved before the machine is taken away (SIGTERM); 2 is the
user's to fix; 130 is Ctrl-C; 1 is a machine that failed or a defect of this program,
after which the same command may go on.
"""

import errno

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended

# The last is what NumPy says of a file that it could write only a part of.
_NO_SPACE = ("no space left on device", "disk quota exceeded", " requested and ")


class UserError(Exception):
    """Bad input: one line that says what is wrong and what to do about it.

    Commands print it without a traceback and exit with status 2 (`bert_jax.cli`).
    """


class DivergenceError(UserError):
    """Training came to numbers that are not finite."""


class TextError(UserError):
    """Something is wrong with one of the texts that were given.

    Attributes:
      number: of that text among them, from 0.
      reason: what is wrong and what to do about it, without the place.
    """

    def __init__(self, reason: str, *, number: int, num_texts: int):
        """The message counts texts from 1, and only where there are several."""
        super().__init__(reason if num_texts == 1 else f"text {number + 1}: {reason}")
        self.number = number
        self.reason = reason


class MachineError(Exception):
    """A process, device or network failed: one line. The same command goes on from the last save.

    Commands exit with status 1.
    """


class Terminated(KeyboardInterrupt):
    """The program was told to end and has saved: one line, status 0."""


def explain(error: BaseException) -> tuple[int, str]:
    """Exit status and message of an exception, in one line."""
    if isinstance(error, KeyboardInterrupt):
        status = 0 if isinstance(error, Terminated) else INTERRUPTED
        return status, str(error) or "interrupted; the same command goes on from there"
    text = " ".join(str(error).split())
    if isinstance(error, UserError | MachineError):
        return 2 if isinstance(error, UserError) else 1, f"error: {text}"
    no_space = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if no_space or any(phrase in text.lower() for phrase in _NO_SPACE):
        return 2, (
            "error: the disk is full; free some space and run the same command again, "
            f"what was saved before is whole ({text[:200]})"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return 2, f"error: {error.strerror}: {error.filename}"
    return 1, f"error: {type(error).__name__}: {text[:300]}; run again with --debug for details"
