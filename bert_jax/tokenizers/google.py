"""Google's own text rules, those of tokenization.py in google-research/bert.

The default is what Hugging Face's `tokenizers` do. Google's code differs in:

- Lower-casing looks at the whole word: a Greek sigma at its end becomes ς, not σ.
- Words of up to 200 characters are split, not of up to 100.
- Private-use characters are kept, where the library drops them.
- Ideographs are those of eight blocks; the library ends one of these at U+2B91F
  instead of U+2B81F, so that it leaves U+2B820 to U+2B91F together.
- "[MASK]" and the other special tokens in a text are ordinary characters.
- Python's own `unicodedata` says what is punctuation, and what a control
  character: newer characters depend on the version of Python.
- Lines of `vocab.txt` are stripped of any white space.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from bert_jax.tokenizers.library import find_specials, reserved_ids
from bert_jax.tokenizers.runtime import Cut, ListedPieces, Specials

MAX_WORD_CHARACTERS = 200

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class _Word(NamedTuple):
    """A word after the text rules, and the character of the text that each of its own is from."""

    text: str
    origins: list[int]


class GoogleRuntime:
    """WordPiece as Google's code does it."""

    type = "wordpiece"
    compat: Literal["google"] | None = "google"
    # Not at punctuation: whether a sigma is final depends on what follows a full stop.
    cut: Cut = "spaces"

    def __init__(
        self, pieces: Sequence[str], specials: Specials, *, lowercase: bool, strip_accents: bool
    ):
        """Takes the lines of a vocabulary, in order.

        Raises:
          UserError: a special token is missing.
        """
        self._lines = [piece.strip() for piece in pieces]
        # Of a piece that stands there twice the last id counts, as in Google's code.
        self.vocab: Mapping[str, int] = {piece: i for i, piece in enumerate(self._lines)}
        self._pieces = {token_id: piece for piece, token_id in self.vocab.items()}
        self.specials = find_specials(self.vocab, specials._asdict())
        self.reserved_ids = reserved_ids(self.vocab, specials)
        self._lowercase = lowercase
        self._strip_accents = strip_accents
        self.rules: Mapping[str, object] = {
            "do_lower_case": lowercase,
            "strip_accents": strip_accents,
            "unicode_form": "none",
            "compat": "google",
        }

    def split(self, texts: Sequence[str], *, keep_specials: bool) -> Sequence[ListedPieces]:
        """See `Runtime`; `keep_specials` changes nothing, for Google's code keeps none."""
        del keep_specials
        return [self._split(text) for text in texts]

    def _split(self, text: str) -> ListedPieces:
        pieces = ListedPieces([], [], [], [])
        for number, word in enumerate(self.words(text)):
            start = 0
            for piece in self._word_pieces(word.text):
                end = len(word.text)
                if piece != self.specials.unk:
                    end = start + len(piece.removeprefix("##") if start else piece)
                pieces.ids.append(self.vocab[piece])
                pieces.tokens.append(piece)
                pieces.offsets.append((word.origins[start], word.origins[end - 1] + 1))
                pieces.word_ids.append(number)
                start = end
        return pieces

    def words(self, text: str) -> Iterable[_Word]:
        """The words of a text: cleaned, split at white space, lower-cased, split at punctuation."""
        for chunk in _chunks(text):
            word = chunk
            if self._lowercase:
                word = _lowered(word)
            if self._strip_accents:
                word = _without_accents(word)
            yield from _split_at_punctuation(word)

    def _word_pieces(self, word: str) -> list[str]:
        """The longest piece first; [UNK] for the whole word if some part of it is in no piece."""
        if len(word) > MAX_WORD_CHARACTERS:
            return [self.specials.unk]
        pieces: list[str] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if (piece := prefix + word[start:end]) in self.vocab:
                    break
            else:
                return [self.specials.unk]
            pieces.append(piece)
            start = end
        return pieces

    def decode(self, ids: Iterable[int]) -> str:
        """See `Runtime`; pieces are joined to words, and these by spaces."""
        return " ".join(self._pieces.get(token_id, "") for token_id in ids).replace(" ##", "")

    def files(self) -> dict[str, bytes]:
        """See `Runtime`."""
        return {"vocab.txt": "".join(f"{piece}\n" for piece in self._lines).encode()}


def _chunks(text: str) -> Iterable[_Word]:
    """What white space separates, without control characters; each ideograph alone."""
    characters: list[str] = []
    origins: list[int] = []
    for place, character in enumerate(text):
        alone = _is_ideograph(character)
        if characters and (alone or _is_space(character)):
            yield _Word("".join(characters), origins)
            characters, origins = [], []
        if alone:
            yield _Word(character, [place])
        elif not _is_space(character) and not _is_dropped(character):
            characters.append(character)
            origins.append(place)
    if characters:
        yield _Word("".join(characters), origins)


def _lowered(word: _Word) -> _Word:
    """Lower-cased as a whole, for a sigma at the end of a word has a form of its own."""
    lowered = word.text.lower()
    if len(lowered) == len(word.text):
        return _Word(lowered, word.origins)
    # Only İ becomes longer, whatever stands beside it.
    return _Word(
        lowered,
        [
            origin
            for character, origin in zip(word.text, word.origins, strict=True)
            for _ in character.lower()
        ],
    )


def _without_accents(word: _Word) -> _Word:
    """Decomposed (NFD), without combining marks."""
    parts: list[tuple[int, int, str, int]] = []
    num_starters = 0
    for character, origin in zip(word.text, word.origins, strict=True):
        for part in unicodedata.normalize("NFD", character):
            order = unicodedata.combining(part)
            num_starters += order == 0
            parts.append((num_starters, order, part, origin))
    # The canonical order of the marks upon one character; not all of them are dropped.
    parts.sort(key=lambda part: part[:2])
    kept = [part for part in parts if unicodedata.category(part[2]) != "Mn"]
    return _Word("".join(part for *_, part, _ in kept), [origin for *_, origin in kept])


def _split_at_punctuation(word: _Word) -> Iterable[_Word]:
    """Each punctuation mark alone, and what lies between."""
    start = 0
    for place, character in enumerate(word.text):
        if _is_punctuation(character):
            if place > start:
                yield _Word(word.text[start:place], word.origins[start:place])
            yield _Word(character, word.origins[place : place + 1])
            start = place + 1
    if start < len(word.text):
        yield _Word(word.text[start:], word.origins[start:])


def _is_space(character: str) -> bool:
    """White space, first by Google's own rule, then by that of `str.split`."""
    return character in " \t\n\r" or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def _is_dropped(character: str) -> bool:
    return character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf")


def _is_punctuation(character: str) -> bool:
    """Any ASCII mark, such as $ and ^, and what Unicode calls punctuation."""
    if character < "\x80":
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)
