"""Python's own documentation as a corpus that every machine has."""

import ast
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

from bert_jax.data.documents import Document, OnBytes


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
        self.version = f"Python {platform.python_version()}, {self.num_bytes} bytes"

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
