"""From raw text to a corpus folder with its tokenizer, made once."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from bert_jax.atomic import locked, write_file
from bert_jax.console import Console
from bert_jax.data.blocks import BLOCK_CHARACTERS, Block, BlockTokenizer, cut_into_blocks
from bert_jax.data.corpus import FORMAT_VERSION, Corpus
from bert_jax.data.corpus_writer import PROGRESS, SHARD_TOKENS, CorpusWriter
from bert_jax.data.documents import Document, OnBytes
from bert_jax.data.segmentation import load_segmenter
from bert_jax.data.sources import Source, mixture, open_source
from bert_jax.data.workers import map_in_order
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.coverage import warnings_of
from bert_jax.tokenizers.scripts import is_in_scripts, parse_scripts
from bert_jax.tokenizers.training import Recipe, train_tokenizer

_JOB = "job.json"
LOCKED = "wait for it or choose another folder"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """What a run reads.

    Attributes:
      source: see `open_source` and `mixture`; empty for all of what `corpus` holds.
      corpus: folder of a corpus that several runs share, made if it is not there; or
        the address of one, such as gs://bucket/corpus; empty for one in the run folder.
      staging: folder that a corpus with an address is copied to, once.
      deduplicate: drops documents equal to an earlier one.
      scripts: keeps only documents in these, such as "HANGUL", see `is_in_scripts`.
      segmenter: function that finds the words to mask whole, see `load_segmenter`.
    """

    source: str
    corpus: str = ""
    staging: str = "~/.cache/bert_jax"
    deduplicate: bool = False
    scripts: str = ""
    segmenter: str = ""

    def __post_init__(self) -> None:
        parse_scripts(self.scripts)
        mixture(self.source)

    @property
    def names(self) -> list[str]:
        """The sources of its mixture."""
        return [item.source for item in mixture(self.source)]

    def open(self) -> list[Source]:
        """The sources, ready to be read.

        Raises:
          UserError: one cannot be, or there is no such segmenter.
        """
        if self.segmenter:
            load_segmenter(self.segmenter)
        return list(map(open_source, self.names))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vocabulary(Recipe):
    """The tokenizer of a run: one that exists, or how to train one.

    Attributes:
      path: a folder to read, see `load_tokenizer`; the rest is then not looked at.
    """

    path: str = ""

    @cached_property
    def size(self) -> int:
        """V."""
        return load_tokenizer(self.path).vocab_size if self.path else self.vocab_size


def prepare(
    folder: Path,
    text: Text,
    vocabulary: Vocabulary,
    console: Console,
    *,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> tuple[Tokenizer, Corpus]:
    """The corpus in `folder` and its tokenizer, both made if they are not there.

    They grow in `folder` + ".building"; where a run was killed, the next one for the
    same job goes on.

    Args:
      folder: corpus folder, read or made.
      text: what to make it of.
      vocabulary: what to copy or train; of a corpus that exists, what it must have
        been made with if it names a path.
      console: shows progress.
      workers: processes that tokenize; if None, as many as there are cores and work for
        them. The result is the same.
      shard_tokens: see `begins_shard`.

    Raises:
      UserError: bad text, another process at the same folder, a corpus that is
        damaged or of another tokenizer.
    """

    def build(building: Path) -> None:
        sources, tokenizer = begin(building, text, vocabulary, console, shard_tokens=shard_tokens)
        _write(
            building, text, sources, tokenizer, console, workers=workers, shard_tokens=shard_tokens
        )

    return make_once(folder, build, text, vocabulary)


def make_once(
    folder: Path, build: Callable[[Path], None], text: Text, vocabulary: Vocabulary
) -> tuple[Tokenizer, Corpus]:
    """The corpus in `folder` and its tokenizer, made by `build` if they are not there.

    Args:
      folder: corpus folder, read or made.
      build: fills the folder it is given, which becomes `folder` only then.
      text: as in `prepare`.
      vocabulary: as in `prepare`.

    Raises:
      UserError: as `prepare` does; and whatever `build` raises.
    """
    if not _is_there(folder):
        with locked(building_of(folder), LOCKED) as lock:
            if _is_there(folder):  # another process has made it meanwhile
                shutil.rmtree(lock.parent)
            else:
                try:
                    build(lock.parent)
                except BaseException:
                    if list(lock.parent.iterdir()) == [lock]:
                        shutil.rmtree(lock.parent)  # nothing to go on with
                    raise
                # First of all, so that a kill here loses nothing, nor lets others in.
                lock.parent.rename(folder)
                for name in (lock.name, _JOB, PROGRESS):
                    (folder / name).unlink(missing_ok=True)
    if not (folder / "tokenizer").exists():
        raise UserError(f"{folder} exists, but holds no corpus; remove it or choose another folder")
    tokenizer = load_tokenizer(vocabulary.path or folder / "tokenizer")
    corpus = Corpus(folder, tokenizer)
    corpus.train_documents_of(text.names)  # which checks the sources
    made, asked = corpus.manifest, recipe_of(text, tokenizer)
    if differing := [name for name in asked if made[name] != asked[name]]:
        listed = ", ".join(f"{name} {made[name]!r}, not {asked[name]!r}" for name in differing)
        raise UserError(
            f"{folder} was prepared with {listed}; ask for the same, or name another folder"
        )
    return tokenizer, corpus


def _is_there(folder: Path) -> bool:
    """Whether there is a corpus; nothing is put in the place of other files."""
    if not folder.exists():
        return False
    if any(folder.iterdir()):
        return True
    folder.rmdir()
    return False


def building_of(folder: Path) -> Path:
    """Where a corpus folder grows."""
    return folder.with_name(folder.name + ".building")


def begin(
    building: Path, text: Text, vocabulary: Vocabulary, console: Console, *, shard_tokens: int
) -> tuple[list[Source], Tokenizer]:
    """What comes before the tokens: the sources, and the tokenizer in its folder.

    Args:
      building: keeps what was begun in it for the same job, and nothing else.
      text: as in `prepare`.
      vocabulary: as in `prepare`.
      console: shows progress.
      shard_tokens: see `begins_shard`.

    Raises:
      UserError: bad text.
    """
    sources = text.open()
    _claim(building, text, vocabulary, sources, shard_tokens)
    return sources, _prepare_tokenizer(building / "tokenizer", text, sources, vocabulary, console)


def _write(
    building: Path,
    text: Text,
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    console: Console,
    *,
    workers: int | None,
    shard_tokens: int,
) -> None:
    """Fills the folder with tokens, from where it stands."""
    writer = CorpusWriter(
        building,
        [source.name for source in sources],
        vocab_size=tokenizer.vocab_size,
        shard_tokens=shard_tokens,
    )
    parts = [part for source in sources for part in source.parts]
    num_bytes = [part.num_bytes for part in parts]
    first = 0 if text.deduplicate else writer.position[0]  # all texts are needed to compare with
    make = partial(
        BlockTokenizer, building / "tokenizer", parse_scripts(text.scripts), text.segmenter
    )
    with (
        closing(writer),
        console.bar(
            "tokenizing", total=sum(num_bytes), initial=sum(num_bytes[:first]), unit="B"
        ) as bar,
    ):
        blocks = _blocks(sources, text, writer.position, bar.update)
        for block, tokenized in map_in_order(
            make, blocks, workers=workers or _num_workers(num_bytes)
        ):
            summary = tokenized.summary
            if not writer.summaries[block.source].counts["tokens"]:  # the first of its source
                for warning in warnings_of(tokenizer, summary.words, summary.unknown_words):
                    console.warn(warning)
            writer.append(block, tokenized)
        writer.finish(recipe_of(text, tokenizer))


def _num_workers(num_bytes: Sequence[int]) -> int:
    """A process for each core, but none that would hardly find something to do."""
    cores = os.cpu_count() or 1
    return min(cores, 1 + sum(num_bytes) // (1 << 24)) if all(num_bytes) else cores


def _blocks(
    sources: Sequence[Source], text: Text, position: tuple[int, int], on_bytes: OnBytes
) -> Iterator[Block]:
    """All blocks from `position` on."""
    seen: set[bytes] | None = set() if text.deduplicate else None
    part_number = 0
    for source_number, source in enumerate(sources):
        for part in source.parts:
            # Earlier parts are read for nothing but what to drop later.
            if part_number >= position[0] or seen is not None:
                documents = part.documents(on_bytes)
                for block in cut_into_blocks(
                    documents, source=source_number, part=part_number, seen=seen
                ):
                    if (part_number, block.number) >= position:
                        yield block
            part_number += 1


def _claim(
    building: Path,
    text: Text,
    vocabulary: Vocabulary,
    sources: Sequence[Source],
    shard_tokens: int,
) -> None:
    """Removes what was begun for another job, whose parts would not fit to this one's."""
    job = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "block_characters": BLOCK_CHARACTERS,
            "shard_tokens": shard_tokens,
            "recipe": [text.deduplicate, text.scripts, text.segmenter],
            "sources": {source.name: [part.version for part in source.parts] for source in sources},
            "vocabulary": dataclasses.asdict(vocabulary),
            "tokenizer_hash": load_tokenizer(vocabulary.path).hash if vocabulary.path else "",
        }
    )
    path = building / _JOB
    if path.exists() and path.read_text() == job:
        return
    path.unlink(missing_ok=True)
    remove_tokens(building)
    shutil.rmtree(building / "tokenizer", ignore_errors=True)
    write_file(path, job)


