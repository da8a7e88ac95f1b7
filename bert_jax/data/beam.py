"""A corpus prepared by many machines: the same bytes, from an Apache Beam pipeline.

    parts -> blocks -> tokens -> shards -> corpus.json

Which shard a block goes to follows from the token counts of all blocks; everything
else is a function of one part, one block or one shard. So it does not matter which
machine does it, or how often: whoever writes a file again writes the same bytes.

Workers read the source at its paths and write to the output, so both must be where
all of them reach it. They share nothing else: the tokenizer travels with the code.
"""

import contextlib
import io
import re
import shlex
import shutil
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.pvalue import AsDict, AsList, AsSingleton

from bert_jax.atomic import locked
from bert_jax.console import Console
from bert_jax.data.blocks import (
    Block,
    BlockTokenizer,
    Summary,
    Tokenized,
    cut_into_blocks,
    fingerprint,
)
from bert_jax.data.corpus import check_manifest, token_type
from bert_jax.data.corpus_writer import (
    SHARD_TOKENS,
    Shard,
    begins_shard,
    write_manifest,
)
from bert_jax.data.preparation import (
    LOCKED,
    Text,
    Vocabulary,
    begin,
    building_of,
    make_once,
    recipe_of,
    remove_tokens,
)
from bert_jax.data.sources import Source
from bert_jax.data.staging import (
    described,
    exists,
    is_remote,
    put,
    remove_unfinished,
    workplace,
)
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.coverage import warnings_of
from bert_jax.tokenizers.scripts import parse_scripts

# Beam takes annotations for types to check, and cannot check a protocol such as `Part`.
_NumberedPart = tuple[int, tuple[int, Any]]  # its number, its source's number, the `Part`
_Position = tuple[int, int]  # of a block: its part, its number in that


