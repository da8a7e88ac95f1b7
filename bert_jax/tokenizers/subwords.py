"""The three families whose runtime is the `tokenizers` library, built from a vocabulary."""

from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from bert_jax.tokenizers.library import LibraryRuntime, to_json
from bert_jax.tokenizers.runtime import Specials

CONTINUATION = "##"
MAX_WORDPIECE_CHARACTERS = 100  # longer words are [UNK], as in Hugging Face's tokenizers
_UNK = Specials._fields.index("unk")


def wordpiece_runtime(
    vocab: Sequence[str],
    normalizer: normalizers.Normalizer,
    special_tokens: Sequence[str] = Specials(),
    added: Sequence[tokenizers.AddedToken] = (),
) -> LibraryRuntime:
    """WordPiece: the longest piece first, `##` before what continues a word.

    Schuster & Nakajima 2012; Devlin et al. 2018.

    Args:
      vocab: the pieces in the order of their ids, special tokens included. Of a
        piece that stands there twice the last id counts.
      normalizer: see `TextRules.bert`.
      special_tokens: those of `Specials`, then further ones.
      added: words to keep whole, see `to_json`.
    """
    model = models.WordPiece(
        _ids(vocab),
        unk_token=special_tokens[_UNK],
        max_input_chars_per_word=MAX_WORDPIECE_CHARACTERS,
        continuing_subword_prefix=CONTINUATION,
    )
    splitter, decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(prefix=CONTINUATION)
    return _runtime(model, normalizer, splitter, decoder, special_tokens, added=added)


def bpe_runtime(
    vocab: Sequence[str],
    merges: Sequence[tuple[str, str]],
    normalizer: normalizers.Normalizer,
    special_tokens: Sequence[str],
    *,
    continuation_prefix: str,
) -> LibraryRuntime:
    """Byte-pair encoding of characters (Sennrich et al. 2016); a character it lacks is [UNK].

    Args:
      vocab: see `wordpiece_runtime`.
      merges: the pairs to join, in order of preference.
      normalizer: see `TextRules.bert`.
      special_tokens: see `wordpiece_runtime`.
      continuation_prefix: what pieces inside a word begin with. Without one
        decoded text has a space between all pieces.
    """
    prefix = {"continuing_subword_prefix": continuation_prefix} if continuation_prefix else {}
    model = models.BPE(_ids(vocab), list(merges), unk_token=special_tokens[_UNK], **prefix)
    decoder = decoders.WordPiece(prefix=continuation_prefix) if continuation_prefix else None
    splitter = pre_tokenizers.BertPreTokenizer()
    return _runtime(model, normalizer, splitter, decoder, special_tokens)


def byte_bpe_runtime(
    vocab: Sequence[str],
    merges: Sequence[tuple[str, str]],
    normalizer: normalizers.Normalizer,
    special_tokens: Sequence[str],
) -> LibraryRuntime:
    """Byte-pair encoding of UTF-8 bytes (Radford et al. 2019); nothing is ever unknown.

    A word has the space before it, so the first word of a text has none, as in
    GPT-2 and RoBERTa. Bytes are written as the characters of `byte_alphabet`.

    Args:
      vocab: see `wordpiece_runtime`.
      merges: see `bpe_runtime`.
      normalizer: see `TextRules.plain`.
      special_tokens: see `wordpiece_runtime`.
    """
    model = models.BPE(_ids(vocab), list(merges))
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _runtime(model, normalizer, splitter, decoders.ByteLevel(), special_tokens)


def byte_alphabet() -> list[str]:
    """A visible character for each byte, in the order of the bytes, as GPT-2 has them.

    Printable ones of Latin-1 stand for themselves, the others for U+0100 and on.
    """
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _ids(vocab: Sequence[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(vocab)}


def _runtime(
    model: models.Model,
    normalizer: normalizers.Normalizer,
    splitter: pre_tokenizers.PreTokenizer,
    decoder: decoders.Decoder | None,
    special_tokens: Sequence[str],
    *,
    added: Sequence[tokenizers.AddedToken] = (),
) -> LibraryRuntime:
    runtime = tokenizers.Tokenizer(model)
    runtime.normalizer = normalizer
    runtime.pre_tokenizer = splitter
    if decoder is not None:
        runtime.decoder = decoder
    named = dict(zip(Specials._fields, special_tokens, strict=False))
    return LibraryRuntime(to_json(runtime, special_tokens, added), named)
