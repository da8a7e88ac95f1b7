"""What goes wrong, by whose it is to fix."""


class UserError(Exception):
    """Bad input: one line that says what is wrong and what to do about it.

    Commands print it without a traceback and exit with status 2 (`bert_jax.cli`).
    """


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

    Commands exit with status 1, after which launch scripts start them again.
    """


class Terminated(KeyboardInterrupt):
    """The program was told to end and has saved: one line, status 0."""
