"""SentencePiece models as `tokenizer.json`, for tools that cannot read `spm.model`.

Ids are those of `SentencePieceRuntime`, special tokens in a text kept whole, but for these
differences:

- Unigram: of splits with equal scores (`--` `-`, `-` `--`) another may be taken, for
  SentencePiece adds up a text in float32, the `tokenizers` library a word in float64.
- BPE: of a piece that overlaps itself the first place may be another, and so may the order of
  pieces with equal scores, which no training gives.
- Several accents on a letter, typed in another order than Unicode's. NFC and NFKC order them;
  SentencePiece takes the longest match in its table.
- Models made elsewhere: rules for several characters that are not those of NFC or NFKC; a text
  of nothing but deleted characters, if ▁ stands after words; pieces marked unused, which a
  unigram model uses here; U+FDD0, which becomes ～ under rules like those of nmt_nfkc.
- User-defined symbols, also of models made elsewhere only: the text after one begins a word,
  spaces before one are lost, and one that only the text rules make of a text is not found.

A literal `[unused1]` or `<0x41>` in a text is ordinary characters in either, but no piece goes
beyond the first of them.
"""

import struct
import unicodedata
from collections.abc import Iterator, Sequence
from operator import ne
from typing import Any, NamedTuple

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from bert_jax.tokenizers.library import to_json
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.sentencepiece import SPACE, SentencePieceRuntime

# Kinds of pieces, and below numbers of fields, by SentencePiece's sentencepiece_model.proto.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = range(1, 5)


class _Piece(NamedTuple):
    text: str
    score: float
    kind: int


class _Model(NamedTuple):
    """What a model file says.

    Attributes:
      pieces: by id.
      rules: a table of what is replaced by what, compiled; empty if nothing is.
      adds_space: one is put before a text, or after it.
      squeezes: of several spaces one is left, and none at the ends.
      space: how a piece writes a space.
      space_after: a space belongs to the word before it.
      falls_back: a character without a piece becomes its bytes.
    """

    pieces: list[_Piece]
    rules: bytes
    adds_space: bool
    squeezes: bool
    space: str
    space_after: bool
    falls_back: bool


def library_json(model: bytes, specials: Specials) -> str:
    """The content of a `tokenizer.json` that gives the ids of the model.

    Args:
      model: the content of a `.model` file.
      specials: how its special tokens are written.

    Raises:
      UserError: see `SentencePieceRuntime`.
    """
    runtime = SentencePieceRuntime(model, specials._asdict())
    parts = _read(model)
    unigram = runtime.type == "unigram"
    library = tokenizers.Tokenizer(_unigram(parts) if unigram else _bpe(parts))
    library.normalizer = _normalizer(sentencepiece.SentencePieceProcessor(model_proto=model), parts)
    library.pre_tokenizer = _pre_tokenizer(parts, unigram=unigram)
    library.decoder = _decoder(parts)
    controls = [
        piece.text
        for piece in parts.pieces
        if piece.kind == _CONTROL and not piece.text.startswith("[unused")
    ]
    added = [
        AddedToken(piece.text, normalized=False)
        for piece in parts.pieces
        if piece.kind == _USER_DEFINED
        and piece.text not in specials
        # SentencePiece looks for it where spaces are written as ▁ already, and finds none.
        and (" " not in piece.text or parts.space == " ")
    ]
    return to_json(library, list(dict.fromkeys([*specials, *controls])), added)


def _unigram(parts: _Model) -> models.Unigram:
    (unknown,) = (i for i, piece in enumerate(parts.pieces) if piece.kind == _UNKNOWN)
    vocab = [(piece.text, piece.score) for piece in parts.pieces]
    return models.Unigram(vocab, unk_id=unknown, byte_fallback=parts.falls_back)


def _bpe(parts: _Model) -> models.BPE:
    """SentencePiece joins any two neighbours that are a piece together, the best piece first."""
    (unknown,) = (piece.text for piece in parts.pieces if piece.kind == _UNKNOWN)
    pieces = {piece.text: piece.score for piece in parts.pieces if piece.kind == _NORMAL}
    merges = [
        (text[:end], text[end:])
        for text in sorted(pieces, key=lambda text: -pieces[text])
        for end in range(1, len(text))
        if text[:end] in pieces and text[end:] in pieces
    ]
    return models.BPE(
        {piece.text: i for i, piece in enumerate(parts.pieces)},
        merges,
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=parts.falls_back,
    )


def _pre_tokenizer(parts: _Model, *, unigram: bool) -> pre_tokenizers.PreTokenizer:
    """Cuts before spaces if no piece goes beyond one, so that words are counted and cached."""
    by_words = not parts.space_after and not any(
        parts.space in piece.text[1:] for piece in parts.pieces
    )
    # Else unknown characters on both sides of a space would be one.
    by_words &= any(piece.text == parts.space for piece in parts.pieces)
    words = pre_tokenizers.Metaspace(parts.space, prepend_scheme="never", split=by_words)
    if not unigram:
        return words
    # To the library all of a unigram model's vocabulary is pieces; no merge makes these of BPE.
    slots = Regex(r"\[(?=unused)|<(?=0x[0-9A-F]{2}>)")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(slots, "merged_with_previous"), words])


