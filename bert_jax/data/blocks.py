"""Documents in blocks: what one process tokenizes at a time, and what becomes of it.

A block is a pure function of its documents, so it does not matter which process
or machine tokenizes it: a corpus is the same however it was prepared.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt, UInt8

from bert_jax.data.corpus import pack_lengths, token_type
from bert_jax.data.documents import Document
from bert_jax.data.segmentation import SegmentingEncoder, load_segmenter
from bert_jax.data.sentences import split_sentences
from bert_jax.tokenizers import load_tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.scripts import is_in_scripts

BLOCK_CHARACTERS = 1 << 20

_COUNTS = (
    *("documents", "sentences", "tokens", "unknown", "characters"),
    *("empty", "duplicates", "other_scripts"),
)


class Block(NamedTuple):
    """Some documents of one part of a source, in order.

    Attributes:
      source: number of the source.
      part: number of the part, counted over all sources.
      number: of the block within its part.
      documents: of which none is a duplicate, if duplicates are dropped.
      duplicates: how many were dropped among them.
    """

    source: int
    part: int
    number: int
    documents: list[Document]
    duplicates: int


@dataclasses.dataclass
class Summary:
    """What was met in some text; those of two texts add up.

    Attributes:
      counts: the number of each; `unknown` are tokens that are [UNK], and `empty`,
        `duplicates` and `other_scripts` documents that were left out.
      lengths: documents by the bit length of their number of tokens.
      words: by script, see `CorpusEncoder`.
      unknown_words: those of them with an [UNK].
    """

    counts: Counter[str] = dataclasses.field(
        default_factory=lambda: Counter(dict.fromkeys(_COUNTS, 0))
    )
    lengths: Counter[int] = dataclasses.field(default_factory=Counter)
    words: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown_words: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, other: "Summary") -> None:
        """Makes it the summary of both texts."""
        for field in dataclasses.fields(self):
            getattr(self, field.name).update(getattr(other, field.name))

    def record(self) -> dict[str, dict]:
        """As JSON, which `of` reads."""
        return {name: dict(sorted(counter.items())) for name, counter in vars(self).items()}

    @classmethod
    def of(cls, record: dict[str, dict]) -> "Summary":
        """What `record` gave."""
        counters = {name: Counter(counts) for name, counts in record.items()}
        counters["lengths"] = Counter({int(bits): n for bits, n in record["lengths"].items()})
        return cls(**counters)


class Tokenized(NamedTuple):
    """A block in tokens, as small as it is on disk, for it goes from one process to another.

    Attributes:
      ids: token ids, without [CLS] and [SEP]; of the type that `token_type` gives.
      continues: in bits, whether a token continues the word of the one before it.
      sentences: tokens of each sentence, see `pack_lengths`.
      documents: sentences of each document, in the same way.
      summary: of the block.
    """

    ids: UInt[np.ndarray, " N"]
    continues: UInt8[np.ndarray, " bytes"]
    sentences: UInt8[np.ndarray, " S"]
    documents: UInt8[np.ndarray, " D"]
    summary: Summary


def cut_into_blocks(
    documents: Iterable[Document],
    *,
    source: int = 0,
    part: int = 0,
    seen: set[bytes] | None = None,
    block_characters: int = BLOCK_CHARACTERS,
) -> Iterator[Block]:
    """The documents of one part in blocks.

    Args:
      documents: of the part.
      source: number of the source, for the record.
      part: number of the part, for the record.
      seen: drops what is in it, and takes in what is not; None drops nothing.
      block_characters: a block ends with the document that reaches this.
    """
    block: list[Document] = []
    number = size = duplicates = 0
    for document in documents:
        if seen is not None:
            digest = fingerprint(document)
            if digest in seen:
                duplicates += 1
                continue
            seen.add(digest)
        block.append(document)
        size += sum(map(len, document))
        if size >= block_characters:
            yield Block(source, part, number, block, duplicates)
            block = []
            number, size, duplicates = number + 1, 0, 0
    if block or duplicates:
        yield Block(source, part, number, block, duplicates)


def fingerprint(document: Document) -> bytes:
    """128 bits that only equal documents share."""
    text = "\n".join(document).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


class BlockTokenizer:
    """Tokenizes blocks; remembers the words of earlier ones, for speed only."""

    def __init__(self, tokenizer: Path, scripts: frozenset[str], segmenter: str):
        """Loads the tokenizer and the segmenter.

        Args:
          tokenizer: its folder, because every process loads its own.
          scripts: documents in others are left out, see `is_in_scripts`.
          segmenter: see `load_segmenter`; empty for the tokenizer's own words.
        """
        self._scripts = scripts
        loaded = load_tokenizer(tokenizer)
        self._unknown_id = loaded.unk_id
        self._token_type = token_type(loaded.vocab_size)
        self._encoder = (
            SegmentingEncoder(loaded, load_segmenter(segmenter))
            if segmenter
            else CorpusEncoder(loaded)
        )

    def __call__(self, block: Block) -> Tokenized:
        """The block in tokens; sentences and documents without any are left out.

        Raises:
          UserError: text that is no Unicode.
        """
        documents = [d for d in block.documents if is_in_scripts(d, self._scripts)]
        split = [[s for line in document for s in split_sentences(line)] for document in documents]
        encoded = self._encoder.encode([s for sentences in split for s in sentences])
        # Sentences, and tokens, at which documents begin and end.
        bounds = np.cumsum([0, *map(len, split)])
        sentences = np.diff(np.concatenate([[0], np.cumsum(encoded.lengths > 0)])[bounds])
        tokens = np.diff(np.concatenate([[0], np.cumsum(encoded.lengths)])[bounds])
        summary = Summary(words=encoded.words, unknown_words=encoded.unknown_words)
        summary.counts.update(
            documents=int((tokens > 0).sum()),
            sentences=int(sentences.sum()),
            tokens=len(encoded.ids),
            unknown=int((encoded.ids == self._unknown_id).sum()),
            characters=sum(len(line) for document in documents for line in document),
            empty=int((tokens == 0).sum()),
            duplicates=block.duplicates,
            other_scripts=len(block.documents) - len(documents),
        )
        summary.lengths.update(length.bit_length() for length in tokens[tokens > 0].tolist())
        return Tokenized(
            encoded.ids.astype(self._token_type),
            np.packbits(encoded.continues),
            pack_lengths(encoded.lengths[encoded.lengths > 0]),
            pack_lengths(sentences[sentences > 0]),
            summary,
        )
