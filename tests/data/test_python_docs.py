"""Python's documentation: what is read of it, and that nothing is imported for it."""

import sys
import sysconfig
from pathlib import Path

import pytest

from bert_jax.data.python_docs import PythonDocs
from bert_jax.data.sources import Document, open_source


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small standard library; importing any of it would fail."""
    long = "A sentence of prose. " * 20
    write(tmp_path / "b.py", f'"""B. {long}"""\nraise SystemExit("imported")')
    write(
        tmp_path / "a.py",
        f'''"""A. {long}

        >>> import a
        >>> a.a()

        ======  =====
        Name    Value
        ======  =====
        """
        raise SystemExit("imported")

        class A:
            """Class A."""

            async def method(self):
                """Method of A."""

        def silent():
            return """not a docstring"""
        '''.replace("\n        ", "\n"),
    )
    write(tmp_path / "short.py", '"""Too short to hold a pair."""')
    write(tmp_path / "broken.py", f'"""{long}"""\ndef (:')
    write(tmp_path / "null.py", f'"""{long}"""\n\0')
    write(
        tmp_path / "old.py", f'# -*- coding: latin-1 -*-\n"""Caf\xe9. {long}"""'.encode("latin-1")
    )
    write(tmp_path / "escape.py", f'"""{long} \\d"""')
    for folder in ("test", "a/tests", "idlelib", "turtledemo", "site-packages", "dist-packages"):
        write(tmp_path / folder / "skipped.py", f'"""{long}"""')
    topics = {"while": f"While. {long}", "assert": f"Assert. {long}"}
    write(tmp_path / "pydoc_data" / "topics.py", f"topics = {topics!r}")
    return tmp_path


def first_words(documents: list[Document]) -> list[str]:
    return [document[0].split()[0] for document in documents]


def test_every_module_and_topic_is_a_document(library: Path) -> None:
    documents = list(PythonDocs(library).documents())
    assert first_words(documents) == ["A.", "B.", "A", "Café.", "Assert.", "While."]


def test_docstrings_are_prose_without_sessions_and_rules(library: Path) -> None:
    first = next(iter(PythonDocs(library).documents()))
    assert first[1:] == ["Name    Value", "Class A.", "Method of A."]


def test_all_of_the_library_counts_as_progress(library: Path) -> None:
    source = PythonDocs(library)
    steps: list[int] = []
    list(source.documents(steps.append))
    assert sum(steps) == source.num_bytes


@pytest.fixture(scope="module")
def python_docs() -> tuple[list[Document], set[str]]:
    """This Python's own documentation, and what reading it imported."""
    before = set(sys.modules)
    documents = list(open_source("python_docs").documents())
    return documents, set(sys.modules) - before


def test_python_documents_itself(python_docs: tuple[list[Document], set[str]]) -> None:
    documents, _ = python_docs
    assert len(documents) > 300
    assert sum(len(paragraph) for document in documents for paragraph in document) > 1_000_000
    for document in documents:
        assert document
        assert all(paragraph.strip() and "\n" not in paragraph for paragraph in document)


def test_no_module_is_imported(python_docs: tuple[list[Document], set[str]]) -> None:
    _, imported = python_docs
    assert {name for name in imported if not name.startswith("encodings.")} == set()


def test_documents_come_in_the_same_order_every_time(
    python_docs: tuple[list[Document], set[str]],
) -> None:
    source = open_source("python_docs")
    (part,) = source.parts
    assert isinstance(part, PythonDocs)
    assert part.library == Path(sysconfig.get_path("stdlib"))
    assert part.paths == sorted(part.paths)
    again = source.documents()
    for document in python_docs[0][:40]:
        assert next(again) == document