def prepare_with_beam(
    output: str,
    text: Text,
    vocabulary: Vocabulary,
    options: str,
    console: Console,
    *,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Makes the corpus that `prepare` would make, if it is not there.

    The vocabulary is trained on this machine. A pipeline that fails leaves nothing that
    looks finished; the next one takes over the tokenizer and begins anew.

    Args:
      output: corpus folder, or its address.
      text: as in `prepare`.
      vocabulary: as in `prepare`.
      options: Beam's, such as "--runner=FlinkRunner --flink_master=HOST:PORT".
      console: shows progress.
      shard_tokens: see `begins_shard`. A worker holds all of a shard: 300 MB by default.

    Raises:
      UserError: as `prepare` does, options that Beam does not take, or an output that
        workers do not share.
    """
    pipeline = _pipeline(options)

    def build(building: Path) -> None:
        sources, tokenizer = begin(building, text, vocabulary, console, shard_tokens=shard_tokens)
        remove_tokens(building)
        files = {path.name: path.read_bytes() for path in (building / "tokenizer").iterdir()}
        if is_remote(output):
            remove_unfinished(output)
            for name in files:
                put(building / "tokenizer" / name, f"{output}/tokenizer/{name}")
        target = output if is_remote(output) else str(building)
        _describe(
            pipeline,
            target=target,
            text=text,
            sources=sources,
            tokenizer=tokenizer,
            tokenizer_files=files,
            shard_tokens=shard_tokens,
        )
        runner = pipeline.options.view_as(StandardOptions).runner or "DirectRunner"
        with console.bar(f"pipeline on {runner}", total=1, unit=" pipeline") as bar:
            _run(pipeline)
            try:
                manifest, _ = described(target)
            except (FileNotFoundError, UserError):
                raise UserError(
                    f"the pipeline ended, but not all of its result is at {output}; give an "
                    "address, or a folder that this machine and all workers share"
                ) from None
            bar.update()
        words, unknown = (
            Counter({script: found[name] for script, found in manifest["scripts"].items()})
            for name in ("words", "unknown")
        )
        for warning in warnings_of(tokenizer, words, unknown):
            console.warn(warning)

    folder = workplace(output, Path(text.staging)).absolute()
    if not is_remote(output):
        make_once(folder, build, text, vocabulary)
        return
    with locked(building_of(folder), LOCKED) as lock:
        if not exists(output):
            build(lock.parent)
        shutil.rmtree(lock.parent)
    if vocabulary.path:
        check_manifest(output, described(output)[0], load_tokenizer(vocabulary.path))


def _pipeline(options: str) -> beam.Pipeline:
    """A pipeline without a step, whose workers log nothing but errors unless told to.

    Raises:
      UserError: what Beam says of them.
    """
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            parsed = PipelineOptions(shlex.split(options))
            parsed.get_all_options()  # which parses them
            workers = parsed.view_as(WorkerOptions)
            workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "ERROR"
            return beam.Pipeline(options=parsed)
    except (SystemExit, ValueError) as error:
        reason = usage.getvalue().strip().rpartition("error: ")[2] or error
        raise UserError(f"--beam {options!r}: {reason}") from None


def _run(pipeline: beam.Pipeline) -> None:
    """Runs it to its end.

    Raises:
      UserError: a worker raised one.
    """
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        # Most runners hand on what a worker raised as the text of its traceback.
        said = f"{type(error).__name__}: {error}"
        if found := re.search(rf"\b{UserError.__name__}: (.+)", said):
            raise UserError(found[1].partition(" [while running")[0]) from error
        raise


def _describe(
    pipeline: beam.Pipeline,
    *,
    target: str,
    text: Text,
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    tokenizer_files: dict[str, bytes],
    shard_tokens: int,
) -> None:
    """Adds all steps to a pipeline.

    Args:
      pipeline: without a step.
      target: folder or address to write to.
      text: says what to leave out.
      sources: what to read.
      tokenizer: of the corpus.
      tokenizer_files: by name, what it is made of.
      shard_tokens: see `begins_shard`.
    """
    numbered = [(number, part) for number, source in enumerate(sources) for part in source.parts]
    parts = pipeline | "Parts" >> beam.Create(list(enumerate(numbered)))
    if text.deduplicate:
        repeated = (
            parts
            | "Fingerprints" >> beam.FlatMap(_fingerprints)
            | "Equal documents" >> beam.GroupByKey()
            | "Repeated" >> beam.FlatMap(_repeated)
        )
        found = {"part": parts, "seen": repeated} | beam.CoGroupByKey()
        blocks = found | "Blocks of new documents" >> beam.FlatMap(_blocks_of_new)
    else:
        blocks = parts | "Blocks" >> beam.FlatMap(_blocks)
    tokenize = _Tokenize(tokenizer_files, parse_scripts(text.scripts), text.segmenter)
    tokenized = blocks | beam.Reshuffle() | "Tokens" >> beam.ParDo(tokenize)
    borders = (
        tokenized
        | "Sizes" >> beam.Map(_size)
        | "All sizes" >> beam.combiners.ToList()
        | "Borders" >> beam.Map(_borders, shard_tokens)
    )
    summaries = (
        tokenized | "Summaries" >> beam.Map(_summary) | "By source" >> beam.CombinePerKey(_total)
    )
    shards = (
        tokenized
        | "Shard of each" >> beam.Map(_with_shard, AsSingleton(borders))
        | "By shard" >> beam.GroupByKey()
        | "Shards" >> beam.Map(_write_shard, target, tokenizer.vocab_size)
    )
    _ = (
        pipeline
        | "End" >> beam.Create([[source.name for source in sources]])
        | "Manifest"
        >> beam.Map(
            _write_manifest,
            target=target,
            recipe=recipe_of(text, tokenizer),
            summaries=AsDict(summaries),
            shards=AsList(shards),
        )
    )


def _fingerprints(numbered: _NumberedPart) -> Iterator[tuple[bytes, int]]:
    """The fingerprint of each document of a part, and the part."""
    number, (_, part) = numbered
    for document in part.documents():
        yield fingerprint(document), number


def _repeated(equal: tuple[bytes, Iterable[int]]) -> Iterator[tuple[int, bytes]]:
    """The parts with a document that stands in an earlier one too, and its fingerprint."""
    digest, numbers = equal
    _, *later = sorted(set(numbers))
    for number in later:
        yield number, digest


def _blocks_of_new(found: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Block]:
    """The blocks of a part without what stands in an earlier one, or before in itself."""
    number, values = found
    ((source, part),) = values["part"]
    return cut_into_blocks(part.documents(), source=source, part=number, seen=set(values["seen"]))


def _blocks(numbered: _NumberedPart) -> Iterator[Block]:
    """The blocks of a part."""
    number, (source, part) = numbered
    return cut_into_blocks(part.documents(), source=source, part=number)


class _Tokenize(beam.DoFn):
    """The tokens of a block with its place and its source."""

    def __init__(self, tokenizer_files: dict[str, bytes], scripts: frozenset[str], segmenter: str):
        self._tokenizer_files = tokenizer_files
        self._scripts = scripts
        self._segmenter = segmenter

    def setup(self) -> None:
        """Loads the tokenizer, once in each process."""
        with TemporaryDirectory() as folder:
            for name, content in self._tokenizer_files.items():
                (Path(folder) / name).write_bytes(content)
            self._tokenize = BlockTokenizer(Path(folder), self._scripts, self._segmenter)

    def process(self, block: Block) -> Iterator[tuple[_Position, int, Tokenized]]:
        """One block."""
        yield (block.part, block.number), block.source, self._tokenize(block)


def _size(found: tuple[_Position, int, Tokenized]) -> tuple[_Position, int]:
    position, _, tokenized = found
    return position, len(tokenized.ids)


def _summary(found: tuple[_Position, int, Tokenized]) -> tuple[int, Summary]:
    _, source, tokenized = found
    return source, tokenized.summary


def _total(summaries: Iterable[Summary]) -> Summary:
    total = Summary()
    for summary in summaries:
        total.add(summary)
    return total


def _borders(sizes: Iterable[tuple[_Position, int]], shard_tokens: int) -> list[_Position]:
    """The first block of each shard but the first one."""
    borders = []
    in_shard = 0
    for position, num_tokens in sorted(sizes):
        if begins_shard(num_tokens, in_shard, shard_tokens):
            borders.append(position)
            in_shard = 0
        in_shard += num_tokens
    return borders


def _with_shard(
    found: tuple[_Position, int, Tokenized], borders: list[_Position]
) -> tuple[int, tuple[_Position, Tokenized]]:
    position, _, tokenized = found
    return bisect(borders, position), (position, tokenized)


def _write_shard(
    found: tuple[int, Iterable[tuple[_Position, Tokenized]]],
    target: str,
    vocab_size: int,
) -> tuple[int, dict[str, Any]]:
    """Writes a shard; returns its number and its entry in the manifest."""
    number, blocks = found
    with TemporaryDirectory() as folder:
        shard = Shard(Path(folder), number, token_type(vocab_size))
        for _, tokenized in sorted(blocks, key=lambda block: block[0]):
            shard.append(tokenized)
        entry = shard.finish()
        for name in entry["files"]:
            put(Path(folder) / name, f"{target}/{name}")
    return number, entry


def _write_manifest(
    sources: list[str],
    *,
    target: str,
    recipe: dict[str, Any],
    summaries: dict[int, Summary],
    shards: list[tuple[int, dict[str, Any]]],
) -> None:
    """Writes `corpus.json`, the last file of all, and the one shard of a corpus without text."""
    entries = dict(shards or [_write_shard((0, []), target, recipe["vocab_size"])])
    found = {name: summaries.get(number, Summary()) for number, name in enumerate(sources)}
    with TemporaryDirectory() as folder:
        write_manifest(Path(folder), recipe, found, [entries[n] for n in sorted(entries)])
        put(Path(folder) / "corpus.json", f"{target}/corpus.json")
