"""SentencePiece: splitting by a `.model` file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from types import MappingProxyType
from typing import Any, Literal

import sentencepiece

from bert_jax.errors import UserError
from bert_jax.tokenizers.library import find_specials, reserved_ids
from bert_jax.tokenizers.runtime import Cut, ListedPieces

SPACE = "▁"  # U+2581: how a piece writes the space before a word


class SentencePieceRuntime:
    """A `Runtime` over a SentencePiece model, which brings its text rules with it."""

    compat: Literal["google"] | None = None

    def __init__(self, model: bytes, named: Mapping[str, str] = MappingProxyType({})):
        """Reads a serialized model.

        Args:
          model: the content of a `.model` file.
          named: see `find_specials`.

        Raises:
          UserError: no unigram or BPE model, or a special token is missing.
        """
        self._model = model
        self._processor = processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.load_from_serialized_proto(model)
        except RuntimeError:
            raise UserError("this is not a SentencePiece model, or a damaged one") from None
        self.type = _type(processor)
        self.rules: Mapping[str, object] = _rules(processor)
        self._tokens: list[str] = processor.id_to_piece(list(range(len(processor))))
        self.vocab: Mapping[str, int] = {token: i for i, token in enumerate(self._tokens)}
        unknown = {"unk": self._tokens[processor.unk_id()]}
        self.specials = find_specials(self.vocab, {**unknown, **named})
        self._unk_id = self.vocab[self.specials.unk]
        self.reserved_ids = reserved_ids(self.vocab, self.specials) | {
            i
            for i in self.vocab.values()
            if processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i)
        }
        kept = {*self.specials} | {
            token
            for i, token in enumerate(self._tokens)
            if processor.is_control(i) and not token.startswith("[unused")
        }
        self._special = re.compile(f"({'|'.join(map(re.escape, sorted(kept)))})")
        # A word's pieces are its own if it begins with the one space that is put before it,
        # and no piece goes on beyond a space. Not of a unigram model: of splits with equal
        # scores (`--` `-`, `-` `--`) the rounding of sums over all the text before decides.
        by_words = (
            self.type == "sentencepiece_bpe"
            and processor.normalize(" a  b ") == f"{SPACE}a{SPACE}b"
            and self.vocab.get(SPACE, self._unk_id) not in self.reserved_ids
            and not any(SPACE in token[1:] or " " in token for token in self._tokens)
        )
        self.cut: Cut = "spaces" if by_words else "nowhere"

    def split(self, texts: Sequence[str], *, keep_specials: bool) -> Sequence[ListedPieces]:
        """The pieces of texts, on all cores.

        A piece's span leaves out the space before a word, but not invisible characters that
        the model deletes. A user-defined piece with a reserved id is unknown.
        """
        parts = [list(self._parts(text, keep_specials)) for text in texts]
        # No model can have a rule for NUL; U+0001 is another control character.
        ordinary = [part.replace("\0", "\1") for part, special in chain(*parts) if not special]
        found = iter(self._processor.encode(ordinary, return_type="offset_mapping"))
        return [self._join(parts_of_text, found) for parts_of_text in parts]

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text; reserved ids as their pieces are written, with spaces around.

        Raises:
          IndexError: an id outside the vocabulary.
        """
        words: list[str] = []
        for reserved, run in groupby(ids, self.reserved_ids.__contains__):
            if reserved:
                words += [self._tokens[i] for i in run]
            else:
                words.append(self._processor.decode(list(run)).strip())
        return " ".join(filter(None, words))

    def files(self) -> dict[str, bytes]:
        """The model as it was read."""
        return {"spm.model": self._model}

    def _parts(self, text: str, keep_specials: bool) -> Iterator[tuple[str, bool]]:
        """The text cut, and which of the parts are special tokens."""
        for place, part in enumerate(self._special.split(text) if keep_specials else [text]):
            yield part, place % 2 == 1

    def _join(
        self, parts: Iterable[tuple[str, bool]], found: Iterator[dict[str, Any]]
    ) -> ListedPieces:
        pieces = ListedPieces([], [], [], [])
        start, word = 0, -1
        for part, special in parts:
            encoding: dict[str, Any] = (
                {"ids": [self.vocab[part]], "pieces": [part], "offsets": [(0, len(part))]}
                if special
                else next(found)
            )
            before = None
            for i, surface, (begin, end) in zip(
                encoding["ids"], encoding["pieces"], encoding["offsets"], strict=True
            ):
                # A lone ▁ begins the word that follows it.
                word += before is None or (surface.startswith(SPACE) and before != SPACE)
                before = surface
                token_id = i if special or i not in self.reserved_ids else self._unk_id
                pieces.ids.append(token_id)
                pieces.tokens.append(self._tokens[token_id])
                visible = part[begin:end].lstrip()
                pieces.offsets.append((start + end - len(visible), start + end))
                pieces.word_ids.append(word)
            start += len(part)
        return pieces


def _type(processor: sentencepiece.SentencePieceProcessor) -> str:
    """The family, by what the model can do: reading it from the file would need protobuf."""
    try:
        processor.sample_encode_as_ids("a", nbest_size=2, alpha=0.1)
    except RuntimeError:
        raise UserError("the SentencePiece model is neither a unigram nor a BPE model") from None
    try:
        processor.nbest_encode_as_ids("a", nbest_size=2)
    except RuntimeError:
        return "sentencepiece_bpe"
    return "unigram"


def _rules(processor: sentencepiece.SentencePieceProcessor) -> dict[str, object]:
    """What the model does to text, by what it makes of some characters."""

    def normalized(text: str) -> str:
        return processor.normalize(text).replace(SPACE, "")

    composes, compatible = normalized("e\u0301") == "é", normalized("ﬁ") == "fi"
    form = "nf" + ("k" if compatible else "") + ("c" if composes else "d")
    return {
        "do_lower_case": normalized("A") == "a",
        "strip_accents": normalized("é") == "e",
        "unicode_form": form if composes or normalized("é") == "e\u0301" else "none",
    }
