"""Plans of small corpora, for the tests of pairs."""

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Literal

import numpy as np

from bert_jax.data.boundaries import Sentences
from bert_jax.data.pairs import Pairs, Plan

SEQ_LEN = 16


def make_sentences(documents: Sequence[Sequence[int]]) -> Sentences:
    return Sentences(
        offsets=np.cumsum([0, *chain(*documents)]),
        documents=np.cumsum([0, *map(len, documents)]),
    )


def make_plan(
    documents: Sequence[Sequence[int]],
    *,
    use: Sequence[int] | None = None,
    seed: int = 0,
    epoch: int = 0,
    cut: bool = True,
    seq_len: int = SEQ_LEN,
    nsp: bool = True,
    negatives: Literal["random", "swapped"] = "random",
    short_seq_prob: float = 0.1,
) -> Plan:
    """The plan of an epoch; without `cut` as it is before segments are truncated."""
    pairs = Pairs(seq_len=seq_len, nsp=nsp, negatives=negatives, short_seq_prob=short_seq_prob)
    which = np.array(range(len(documents)) if use is None else use)
    sentences = make_sentences(documents)
    if cut:
        return pairs.plan(sentences, which, seed=seed, epoch=epoch)
    return pairs.fill(sentences, which, seed=seed, epoch=epoch)[1]


def rows(plan: Plan) -> list[tuple[int, int, int, int, int]]:
    """(A start, A end, B start, B end, label) of each example."""
    return [
        (a, a + a_length, b, b + b_length, label)
        for a, a_length, b, b_length, label in zip(
            *(getattr(plan, field.name).tolist() for field in dataclasses.fields(Plan)), strict=True
        )
    ]


def document_of(documents: Sequence[Sequence[int]]) -> list[int]:
    """The document of every token."""
    return [number for number, document in enumerate(documents) for _ in range(sum(document))]


def within_four_sigma(count: int, num: int, share: float) -> bool:
    return abs(count - num * share) < 4 * np.sqrt(num * share * (1 - share))


def truncate_seq_pair(a_length: int, b_length: int, max_tokens: int) -> tuple[int, int]:
    """How many tokens are left, taken off one by one (create_pretraining_data.py L418)."""
    while a_length + b_length > max_tokens:
        if a_length > b_length:
            a_length -= 1
        else:
            b_length -= 1
    return a_length, b_length
