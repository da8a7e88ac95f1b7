"""Where text comes from: one small interface, `open_source("python_docs")`.

A source yields documents, each a list of paragraphs, always in the same order.
"""

import ast
import glob
import json
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from bert_jax.data.files import OnBytes, lines_of
from bert_jax.errors import UserError

Document = list[str]

_KINDS = (
    "python_docs, text:GLOB, jsonl:GLOB or jsonl#FIELD:GLOB, e.g. 'text:books/*.txt.gz' "
    "or 'jsonl#content:web/*.jsonl.zst'"
)


@runtime_checkable
class Source(Protocol):
    """Raw text."""

    num_bytes: int
    """Size on disk, for a progress bar."""

    def documents(self, on_bytes: OnBytes = ...) -> Iterator[Document]:
        """All documents; `on_bytes` is told how many more bytes were read."""


def open_source(source: str) -> Source:
    """The source of that name.

    Args:
      source: `python_docs` (Python's own documentation, on every machine),
        `text:GLOB` (see `TextFiles`), or `jsonl:GLOB` (see `JsonLines`; its text is
        in the field `text`, or by `jsonl#FIELD:GLOB` in another, whose name holds
        no colon). All behind the first colon is the pattern, whatever it holds.

    Raises:
      UserError: an unknown kind, or a pattern that matches no file.
    """
    kind, _, argument = source.partition(":")
    if source == "python_docs":
        return PythonDocs(Path(sysconfig.get_path("stdlib")))
    if kind == "text" and argument:
        return TextFiles(_matching(argument))
    family, _, field = kind.partition("#")
    if family == "jsonl" and argument and (field or kind == "jsonl"):
        return JsonLines(_matching(argument), field or "text")
    if kind == "tfds":
        raise UserError(
            f"data.source {source!r} names a TFDS corpus, which cannot be read yet; "
            "point at text files instead: --config.data.source='text:GLOB'"
        )
    raise UserError(f"unknown data.source {source!r}; use {_KINDS}")


def _matching(pattern: str) -> list[Path]:
    """The files of a pattern, sorted."""
    matches = glob.glob(str(Path(pattern).expanduser()), recursive=True)
    paths = [path for path in sorted(map(Path, matches)) if path.is_file()]
    if not paths:
        raise UserError(
            f"no file matches {pattern!r} (relative to {Path.cwd()}); check --config.data.source"
        )
    return paths


class TextFiles:
    """UTF-8 files, packed ones too: a paragraph or sentence a line, a blank line between documents.

    The end of a file ends its last document (google-research/bert joins files
    that lack a trailing blank line).
    """

    def __init__(self, paths: Sequence[Path]):
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path} is no file")
        self.paths = paths
        self.num_bytes = sum(path.stat().st_size for path in paths)

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time."""
        for path in self.paths:
            document: Document = []
            for line in lines_of(path, on_bytes):
                if line:
                    document.append(line)
                elif document:
                    yield document
                    document = []
            if document:
                yield document


class JsonLines:
    """UTF-8 files of one JSON object a line, packed ones too: each object is a document.

    The lines of one of its fields are the paragraphs; blank ones only part them.
    Objects without text, and blank lines of the file, are passed over.
    """

    def __init__(self, paths: Sequence[Path], field: str):
        self.paths = paths
        self.field = field
        self.num_bytes = sum(path.stat().st_size for path in paths)

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time."""
        for path in self.paths:
            for number, line in enumerate(lines_of(path, on_bytes), start=1):
                if line:
                    text = self._text(line, f"{path}, line {number}")
                    document = [part.strip() for part in text.split("\n") if part.strip()]
                    if document:
                        yield document

    def _text(self, line: str, place: str) -> str:
        """The text of one object, which `place` names in errors."""
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{place} is not JSON: {error.msg} (column {error.colno}); "
                "every line must be one whole object"
            ) from None
        except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
            raise UserError(f"{place} is JSON that Python cannot read: {error}") from None
        if not isinstance(record, dict):
            raise UserError(f"{place} is JSON, but no object like {{{self.field!r}: ...}}")
        if self.field not in record:
            fields = ", ".join(map(repr, record)) or "none"
            raise UserError(
                f"{place} has no field {self.field!r}, only {fields}; "
                "choose another: jsonl#FIELD:GLOB"
            )
        text = record[self.field]
        if not isinstance(text, str):
            raise UserError(
                f"{place}: field {self.field!r} is no string; mend or leave out the line"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{place}: field {self.field!r} holds half a character, the escape "
                f"\\u{ord(text[error.start]):04x} alone; mend or leave out the line"
            ) from None
        return text


class PythonDocs:
    """Python's own documentation: the language reference and the library's docstrings.

    About 1.5 MB of English prose on every machine that runs this. One document
    a topic of `pydoc_data.topics` or a module with docstrings; those too short
    to hold a pair of sentences are left out. Files are parsed, never imported:
    importing the whole library has side effects. The text differs between
    Python versions, so nothing may depend on its hash.
    """

    MIN_CHARACTERS = 300

    # Not documentation: tests, demonstrations, and what pip installs.
    SKIPPED = frozenset(
        {"test", "tests", "idlelib", "turtledemo", "site-packages", "dist-packages"}
    )

    def __init__(self, library: Path):
        self.library = library
        self.paths = sorted(
            path
            for path in library.rglob("*.py")
            if not self.SKIPPED.intersection(path.relative_to(library).parts)
        )
        self.num_bytes = sum(path.stat().st_size for path in self.paths)

    def documents(self, on_bytes: OnBytes = lambda _: None) -> Iterator[Document]:
        """One document at a time."""
        for path in self.paths:
            on_bytes(path.stat().st_size)
            for text in self._texts(path):
                document = _paragraphs(text)
                if sum(map(len, document)) >= self.MIN_CHARACTERS:
                    yield document

    def _texts(self, path: Path) -> list[str]:
        """The topics of the one file that holds them, by name; the docstrings of any other."""
        tree = _parse(path)
        if tree is None:
            return []
        if path == self.library / "pydoc_data" / "topics.py":
            (topics,) = (
                ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
            )
            return [topics[name] for name in sorted(topics)]
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        docstrings = [
            ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)
        ]
        return ["\n\n".join(filter(None, docstrings))]


def _parse(path: Path) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # templates and deliberately broken files
            return None


def _paragraphs(text: str) -> Document:
    """The prose between blank lines, without interpreter sessions and the rules of tables."""
    blocks = (
        " ".join(line.strip() for line in block.splitlines() if any(map(str.isalnum, line)))
        for block in text.split("\n\n")
        if not block.lstrip().startswith(">>>")
    )
    return [block for block in blocks if any(map(str.isalpha, block))]
