"""Where text comes from: one small interface, `open_source("python_docs")`.

A source yields documents, each a list of paragraphs, always in the same order.
"""

import ast
import glob
import gzip
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from bert_jax.errors import UserError

Document = list[str]
OnBytes = Callable[[int], object]

_KINDS = "python_docs or text:GLOB, e.g. 'text:books/*.txt.gz'"


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
      source: `python_docs` (Python's own documentation, on every machine) or
        `text:GLOB` (see `TextFiles`).

    Raises:
      UserError: an unknown kind, or a pattern that matches no file.
    """
    kind, _, argument = source.partition(":")
    if source == "python_docs":
        return PythonDocs(Path(sysconfig.get_path("stdlib")))
    if kind == "text" and argument:
        return TextFiles(_matching(argument))
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
            f"no file matches {pattern!r}; check --config.data.source=text:GLOB "
            f"(relative to {Path.cwd()})"
        )
    return paths


class TextFiles:
    """Plain UTF-8 files, `.gz` too: a sentence or paragraph a line, a blank line between documents.

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
            for line in _lines(path, on_bytes):
                if line:
                    document.append(line)
                elif document:
                    yield document
                    document = []
            if document:
                yield document


def _lines(path: Path, on_bytes: OnBytes) -> Iterator[str]:
    """The stripped lines of a file, split at line feeds only.

    `str.splitlines` would also split at U+2028, U+0085 and others, which occur
    inside sentences.
    """
    read = decoded = 0
    with path.open("rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            for line in stream:
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path} is not UTF-8: byte {line[error.start]:#04x} at offset "
                        f"{decoded + error.start}"
                        + (" of the unpacked text" if path.suffix == ".gz" else "")
                        + "; convert it, e.g. with iconv"
                    ) from None
                yield text.lstrip("\ufeff").strip()
                decoded += len(line)
                position = raw.tell()
                on_bytes(position - read)
                read = position
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path} is not a whole gzip file ({error}); fetch it again") from None


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
