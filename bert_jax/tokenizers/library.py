"""The `tokenizers` library as runtime: WordPiece, BPE, byte-level BPE."""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import tokenizers
from tokenizers import processors

from bert_jax.errors import UserError
from bert_jax.tokenizers.runtime import Cut, Specials


class LibraryRuntime:
    """A tokenizer in the library's own format, `tokenizer.json`."""

    compat: Literal["google"] | None = None

    def __init__(self, content: str, named: Mapping[str, str] = MappingProxyType({})):
        """Reads the content of a `tokenizer.json`.

        Args:
          content: kept as it is, so that saving changes no byte.
          named: see `find_specials`.

        Raises:
          UserError: not such a file, or a special token is missing.
        """
        try:
            self._keeping = tokenizers.Tokenizer.from_str(content)
        except Exception as error:  # the library raises nothing more specific
            raise UserError(f"the tokenizers library cannot read it ({error})") from None
        self._content = content
        # A published folder may cut to 128 tokens and fill up to them.
        self._keeping.no_truncation()
        self._keeping.no_padding()
        # Running text may contain "[MASK]"; in a corpus those are ordinary characters.
        self._plain = tokenizers.Tokenizer.from_str(self._keeping.to_str())
        self._plain.encode_special_tokens = True
        self.vocab: Mapping[str, int] = self._keeping.get_vocab()
        self.specials = find_specials(self.vocab, named)
        added = self._keeping.get_added_tokens_decoder()
        self.reserved_ids = reserved_ids(self.vocab, self.specials) | {
            token_id for token_id, token in added.items() if token.special
        }
        self._parts: dict[str, Any] = json.loads(content)
        unknown = self._parts["model"].get("unk_token")
        if unknown is not None and unknown not in self.vocab:
            raise UserError(f"its model has {unknown} for unknown text, which is in no vocabulary")
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


# As they are usually written, in the order of `Specials`: by BERT, then by others.
_NAMES = (
    ("[PAD]", "<pad>"),
    ("[UNK]", "<unk>"),
    ("[CLS]", "<s>", "<cls>"),
    ("[SEP]", "</s>", "<sep>"),
    ("[MASK]", "<mask>"),
)


def find_specials(vocab: Mapping[str, int], named: Mapping[str, str]) -> Specials:
    """The special tokens of a vocabulary.

    Args:
      vocab: the id of every piece.
      named: how some are written, by the fields of `Specials`; the others go by
        their usual names.

    Raises:
      UserError: naming those that are missing, or two that are the same.
    """
    found = Specials(
        *(
            named.get(field, next((name for name in names if name in vocab), names[0]))
            for field, names in zip(Specials._fields, _NAMES, strict=True)
        )
    )
    missing = [token for token in found if token not in vocab]
    if missing:
        raise UserError(f"the vocabulary lacks {', '.join(missing)}, which BERT cannot do without")
    if len(set(found)) < len(found):
        raise UserError(f"special tokens must differ; these are {', '.join(found)}")
    return found


def reserved_ids(vocab: Mapping[str, int], specials: Specials) -> frozenset[int]:
    """Ids of special tokens, of slots for later use, `[unusedN]`, and of blank lines."""
    return frozenset(
        token_id
        for token, token_id in vocab.items()
        if token in specials or token.startswith("[unused") or not token
    )


def to_json(
    runtime: tokenizers.Tokenizer,
    special_tokens: Sequence[str],
    added: Sequence[tokenizers.AddedToken] = (),
) -> str:
    """The content of a `tokenizer.json`, with special tokens and BERT's frame for other tools.

    Args:
      runtime: model and text rules.
      special_tokens: those of `Specials` first.
      added: words to keep whole, which get the next ids if they have none.
    """
    for token in added:  # one by one, for the ids go by the order
        add = runtime.add_special_tokens if token.special else runtime.add_tokens
        add([token])
    ids = runtime.get_vocab()
    specials = find_specials(ids, dict(zip(Specials._fields, special_tokens, strict=False)))
    runtime.post_processor = processors.BertProcessing(
        (specials.sep, ids[specials.sep]), (specials.cls, ids[specials.cls])
    )
    runtime.add_special_tokens(list(special_tokens))
    return runtime.to_str(pretty=True)


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


# Normalizers that look at one character and the marks upon it, never at a neighbour. The
# latter delete some, which may bring white space together.
_KEEPING = {"Lowercase", "NFC", "NFD", "NFKC", "NFKD"}
_DELETING = {"BertNormalizer", "StripAccents"}


def _cut(parts: Mapping[str, Any]) -> Cut:
    """Where texts may be cut; nowhere, unless all that is done to them is known to allow it."""
    names = set(_names(parts["normalizer"]))
    splitter = parts["pre_tokenizer"] or {}
    if splitter.get("type") == "BertPreTokenizer" and names <= _KEEPING | _DELETING:
        bert = _bert_normalizer(parts["normalizer"]) or {}
        return "ideographs" if bert.get("handle_chinese_chars") else "punctuation"
    # GPT-2's pattern gives a word the space before it, and other white space its own piece.
    pattern = splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True)
    return "spaces" if pattern and names <= _KEEPING else "nowhere"


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
