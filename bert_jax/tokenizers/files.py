"""One folder format, and the published ones: `tokenizer.json`, `vocab.txt`, `.model`."""

import json
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import normalizers

from bert_jax.errors import UserError
from bert_jax.tokenizers.google import GoogleRuntime
from bert_jax.tokenizers.library import LibraryRuntime, find_specials
from bert_jax.tokenizers.runtime import Runtime, Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.tokenizers.tokenizer import Tokenizer

Compat = Literal["google"]


def load_tokenizer(folder: str | Path, compat: Compat | None = None) -> Tokenizer:
    """Reads a tokenizer folder, or one of its files.

    Pieces are those of Hugging Face's fast tokenizer for the same files, always
    framed as `[CLS] text [SEP] pair [SEP]`. What is read, the first that there is:
    `tokenizer.json`; one `.model` of SentencePiece; `vocab.txt`. (A SentencePiece model
    written by `Pretrained.save` goes before the `tokenizer.json` made of it for other tools.)

    `tokenizer_config.json` and `special_tokens_map.json`, if they are there, say how
    special tokens are written, and the former BERT's text rules: `do_lower_case`,
    `strip_accents` and `tokenize_chinese_chars`. Where it says nothing of the case, a
    `tokenizer.json` is taken at its word and a `vocab.txt` is cased if more than 1 %
    of its pieces have capital letters. (Hugging Face's BERT tokenizers then lower-case
    any text, cased vocabulary or not.)

    Args:
      folder: written by `Tokenizer.save`, published by Hugging Face or by Google.
      compat: "google" for the text rules of google-research/bert where they
        differ, see `bert_jax.tokenizers.google`; None for what the folder was
        saved with, else the default.

    Raises:
      UserError: nothing there that can be read, special tokens are missing, or words
        are split by other software (MeCab, in models of Japanese).
    """
    path = Path(folder)
    config = _read_config(path if path.is_dir() else path.parent)
    splitter = config.get("word_tokenizer_type", "basic")
    if splitter != "basic":
        raise UserError(f"{path} splits words by {splitter!r}, which is not supported")
    compat = compat or config.get("compat")
    if compat not in (None, "google"):
        raise UserError(f"compat is {compat!r}; it is None or 'google'")
    own = config.get("type") in ("unigram", "sentencepiece_bpe")
    runtime = _read_runtime(_vocabulary_file(path, prefer_model=own), config)
    return Tokenizer(as_google(runtime) if compat == "google" else runtime)


def _vocabulary_file(path: Path, *, prefer_model: bool) -> Path:
    """The file that decides the ids."""
    if path.is_file():
        return path
    models = sorted(path.glob("*.model"))
    if (path / "tokenizer.json").is_file() and not (prefer_model and models):
        return path / "tokenizer.json"
    if len(models) > 1:
        raise UserError(f"{path} holds {len(models)} .model files; name the one to read")
    if models:
        return models[0]
    if (path / "vocab.txt").is_file():
        return path / "vocab.txt"
    raise UserError(f"{path} holds no tokenizer (tokenizer.json, vocab.txt or a .model is missing)")


def _read_runtime(path: Path, config: dict[str, Any]) -> Runtime:
    named = _named_specials(config)
    try:
        if path.suffix == ".model":
            from bert_jax.tokenizers.sentencepiece import SentencePieceRuntime

            return SentencePieceRuntime(path.read_bytes(), named)
        if path.suffix == ".json":
            return _with_switches(LibraryRuntime(_read_text(path), named), config)
        return _read_vocabulary(path, named, config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8, byte {error.start}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a vocabulary: an id each, whatever is in them.

    Split at line feeds only: pieces may hold U+2028, U+0085 or a carriage
    return. Blank lines at the end are no pieces; others keep their ids, so that
    none after them shifts.
    """
    lines = _read_text(path).removeprefix("\ufeff").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _read_vocabulary(path: Path, named: dict[str, str], config: dict[str, Any]) -> LibraryRuntime:
    """A `vocab.txt` under BERT's text rules, with the words that were added to it."""
    pieces = read_lines(path)
    if not pieces:
        raise UserError("no piece in it")
    added = _added_tokens(path.parent, config, len(pieces))
    known = [*pieces, *(token.content for token in added)]
    specials = find_specials({piece: i for i, piece in enumerate(known)}, named)
    lowercase = config.get("do_lower_case")
    if lowercase is None:
        capitals = sum(piece != piece.lower() for piece in pieces if piece not in specials)
        lowercase = capitals <= 0.01 * len(pieces)
    normalizer = normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    )
    return wordpiece_runtime(pieces, normalizer, specials, added)


