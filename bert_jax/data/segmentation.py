"""Word boundaries by a function of the user's, for text that writes no spaces."""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.corpus_encoder import EncodedSentences
from bert_jax.tokenizers.scripts import script_of

Segmenter = Callable[[str], Iterable[str]]
"""Takes a sentence and gives its words in order; white space may be missing."""


def load_segmenter(name: str) -> Segmenter:
    """The function of a name such as "jieba:cut".

    Raises:
      UserError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        segmenter = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # of any class, raised by the module
        raise UserError(
            f"data.segmenter {name!r} cannot be imported ({error}); write MODULE:FUNCTION of an "
            "installed package or of a file in this folder, such as jieba:cut"
        ) from None
    if not callable(segmenter):
        raise UserError(f"data.segmenter {name!r} is no function but {type(segmenter).__name__}")
    return segmenter


class SegmentingEncoder:
    """As `CorpusEncoder`, with the words of a segmenter."""

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter):
        self._tokenizer = tokenizer
        self._segmenter = segmenter

    def encode(self, sentences: Sequence[str]) -> EncodedSentences:
        """Encodes sentences.

        Raises:
          UserError: the segmenter's words are not those of the sentence.
        """
        ids: list[int] = []
        continues: list[bool] = []
        lengths = []
        words: Counter[str] = Counter()
        unknown_words: Counter[str] = Counter()
        split = self._tokenizer.runtime.split(sentences, keep_specials=False)
        for sentence, pieces in zip(sentences, split, strict=True):
            starts = self._starts(sentence)
            # A piece is of the last word that begins no later. With some vocabularies it holds the
            # space before its word, or is that space.
            begins = [_first_letter(sentence, start) for start, _ in pieces.offsets]
            word_ids = np.searchsorted(starts, begins, side="right")
            ids += pieces.ids
            continues += (np.diff(word_ids, prepend=-1) == 0).tolist()
            lengths.append(len(pieces.ids))
            unknown = set(word_ids[np.array(pieces.ids) == self._tokenizer.unk_id].tolist())
            for number, start in enumerate(starts, 1):
                if script := script_of(sentence[start]):
                    words[script] += 1
                    unknown_words[script] += number in unknown
        return EncodedSentences(
            np.array(ids, np.int32),
            np.array(continues, np.bool_),
            np.array(lengths, np.int64),
            words,
            +unknown_words,  # without zeros
        )

    def _starts(self, sentence: str) -> list[int]:
        """Where the words begin, in characters."""
        starts = []
        end = 0
        for word in self._words(sentence):
            start = sentence.find(word, end)
            if start < 0:
                raise UserError(
                    f"data.segmenter gave the word {word!r}, which does not stand in the rest of "
                    f"its sentence, {sentence[end : end + 40]!r}; words must be unchanged"
                )
            starts.append(start)
            end = start + len(word)
        return starts

    def _words(self, sentence: str) -> list[str]:
        """What the segmenter gives, checked."""
        try:
            words = list(self._segmenter(sentence))
        except Exception as error:  # of any class
            raise UserError(
                f"data.segmenter failed on the sentence {sentence[:40]!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        for word in words:
            if not isinstance(word, str):
                raise UserError(f"data.segmenter gave {word!r}, which is no string")
        return list(filter(None, words))


def _first_letter(text: str, start: int) -> int:
    """The first place from `start` on that is no white space."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start
