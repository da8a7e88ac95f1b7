"""Tensors under other names, lying the other way round, or in tables with rows to spare."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from bert_jax.errors import UserError

# Parameters outside the encoder, which a folder may lack: the part, and where it begins.
PARTS = {
    "pooler": "bert/pooler/",
    "predictions": "predictions/",
    "seq_relationship": "seq_relationship/",
    "classifier": "classifier/",
}
# How a person calls them.
TITLES = {
    "pooler": "pooler",
    "predictions": "masked-word head",
    "seq_relationship": "next-sentence head",
    "classifier": "classifier",
}
# Parameters with a row for each piece of the vocabulary.
BY_VOCABULARY = (
    "bert/embeddings/word_embeddings",
    "predictions/bias",
    "predictions/decoder",
)


class Name(NamedTuple):
    """A tensor: the path of our parameter, their name, and whether theirs is transposed."""

    path: str
    name: str
    transposed: bool


class Stored(NamedTuple):
    """A tensor in a file: its shape, and how to get it."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass
class Report:
    """What became of every tensor.

    Attributes:
      loaded: their names.
      ignored: their names, with the reason: what the model has no use for.
      created: the parts (keys of `PARTS`) that the folder lacks and were initialised.
      cropped: rows cut off each table because no piece of the vocabulary has them.
    """

    loaded: list[str] = dataclasses.field(default_factory=list)
    ignored: dict[str, str] = dataclasses.field(default_factory=dict)
    created: list[str] = dataclasses.field(default_factory=list)
    cropped: int = 0

    def rows(self) -> list[tuple[str, str]]:
        """As a table for a person."""
        rows = [("loaded", f"{len(self.loaded)} tensors")]
        if self.cropped:
            rows.append(("cropped", f"{self.cropped} rows beyond the vocabulary"))
        reasons: dict[str, list[str]] = {}
        for name, reason in self.ignored.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            rows.append(("ignored", f"{len(names)} {reason}: {shown}"))
        if self.created:
            rows.append(("initialised", ", ".join(self.created)))
        return rows


def expand(table: Mapping[str, str], num_layers: int, *, transposed: str) -> list[Name]:
    """The rows of a table, those with `{n}` once for each layer.

    Args:
      table: their names by our paths.
      num_layers: L.
      transposed: how the names of theirs end that lie the other way round, if
        our parameter is the kernel of a dense layer.
    """
    names = []
    for path, name in table.items():
        flipped = path.endswith("/kernel") and name.endswith(transposed)
        for n in range(num_layers) if "{n}" in path else [0]:
            names.append(Name(path.format(n=n), name.format(n=n), flipped))
    return names


def parts_in(stored: Iterable[str], names: Sequence[Name]) -> set[str]:
    """Which of `PARTS` a folder has.

    Raises:
      UserError: the encoder or a part is incomplete.
    """
    stored = set(stored)
    found = set()
    encoder = [name for name in names if not name.path.startswith(tuple(PARTS.values()))]
    for part, prefix in {"": "", **PARTS}.items():
        of_part = [name for name in names if name.path.startswith(prefix)] if part else encoder
        missing = [name.name for name in of_part if name.name not in stored]
        if part and len(missing) == len(of_part):
            continue
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UserError(f"the weights lack {missing[0]}{others}; get the folder again")
        found.add(part)
    return found - {""}


def load_params(
    stored: Mapping[str, Stored],
    names: Iterable[Name],
    shapes: Mapping[str, tuple[int, ...]],
    report: Report,
) -> dict[str, np.ndarray]:
    """Reads tensors to parameters, float32, by our paths.

    Args:
      stored: by their names.
      names: those to read.
      shapes: of our parameters, by path.
      report: `loaded` and `cropped` are written down here.

    Raises:
      UserError: a tensor has another shape than the config says.
    """
    params = {}
    for path, name, transposed in names:
        shape = stored[name].shape[::-1] if transposed else stored[name].shape
        wanted = shapes[path]
        padded = path in BY_VOCABULARY and shape[1:] == wanted[1:]
        if shape != wanted and not (padded and is_padded(shape[0], wanted[0])):
            theirs, ours = list(stored[name].shape), list(wanted[::-1] if transposed else wanted)
            raise UserError(
                f"{name} has the shape {theirs}, but the config (or the vocabulary) makes it "
                f"{ours}; these do not belong together"
            )
        tensor = stored[name].read()
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise UserError(f"{name} is {tensor.dtype}; quantised weights are not supported")
        tensor = (tensor.T if transposed else tensor)[: wanted[0]]
        params[path] = np.ascontiguousarray(tensor, np.float32)
        report.loaded.append(name)
        report.cropped = max(report.cropped, shape[0] - wanted[0])
    return params


def is_padded(num_rows: int, vocab_size: int) -> bool:
    """Whether a table is a vocabulary's, rounded up as fast matrix products want it.

    That is to a multiple of a power of two, from 8 on: 30,522 pieces are kept
    in 30,528 or 30,592 rows.
    """
    multiple = num_rows & -num_rows  # the largest power of two that divides it
    return multiple >= 8 and 0 <= num_rows - vocab_size < min(multiple, 1024)


def nest(params: Mapping[str, Any]) -> PyTree:
    """Parameters by path as the tree that the model takes."""
    return unflatten_dict({tuple(path.split("/")): array for path, array in params.items()})


def flatten(params: PyTree) -> dict[str, Any]:
    """The parameters of a tree by their paths."""
    return {"/".join(path): array for path, array in flatten_dict(params).items()}


def tensors_of(params: PyTree, names: Iterable[Name]) -> dict[str, np.ndarray]:
    """Parameters as tensors under their names, those that there are."""
    flat = flatten(params)
    return {
        name: np.ascontiguousarray(np.asarray(flat[path]).T if transposed else flat[path])
        for path, name, transposed in names
        if path in flat
    }
