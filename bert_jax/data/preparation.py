"""From raw text to a tokenizer folder and a corpus folder, each made once."""

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from bert_jax.console import Console
from bert_jax.data.corpus import Corpus, write_corpus
from bert_jax.data.sources import Document, Source, open_source
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.coverage import warnings_of
from bert_jax.tokenizers.training import Recipe, train_tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary(Recipe):
    """The tokenizer of a run: one that exists, or how to train one.

    Attributes:
      path: a folder to read, see `load_tokenizer`; the rest is then not looked at.
    """

    path: str = ""

    @cached_property
    def size(self) -> int:
        """V."""
        return load_tokenizer(self.path).vocab_size if self.path else self.vocab_size


def prepare_tokenizer(
    folder: Path, source: str, console: Console, vocabulary: Vocabulary
) -> Tokenizer:
    """The tokenizer in `folder`; if there is none yet, a copy, or one trained on all of the source.

    Args:
      folder: tokenizer folder, read or made.
      source: see `open_source`.
      console: shows progress.
      vocabulary: what to copy or train.
    """
    if not folder.exists():
        if vocabulary.path:
            load_tokenizer(vocabulary.path).save(folder)
        else:
            documents = documents_of(open_source(source), "reading text", console)
            texts = (paragraph for document in documents for paragraph in document)
            train_with_progress(texts, vocabulary, console).save(folder)
    return load_tokenizer(folder)


def train_with_progress(
    texts: Iterator[str], recipe: Recipe, console: Console, *, workers: int | None = None
) -> Tokenizer:
    """Counts the words of texts and learns a vocabulary of them, under a progress bar."""
    chunks = count_chunks(texts, recipe.cut, workers=workers)
    with console.bar("training vocabulary", total=recipe.vocab_size, unit=" pieces") as bar:
        return train_tokenizer(chunks, recipe, bar.update)


def prepare_corpus(folder: Path, source: str, tokenizer: Tokenizer, console: Console) -> Corpus:
    """The corpus in `folder`; if there is none yet, the source's text in tokens."""
    if not folder.exists():
        text = open_source(source)
        lines = (line for document in text.documents() for line in document)
        for warning in warnings_of(tokenizer, lines):
            console.warn(warning)
        write_corpus(folder, documents_of(text, "tokenizing", console), tokenizer, source=source)
    return Corpus(folder, tokenizer)


def documents_of(source: Source, what: str, console: Console) -> Iterator[Document]:
    """The source's documents, under a progress bar."""
    with console.bar(what, total=source.num_bytes, unit="B") as bar:
        yield from source.documents(bar.update)
