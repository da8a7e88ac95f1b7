"""A small corpus, its batches, and how to compare them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bert_jax.data.batches import Batch, Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.corpus_writer import write_corpus
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.normalize import TextRules
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime

WORDS = ["paris", "is", "a", "beautiful", "city", "i", "love", *(f"w{n}" for n in range(50))]
PIECES = ["w", *(f"##{digit}" for digit in range(10))]


def make_tokenizer(specials: Sequence[str] = Specials()) -> Tokenizer:
    rules = TextRules(lowercase=True, strip_accents=False, unicode_form="nfc")
    return Tokenizer(wordpiece_runtime([*specials, *WORDS, *PIECES], rules.bert()))


def make_documents(num: int = 12, num_sentences: int = 15) -> list[list[str]]:
    """Sentences of two to six numbered words; those from 50 on are made of pieces."""
    rng = np.random.default_rng(0)

    def sentence() -> str:
        return " ".join(f"w{n}" for n in rng.integers(0, 99, rng.integers(2, 7)))

    return [[sentence() for _ in range(num_sentences)] for _ in range(num)]


def make_batches(
    folder: Path,
    documents: list[list[str]],
    *,
    tokenizer: Tokenizer | None = None,
    seq_len: int = 24,
    nsp: bool = True,
    negatives: Literal["random", "swapped"] = "random",
    short_seq_prob: float = 0.1,
    examples_per_row: int = 1,
    whole_word: bool = False,
    batch_size: int = 8,
    seed: int = 0,
    first_step: int = 0,
    first_example: int = 0,
) -> Batches:
    tokenizer = tokenizer or make_tokenizer()
    if not folder.exists():
        write_corpus(folder, documents, tokenizer, source="")
    corpus = Corpus(folder, tokenizer)
    return Batches(
        corpus,
        tokenizer,
        pairs=Pairs(
            seq_len=seq_len,
            nsp=nsp,
            negatives=negatives,
            short_seq_prob=short_seq_prob,
            examples_per_row=examples_per_row,
        ),
        masking=Masking(whole_word=whole_word),
        batch_size=batch_size,
        seed=seed,
        documents=[np.arange(corpus.num_documents)],
        first_step=first_step,
        first_example=first_example,
    )


def unmasked(batch: Batch) -> np.ndarray:
    """The input with the hidden tokens put back."""
    ids = batch["input_ids"].copy()
    row, column = np.nonzero(batch["mlm_weights"])
    ids[row, batch["mlm_positions"][row, column]] = batch["mlm_ids"][row, column]
    return ids


def assert_same(one: Batch, other: Batch) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.dtype == other[name].dtype
        np.testing.assert_array_equal(value, other[name], name)


def concatenated(parts: Sequence[Batch]) -> Batch:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
