"""One folder format, and the published ones: `tokenizer.json`, `vocab.txt`, `.model`."""

import json
from pathlib import Path
from typing import Any, Literal

from tokenizers import normalizers

from bert_jax.errors import UserError
from bert_jax.tokenizers.google import GoogleRuntime
from bert_jax.tokenizers.library import LibraryRuntime
from bert_jax.tokenizers.runtime import Runtime, Specials
from bert_jax.tokenizers.subwords import wordpiece_runtime
from bert_jax.tokenizers.tokenizer import Tokenizer

Compat = Literal["google"]


def load_tokenizer(folder: str | Path, compat: Compat | None = None) -> Tokenizer:
    """Reads a tokenizer folder, or one of its files.

    The default equals Hugging Face's fast tokenizer of the same files. What is
    read, the first that there is: `tokenizer.json`; one `.model` of
    SentencePiece; `vocab.txt`. `tokenizer_config.json`, if there is one, says how
    special tokens are written and, for BERT's text rules, `do_lower_case`,
    `strip_accents` and `tokenize_chinese_chars`. Without it, a `vocab.txt` is
    taken as cased if more than 1 % of its pieces have capital letters.

    Args:
      folder: written by `Tokenizer.save`, published by Hugging Face or by Google.
      compat: "google" for the text rules of google-research/bert where they
        differ, see `bert_jax.tokenizers.google`; None for what the folder was
        saved with, else the default.

    Raises:
      UserError: nothing there that can be read, or special tokens are missing.
    """
    path = Path(folder)
    config = _read_config(path if path.is_dir() else path.parent)
    if compat not in (None, "google"):
        raise UserError(f"compat is {compat!r}; it is None or 'google'")
    runtime = _read_runtime(_vocabulary_file(path), config)
    if (compat or config.get("compat")) == "google":
        runtime = as_google(runtime)
    return Tokenizer(runtime)


def _vocabulary_file(path: Path) -> Path:
    """The file that decides the ids."""
    if path.is_file():
        return path
    if (path / "tokenizer.json").is_file():
        return path / "tokenizer.json"
    models = sorted(path.glob("*.model"))
    if len(models) > 1:
        raise UserError(f"{path} holds {len(models)} .model files; name the one to read")
    if models:
        return models[0]
    if (path / "vocab.txt").is_file():
        return path / "vocab.txt"
    raise UserError(f"{path} holds no tokenizer (tokenizer.json, vocab.txt or a .model is missing)")


def _read_runtime(path: Path, config: dict[str, Any]) -> Runtime:
    specials = _specials(config)
    try:
        if path.suffix == ".model":
            from bert_jax.tokenizers.sentencepiece import SentencePieceRuntime

            return SentencePieceRuntime(path.read_bytes(), specials)
        if path.suffix == ".json":
            return _with_switches(LibraryRuntime(_read_text(path), specials), config)
        return _read_vocabulary(path, specials or Specials(), config)
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


def _read_vocabulary(path: Path, specials: Specials, config: dict[str, Any]) -> LibraryRuntime:
    """A `vocab.txt` under BERT's text rules."""
    pieces = read_lines(path)
    if not pieces:
        raise UserError("no piece in it")
    lowercase = config.get("do_lower_case")
    if lowercase is None:
        capitals = sum(piece != piece.lower() for piece in pieces if piece not in specials)
        lowercase = capitals <= 0.01 * len(pieces)
    normalizer = normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    )
    return wordpiece_runtime(pieces, normalizer, specials)


def _with_switches(runtime: LibraryRuntime, config: dict[str, Any]) -> LibraryRuntime:
    """The text rules as `tokenizer_config.json` has them, if these are BERT's alone.

    Some published folders have a `tokenizer.json` that says otherwise, and
    Hugging Face's BERT tokenizers follow the config.
    """
    normalizer = runtime.parts["normalizer"]
    if normalizer is None or normalizer["type"] != "BertNormalizer":
        return runtime
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    said = {name: config[key] for key, name in names.items() if key in config}
    if normalizer | said == normalizer:
        return runtime
    parts = {**runtime.parts, "normalizer": normalizer | said}
    return LibraryRuntime(json.dumps(parts, ensure_ascii=False, indent=2), runtime.specials)


def as_google(runtime: Runtime) -> GoogleRuntime:
    """The same vocabulary under Google's rules."""
    if runtime.type != "wordpiece":
        raise UserError(f"compat 'google' is for WordPiece; this vocabulary is {runtime.type}")
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


def _read_config(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json`, empty if there is none."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a JSON object")
    return config


def _specials(config: dict[str, Any]) -> Specials | None:
    """How special tokens are written, where the config says it of all five."""
    named = (config.get(f"{name}_token") for name in Specials._fields)
    texts = (token.get("content") if isinstance(token, dict) else token for token in named)
    found = [text for text in texts if isinstance(text, str)]
    return Specials(*found) if len(found) == len(Specials._fields) else None
