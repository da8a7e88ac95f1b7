"""bert_jax: pretrain BERT in JAX, from raw text to a model, and put it to use.

    import bert_jax
    bert = bert_jax.load("runs/tiny")  # or a folder of Hugging Face's or Google's
    bert.fill_mask("Return a [MASK] of the object.", top_k=5)
    bert.embed(["Return a copy.", "Copy the object."])

Letters for shapes, the same in einsum strings, annotations and docstrings:
B batch, T tokens, S key tokens, D width, N heads, H head width, F feed-forward
width, V vocabulary, P predictions per sequence, L layers.
"""

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bert_jax.pretrained import load

__all__ = ["load"]


def _end_quietly(signal_number: int, frame: FrameType | None) -> None:
    """Ends the process in one line; an exception could be lost in a callback of JAX's."""
    del signal_number, frame
    sys.stdout.flush()
    print("interrupted", file=sys.stderr)
    os._exit(130)


# While `python -m bert_jax.NAME` looks for NAME, and only then, this is "-m". A command's imports
# take seconds, and Ctrl-C is no reason for a traceback. Training, which has something to save,
# takes the signal over.
if sys.argv[0] == "-m":
    signal.signal(signal.SIGINT, _end_quietly)


def __getattr__(name: str) -> Any:
    """Imports JAX when a model is loaded, not when the package is."""
    if name == "load":
        from bert_jax.pretrained import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
