"""The `tokenizers` library as runtime: WordPiece, BPE, byte-level BPE."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import processors

from bert_jax.errors import UserError
from bert_jax.tokenizers.runtime import Cut, Specials


class LibraryRuntime:
    """A tokenizer in the library's own format, `tokenizer.json`."""

    compat: Literal["google"] | None = None

    def __init__(self, content: str, specials: Specials | None = None):
        """Reads the content of a `tokenizer.json`.

        Args:
          content: kept as it is, so that saving changes no byte.
          specials: how the special tokens are written; BERT's own way if None.

        Raises:
          UserError: not such a file, or a special token is missing.
        """
        try:
            self._keeping = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the library raises nothing more specific
            raise UserError(f"tokenizer.json cannot be read ({error})") from None
        self._content = content
        # A published folder may cut to 128 tokens and fill up to them.
        self._keeping.no_truncation()
        self._keeping.no_padding()
        # Running text may contain "[MASK]"; in a corpus those are ordinary characters.
        self._plain = tokenizers.Tokenizer.from_str(self._keeping.to_str())
        self._plain.encode_special_tokens = True
        self.vocab: Mapping[str, int] = self._keeping.get_vocab()
        self.specials = specials or Specials()
        check_specials(self.vocab, self.specials)
        added = self._keeping.get_added_tokens_decoder()
        self.reserved_ids = reserved_ids(self.vocab, self.specials) | {
            token_id for token_id, token in added.items() if token.special
        }
        self._parts: dict[str, Any] = json.loads(content)
        self.type = _type(self._parts)
        adds_words = any(not token.special for token in added.values())
        self.cut: Cut = "nowhere" if adds_words else _cut(self._parts)
        self.rules: Mapping[str, object] = _rules(self._parts["normalizer"])

    @property
    def parts(self) -> Mapping[str, Any]:
        """What the file says: `model`, `normalizer`, `pre_tokenizer` and more."""
        return self._parts

    def split(self, texts: Sequence[str], *, keep_specials: bool) -> Sequence[tokenizers.Encoding]:
        """See `Runtime`."""
        runtime = self._keeping if keep_specials else self._plain
        return runtime.encode_batch(texts, add_special_tokens=False)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Runtime`."""
        return self._keeping.decode(list(ids), skip_special_tokens=False)

    def files(self) -> dict[str, bytes]:
        """See `Runtime`."""
        return {"tokenizer.json": self._content.encode()}


def check_specials(vocab: Mapping[str, int], specials: Specials) -> None:
    """Refuses a vocabulary without them.

    Raises:
      UserError: naming those that are missing.
    """
    missing = [token for token in specials if token not in vocab]
    if missing:
        raise UserError(f"the vocabulary lacks {', '.join(missing)}, which BERT cannot do without")


def reserved_ids(vocab: Mapping[str, int], specials: Specials) -> frozenset[int]:
    """Ids of the special tokens and of the slots for later use, `[unusedN]`."""
    return frozenset(
        token_id
        for token, token_id in vocab.items()
        if token in specials or token.startswith("[unused")
    )


def to_json(runtime: tokenizers.Tokenizer, special_tokens: Sequence[str]) -> str:
    """The content of a `tokenizer.json`, with special tokens and BERT's frame for other tools.

    Args:
      runtime: model and text rules.
      special_tokens: those of `Specials` first.
    """
    specials = Specials(*special_tokens[:5])
    ids = runtime.get_vocab(with_added_tokens=False)
    check_specials(ids, specials)
    runtime.post_processor = processors.BertProcessing(
        (specials.sep, ids[specials.sep]), (specials.cls, ids[specials.cls])
    )
    runtime.add_special_tokens(list(special_tokens))
    return runtime.to_str(pretty=True)


def read_library_file(path: Path, specials: Specials | None = None) -> LibraryRuntime:
    """The runtime in a `tokenizer.json`.

    Raises:
      UserError: not one that can be read.
    """
    try:
        return LibraryRuntime(path.read_text(encoding="utf-8"), specials)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8") from None


def _type(parts: Mapping[str, Any]) -> str:
    """The family of a tokenizer."""
    kind = parts["model"].get("type", "WordPiece")
    if kind == "BPE" and "ByteLevel" in _names(parts["pre_tokenizer"]):
        return "byte_bpe"
    return kind.lower()


def _names(part: Mapping[str, Any] | None) -> list[str]:
    """The types of a normalizer or pre-tokenizer, those within a sequence one by one."""
    if part is None:
        return []
    steps = part.get("normalizers", part.get("pretokenizers"))
    return [part["type"]] if steps is None else [name for step in steps for name in _names(step)]


# Normalizers that look at one character and the marks upon it, never at a neighbour.
_LOCAL = {"BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD"}


def _cut(parts: Mapping[str, Any]) -> Cut:
    """Where texts may be cut; nowhere, unless all that is done to them is known to allow it."""
    if not _LOCAL.issuperset(_names(parts["normalizer"])):
        return "nowhere"
    splitter = parts["pre_tokenizer"] or {}
    if splitter.get("type") == "BertPreTokenizer":
        return "punctuation"
    # GPT-2's pattern gives a word the space before it.
    if splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True):
        return "spaces"
    return "nowhere"


def _rules(normalizer: Mapping[str, Any] | None) -> dict[str, object]:
    """Case, accents and Unicode form, for `tokenizer_config.json`."""
    names = _names(normalizer)
    bert = _bert_normalizer(normalizer) or {}
    forms = [name.lower() for name in names if name.startswith("NF")]
    return {
        "do_lower_case": bert.get("lowercase", "Lowercase" in names),
        # None: as lower case has it.
        "strip_accents": bert.get("strip_accents", "StripAccents" in names),
        "unicode_form": forms[0] if forms else "none",
    }


def _bert_normalizer(normalizer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """BERT's own rules, alone or in a sequence."""
    if normalizer is None:
        return None
    if normalizer["type"] == "BertNormalizer":
        return dict(normalizer)
    found = (_bert_normalizer(step) for step in normalizer.get("normalizers", ()))
    return next(filter(None, found), None)
