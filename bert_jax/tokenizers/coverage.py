"""How well a vocabulary fits a text: pieces a word, unknown words, by script."""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from bert_jax.tokenizers.scripts import script_of
from bert_jax.tokenizers.tokenizer import Encoding, Tokenizer

UNKNOWN_SHARE_TO_WARN = 0.01  # of the words in one script
LEAST_WORDS = 20  # of a script, to say anything about it

_CHUNK = re.compile(r"\S+")


@dataclasses.dataclass
class Coverage:
    """What a vocabulary does to the words of a text.

    A word is what stands between white space, without punctuation at its ends.
    (In Chinese and Japanese that is a phrase.)

    Attributes:
      num_bytes: size of the text in UTF-8.
      num_tokens: tokens of the text.
      num_words: words.
      word_tokens: tokens of these words.
      whole_words: words that are one token, which is not [UNK].
      words: how many of them each script has, by the first letter.
      unknown: those with an [UNK] in them.
    """

    num_bytes: int = 0
    num_tokens: int = 0
    num_words: int = 0
    word_tokens: int = 0
    whole_words: int = 0
    words: Counter[str] = dataclasses.field(default_factory=Counter)
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def tokens_per_word(self) -> float:
        """Also called fertility."""
        return self.word_tokens / max(self.num_words, 1)

    @property
    def bytes_per_token(self) -> float:
        """Of the whole text, punctuation and spaces included."""
        return self.num_bytes / max(self.num_tokens, 1)

    @property
    def whole_share(self) -> float:
        """Share of words kept whole."""
        return self.whole_words / max(self.num_words, 1)

    @property
    def unknown_share(self) -> float:
        """Share of words with an [UNK] in them."""
        return self.unknown.total() / max(self.num_words, 1)


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> Coverage:
    """Encodes texts and looks at each of their words."""
    coverage = Coverage()
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        coverage.num_bytes += len(text.encode())
        coverage.num_tokens += encoding.length - 2  # [CLS] and [SEP]
        for start, end, pieces in _words(text, encoding):
            script = script_of(text[start:end]) or "DIGIT"
            unknown = any(encoding.ids[piece] == tokenizer.unk_id for piece in pieces)
            coverage.num_words += 1
            coverage.word_tokens += len(pieces)
            coverage.whole_words += len(pieces) == 1 and not unknown
            coverage.words[script] += 1
            coverage.unknown[script] += unknown
    return coverage


def _words(text: str, encoding: Encoding) -> Iterator[tuple[int, int, list[int]]]:
    """Each word's span, and the places of the tokens that overlap it."""
    spans = encoding.offsets[1:-1]
    first = 0
    for chunk in _CHUNK.finditer(text):
        start, end = chunk.span()
        while start < end and not _is_of_word(text[start]):
            start += 1
        while start < end and not _is_of_word(text[end - 1]):
            end -= 1
        if start == end:
            continue
        while first < len(spans) and spans[first][1] <= start:
            first += 1
        last = first
        while last < len(spans) and spans[last][0] < end:
            last += 1
        yield start, end, [place + 1 for place in range(first, last)]


def _is_of_word(character: str) -> bool:
    """Letters, marks upon them, and numbers."""
    return unicodedata.category(character)[0] in "LMN"


def warnings_of(tokenizer: Tokenizer, words: Counter[str], unknown: Counter[str]) -> list[str]:
    """What to know before a vocabulary is used on some text; nothing if all is well.

    Args:
      tokenizer: the vocabulary.
      words: of a sample of the text, by script.
      unknown: those of them with an [UNK].
    """
    shares = {
        script: unknown[script] / count for script, count in words.items() if count >= LEAST_WORDS
    }
    bad = sorted(
        (script for script, share in shares.items() if share > UNKNOWN_SHARE_TO_WARN),
        key=lambda script: -shares[script],
    )
    warnings = []
    if bad:
        listed = ", ".join(f"{script.title()} {shares[script]:.1%}" for script in bad)
        warnings.append(
            f"share of words with {tokenizer.runtime.specials.unk} in a sample of the text: "
            f"{listed}; a vocabulary trained on such text would know them"
        )
    if words["HANGUL"] and _decomposes_hangul(tokenizer):
        warnings.append(
            "stripping accents takes Hangul syllables apart (한 becomes three letters); for "
            "Korean use strip_accents=False and the Unicode form NFC"
        )
    return warnings


def _decomposes_hangul(tokenizer: Tokenizer) -> bool:
    rules = tokenizer.runtime.rules
    strips = rules["strip_accents"]
    if strips is None:
        strips = rules["do_lower_case"]
    return bool(strips) or rules["unicode_form"] in ("nfd", "nfkd")