def remove_tokens(building: Path) -> None:
    """Leaves of what was begun no more than the tokenizer."""
    for path in (building / PROGRESS, building / "corpus.json", *building.glob("*.npy")):
        path.unlink(missing_ok=True)


def recipe_of(text: Text, tokenizer: Tokenizer) -> dict[str, Any]:
    """What the manifest says of how a corpus was made."""
    return {
        "tokenizer_hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "deduplicate": text.deduplicate,
        "scripts_kept": text.scripts,
        "segmenter": text.segmenter,
    }


def _prepare_tokenizer(
    folder: Path,
    text: Text,
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    console: Console,
) -> Tokenizer:
    """The tokenizer in `folder`; if there is none, a copy, or one trained on all of the text."""
    if not folder.exists():
        if vocabulary.path:
            tokenizer = load_tokenizer(vocabulary.path)
        else:
            lines = _lines_of(sources, text, console)
            tokenizer = train_with_progress(lines, vocabulary, console)
        tokenizer.save(folder)
    return load_tokenizer(folder)


def train_with_progress(
    texts: Iterator[str], recipe: Recipe, console: Console, *, workers: int | None = None
) -> Tokenizer:
    """Counts the words of texts and learns a vocabulary of them, under a progress bar."""
    chunks = count_chunks(texts, recipe.cut, workers=workers)
    with console.bar("training vocabulary", total=recipe.vocab_size, unit=" pieces") as bar:
        return train_tokenizer(chunks, recipe, bar.update)


def documents_of(sources: Sequence[Source], what: str, console: Console) -> Iterator[Document]:
    """The documents of sources, under a progress bar."""
    with console.bar(what, total=sum(source.num_bytes for source in sources), unit="B") as bar:
        for source in sources:
            yield from source.documents(bar.update)


def _lines_of(sources: Sequence[Source], text: Text, console: Console) -> Iterator[str]:
    """The lines of all documents in the scripts wanted."""
    scripts = parse_scripts(text.scripts)
    for document in documents_of(sources, "reading text", console):
        if is_in_scripts(document, scripts):
            yield from document