def _added_tokens(
    folder: Path, config: dict[str, Any], num_pieces: int
) -> list[tokenizers.AddedToken]:
    """The words that Hugging Face's folders add to a vocabulary, in the order of their ids."""
    ids = _read_json(folder / "added_tokens.json")
    tokens = {int(i): tokenizers.AddedToken(word) for word, i in ids.items()}
    for i, token in config.get("added_tokens_decoder", {}).items():
        tokens[int(i)] = tokenizers.AddedToken(**token)
    added = {i: tokens[i] for i in sorted(tokens) if i >= num_pieces}
    if list(added) != list(range(num_pieces, num_pieces + len(added))):
        raise UserError(f"added words have the ids {list(added)[:5]}, after {num_pieces} pieces")
    return list(added.values())


def _with_switches(runtime: LibraryRuntime, config: dict[str, Any]) -> LibraryRuntime:
    """The text rules as `tokenizer_config.json` has them, if these are BERT's alone.

    Some published folders have a `tokenizer.json` that says otherwise, and
    Hugging Face's BERT tokenizers follow the config.
    """
    normalizer = runtime.parts["normalizer"]
    if normalizer is None or normalizer["type"] != "BertNormalizer":
        return runtime
    said = {name: config[key] for key, name in _SWITCHES.items() if key in config}
    if normalizer | said == normalizer:
        return runtime
    parts = {**runtime.parts, "normalizer": normalizer | said}
    content = json.dumps(parts, ensure_ascii=False, indent=2)
    return LibraryRuntime(content, runtime.specials._asdict())


def as_google(runtime: Runtime) -> GoogleRuntime:
    """The same vocabulary under Google's rules.

    Raises:
      UserError: a tokenizer whose rules Google's code does not have.
    """
    if not isinstance(runtime, LibraryRuntime) or runtime.type != "wordpiece":
        raise UserError(f"compat 'google' is for WordPiece; this vocabulary is {runtime.type}")
    normalizer = runtime.parts["normalizer"] or {}
    if normalizer.get("type") != "BertNormalizer" or not normalizer["handle_chinese_chars"]:
        raise UserError(
            "compat 'google' is for text rules as published with BERT; this vocabulary has others "
            f"(Unicode form {runtime.rules['unicode_form']}, or ideographs that stay together)"
        )
    pieces = [""] * (max(runtime.vocab.values()) + 1)
    for piece, token_id in runtime.vocab.items():
        pieces[token_id] = piece
    lowercase, strip_accents = (runtime.rules[key] for key in ("do_lower_case", "strip_accents"))
    return GoogleRuntime(
        pieces,
        runtime.specials,
        lowercase=bool(lowercase),
        strip_accents=bool(lowercase if strip_accents is None else strip_accents),
    )


# BERT's switches, by their names in `tokenizer_config.json` and in a `tokenizer.json`.
_SWITCHES = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def _read_config(folder: Path) -> dict[str, Any]:
    """What `special_tokens_map.json` and `tokenizer_config.json` say, the latter first.

    A switch that is null says nothing, but for accents: then they go with the case.
    """
    path = folder / "tokenizer_config.json"
    config = _read_json(folder / "special_tokens_map.json") | _read_json(path)
    for key in _SWITCHES:
        if key in config and not isinstance(config[key], bool | None):
            raise UserError(f"{path}: {key} is {config[key]!r}; it must be true or false")
        if key != "strip_accents" and config.get(key) is None:
            config.pop(key, None)
    return config


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object")
    return content


def _named_specials(config: dict[str, Any]) -> dict[str, str]:
    """How special tokens are written, by the fields of `Specials`, where the config says it."""
    named = {field: config.get(f"{field}_token") for field in Specials._fields}
    texts = {
        field: token.get("content") if isinstance(token, dict) else token
        for field, token in named.items()
    }
    return {field: text for field, text in texts.items() if isinstance(text, str)}
