"""From raw text to a tokenizer folder and a corpus folder, each made once."""

from collections.abc import Iterator
from pathlib import Path

from bert_jax.console import Console
from bert_jax.data.corpus import Corpus, write_corpus
from bert_jax.data.sources import Document, open_source
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.wordpiece import count_words, train_wordpiece


def prepare_tokenizer(
    folder: Path,
    source: str,
    console: Console,
    *,
    vocab_size: int,
    lowercase: bool = True,
    strip_accents: bool = False,
) -> Tokenizer:
    """The tokenizer in `folder`; if there is none yet, one trained on all of the source.

    Args:
      folder: tokenizer folder, read or made.
      source: see `open_source`.
      console: shows progress.
      vocab_size: see `train_wordpiece`, as for the rest.
      lowercase: lower-case the text.
      strip_accents: drop accents; never for Korean.
    """
    if not folder.exists():
        documents = _documents("reading text", source, console)
        texts = (paragraph for document in documents for paragraph in document)
        words = count_words(texts, lowercase=lowercase, strip_accents=strip_accents)
        with console.bar("training vocabulary", total=vocab_size, unit=" pieces") as bar:
            train_wordpiece(
                words,
                vocab_size=vocab_size,
                lowercase=lowercase,
                strip_accents=strip_accents,
                on_pieces=bar.update,
            ).save(folder)
    return load_tokenizer(folder)


def prepare_corpus(folder: Path, source: str, tokenizer: Tokenizer, console: Console) -> Corpus:
    """The corpus in `folder`; if there is none yet, the source's text in tokens."""
    if not folder.exists():
        documents = _documents("tokenizing", source, console)
        write_corpus(folder, documents, tokenizer, source=source)
    return Corpus(folder, tokenizer)


def _documents(what: str, source: str, console: Console) -> Iterator[Document]:
    """The source's documents, under a progress bar."""
    text = open_source(source)
    with console.bar(what, total=text.num_bytes, unit="B") as bar:
        yield from text.documents(bar.update)