def _decoder(parts: _Model) -> decoders.Decoder:
    before = parts.adds_space and not parts.space_after
    spaces = decoders.Metaspace(parts.space, prepend_scheme="always" if before else "never")
    return decoders.Sequence([decoders.ByteFallback(), spaces]) if parts.falls_back else spaces


def _normalizer(
    processor: sentencepiece.SentencePieceProcessor, parts: _Model
) -> normalizers.Normalizer:
    """The text rules.

    The library looks up single characters only. Rules that compose several are a normal form
    before that; it is the one that makes the same of probes.
    """
    if not parts.rules:
        return normalizers.Sequence(_steps(parts, []))
    probes = _probes()
    expected = processor.normalize(probes)

    def errors(normalizer: normalizers.Normalizer) -> int:
        return sum(map(ne, map(normalizer.normalize_str, probes), expected))

    # SentencePiece's own NFKC leaves ～ as it is; U+FDD0 is never a character.
    away, back = normalizers.Replace("～", "\ufdd0"), normalizers.Replace("\ufdd0", "～")
    forms: list[list[normalizers.Normalizer]] = [
        [],
        [normalizers.NFC()],
        [normalizers.NFKC()],
        [away, normalizers.NFKC(), back],
    ]
    return min((normalizers.Sequence(_steps(parts, form)) for form in forms), key=errors)


def _probes() -> list[str]:
    """Characters that a normal form changes, as they are and taken apart."""
    texts = []
    for code in (*range(1, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20)):
        forms = {unicodedata.normalize(form, chr(code)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        if forms != {chr(code)}:
            texts += sorted({chr(code), *forms})
    texts += [kana + mark for kana in map(chr, range(0xFF66, 0xFF9E)) for mark in "ﾞﾟ"]
    return [f"a{text}b" for text in texts]


def _steps(parts: _Model, form: Sequence[normalizers.Normalizer]) -> list[normalizers.Normalizer]:
    """What SentencePiece does to a text, NUL being U+0001 as in `SentencePieceRuntime`."""
    steps: list[normalizers.Normalizer] = [normalizers.Replace("\0", "\1")]
    space_before = parts.adds_space and not parts.space_after
    if space_before and not parts.squeezes:  # stays even if all after it is deleted
        steps.append(normalizers.Prepend(parts.space))
    if parts.rules:
        steps += [
            *form,
            # Of a character with marks upon it the library looks up the first alone and drops
            # the others, so NUL sets them apart. It also loses count if the first character of
            # a text is deleted, or if anything is put in at the very ends but by Prepend.
            normalizers.Replace(
                Regex(r"(?<!\A)(?=[\p{M}\p{Cf}\p{Lm}\p{Sk}\n])|(?<=\p{Cf})(?!\z)"), "\0"
            ),
            normalizers.Prepend("\0"),
            normalizers.Precompiled(parts.rules),
            normalizers.Replace("\0", ""),
        ]
    if parts.squeezes:
        steps += [
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex(rf"\A +|[ {parts.space}]+\z"), ""),
        ]
    if parts.space != " ":
        steps.append(normalizers.Replace(" ", parts.space))
    if space_before and parts.squeezes:
        steps.append(normalizers.Prepend(parts.space))
    if parts.adds_space and parts.space_after:
        steps.append(normalizers.Replace(Regex(r"(?<=.)\z"), parts.space))
    return steps


def _read(model: bytes) -> _Model:
    """Reads the file. SentencePiece's own module for it wants a newer protobuf than TensorFlow."""
    pieces = []
    trainer: dict[int, Any] = {}
    text_rules: dict[int, Any] = {}
    for number, content in _fields(model):
        if number == 1:
            fields = dict(_fields(content))
            (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
            pieces.append(_Piece(fields[1].decode(), score, fields.get(3, _NORMAL)))
        elif number == 2:
            trainer |= dict(_fields(content))
        elif number == 3:
            text_rules |= dict(_fields(content))
    return _Model(
        pieces,
        rules=text_rules.get(2, b""),
        adds_space=bool(text_rules.get(3, True)),
        squeezes=bool(text_rules.get(4, True)),
        space=SPACE if text_rules.get(5, True) else " ",
        space_after=bool(trainer.get(24, False)),
        falls_back=bool(trainer.get(35, False)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and contents of a protobuf message: integers as such, anything else as bytes."""
    start = 0
    while start < len(message):
        key, start = _integer(message, start)
        if key & 7 == 0:
            value, start = _integer(message, start)
            yield key >> 3, value
            continue
        size, start = _integer(message, start) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], start)
        yield key >> 3, message[start : start + size]
        start += size


def _integer(message: bytes, start: int) -> tuple[int, int]:
    """One of variable length, 7 bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value, start
