"""The one exception that is the user's to fix."""


class UserError(Exception):
    """Bad input: one line that says what is wrong and what to do about it.

    Commands print it without a traceback and exit with status 2 (`bert_jax.cli`).
    """
