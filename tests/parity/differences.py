"""How far two results are apart; what parity tests assert, and show."""

from collections.abc import Iterable

import numpy as np

from bert_jax.pretrained import Outputs

HIDDEN = 1e-5  # of the largest entry of the layer (attentions: of 1)
LOGITS = 1e-4


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, in units of the largest entry."""
    return apart(ours, theirs) / float(np.abs(theirs).max())


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two arrays that must have the same shape."""
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    return float(np.abs(np.asarray(ours, np.float64) - theirs).max())


def at_tokens(array: np.ndarray, lengths: Iterable[int], axis: int) -> np.ndarray:
    """Rows of an array that belong to real tokens, one after another.

    Args:
      array: with the axes B and T.
      lengths: [B].
      axis: of B; T follows it.
    """
    rows = np.moveaxis(array, axis, 0)
    real = [np.moveaxis(row, axis, 0)[:n] for row, n in zip(rows, lengths, strict=True)]
    return np.concatenate(real)


def compare(ours: Outputs, theirs: dict[str, np.ndarray], lengths: np.ndarray) -> dict[str, float]:
    """Asserts the limits, and what is there and what is not; returns the largest differences.

    Hidden states and logits are compared at real tokens. Attentions of real tokens
    are compared over all keys: padding gets exactly 0 from both.
    """
    fields = (*Outputs._fields,)
    assert {name for name in fields if getattr(ours, name) is not None} == theirs.keys()
    found: dict[str, float] = {}
    for name, expected in theirs.items():
        result = getattr(ours, name)
        assert result.dtype == np.float32
        if name == "hidden_states":
            pairs = [
                (at_tokens(one, lengths, 0), at_tokens(other, lengths, 0))
                for one, other in zip(result, expected, strict=True)
            ]
            found[name] = max(relative(*pair) for pair in pairs)
        elif name == "attentions":
            one, other = (np.moveaxis(array, 2, 3) for array in (result, expected))  # L B T N T
            found[name] = apart(at_tokens(one, lengths, 1), at_tokens(other, lengths, 1))
        elif name == "pooled":
            found[name] = relative(result, expected)
        elif expected.ndim == 3:
            found[name] = apart(at_tokens(result, lengths, 0), at_tokens(expected, lengths, 0))
        else:
            found[name] = apart(result, expected)
    print(", ".join(f"{name} {difference:.1e}" for name, difference in found.items()))
    for name, difference in found.items():
        assert difference <= (LOGITS if name.endswith("logits") else HIDDEN), (name, found)
    return found
