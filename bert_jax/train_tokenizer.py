"""Trains a subword vocabulary on text files, or compares what the families make of them.

python -m bert_jax.train_tokenizer --type wordpiece --vocab-size 30522 --output vocab book*.txt.gz
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.preparation import documents_of, train_with_progress
from bert_jax.data.sources import text_source
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.coverage import measure, warnings_of
from bert_jax.tokenizers.merges import Score
from bert_jax.tokenizers.normalize import UnicodeForm
from bert_jax.tokenizers.tokenizer import check_replaceable
from bert_jax.tokenizers.training import TYPES, Recipe, train_tokenizer

_HELD_OUT_EVERY = 20  # for --report, every 20th document; every 20th line where they are fewer
_SAMPLE_CHARACTERS = 1 << 21  # of text that is looked at afterwards

# What --report compares, by the names in its table.
_FAMILIES: dict[str, dict[str, Any]] = {
    "WordPiece, likelihood": {"type": "wordpiece", "score": "likelihood"},
    "WordPiece, frequency": {"type": "wordpiece"},
    "BPE": {"type": "bpe"},
    "byte-level BPE": {"type": "byte_bpe"},
    "unigram": {"type": "unigram"},
    "SentencePiece BPE": {"type": "sentencepiece_bpe"},
}


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "train_tokenizer",
        "Trains a subword vocabulary on UTF-8 text (.gz, .zst too). The same text gives the same "
        "vocabulary on any machine, with any number of workers. Text is brought to the Unicode "
        "form NFC, accents are kept; but for byte_bpe it is lower-cased.",
        example="python -m bert_jax.train_tokenizer --type wordpiece --vocab-size 30522 "
        "--output vocab books/*.txt.gz\n  python -m bert_jax.train_tokenizer --report "
        "--vocab-size 30522 books/*.txt.gz",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="text to learn from")
    add("--type", choices=TYPES, help="family: of characters, of bytes, or SentencePiece's")
    add("--vocab-size", type=int, required=True, metavar="N", help="pieces, special ones included")
    add("--output", type=Path, metavar="FOLDER", help="tokenizer folder to write")
    add(
        "--score",
        choices=get_args(Score),
        default="frequency",
        help="which pair WordPiece joins next: the most frequent one, or that with the highest "
        "likelihood gain p(ab) / (p(a) p(b)) (default: %(default)s)",
    )
    add(
        "--min-frequency",
        type=int,
        default=1,
        metavar="N",
        help="never join a pair that occurs less often (default: %(default)s)",
    )
    add("--alphabet-limit", type=int, metavar="N", help="characters to know at most")
    add("--unused", type=int, default=0, metavar="N", help="slots [unused0], [unused1], ...")
    add("--special-token", action="append", default=[], metavar="TOKEN", help="a further one")
    add(
        "--lowercase",
        action=argparse.BooleanOptionalAction,
        help="lower-case the text (default: yes, but for byte_bpe no)",
    )
    add("--strip-accents", action="store_true", help="drop accents; never for Korean")
    add("--unicode-form", choices=get_args(UnicodeForm), help="normal form to bring text to")
    add(
        "--continuation-prefix",
        default="",
        metavar="PREFIX",
        help="what pieces inside a word begin with, for --type bpe (default: nothing)",
    )
    add("--workers", type=int, metavar="N", help="threads that count words (default: all cores)")
    add(
        "--report",
        action="store_true",
        help="train every family, under the same text rules, on all but a part of the text, and "
        "compare them on that",
    )
    add(
        "--compare",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="an existing tokenizer to add to the report",
    )
    add("--quiet", action="store_true", help="no progress bars")
    return parser


def main(arguments: list[str]) -> None:
    """Parses the command line, trains or compares, and prints."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.workers is not None and options.workers < 1:
        parser.error(f"--workers is {options.workers}; it must be at least 1")
    console = Console(quiet=options.quiet)
    if options.report:
        if options.type or options.output:
            parser.error("--report compares all types and saves none; leave out --type, --output")
        for name in ("score", "min_frequency", "alphabet_limit", "continuation_prefix"):
            if getattr(options, name) != parser.get_default(name):
                option = "--" + name.replace("_", "-")
                parser.error(f"--report compares all types, and {option} is of some; leave it out")
        _report(options, console)
    elif options.compare:
        parser.error("--compare goes with --report")
    elif options.type is None or options.output is None:
        parser.error("--type and --output are required, or else --report")
    else:
        _train(options, console)


def _recipe(options: argparse.Namespace, **more: Any) -> Recipe:
    return Recipe(
        vocab_size=options.vocab_size,
        num_unused=options.unused,
        special_tokens=tuple(options.special_token),
        strip_accents=options.strip_accents,
        unicode_form=options.unicode_form,
        **more,
    )


def _train(options: argparse.Namespace, console: Console) -> None:
    """One vocabulary, saved."""
    check_replaceable(options.output)
    recipe = _recipe(
        options,
        type=options.type,
        lowercase=options.lowercase,
        score=options.score,
        min_frequency=options.min_frequency,
        alphabet_limit=options.alphabet_limit,
        continuation_prefix=options.continuation_prefix,
    )
    documents = documents_of([text_source(options.files)], "reading text", console)
    sample: list[str] = []
    lines = _sampling((line for document in documents for line in document), sample)
    tokenizer = train_with_progress(lines, recipe, console, workers=options.workers)
    tokenizer.save(options.output)
    coverage = measure(tokenizer, sample)
    for warning in warnings_of(tokenizer, coverage.words, coverage.unknown):
        console.warn(warning)
    console.say(f"{tokenizer.vocab_size:,} pieces in {options.output}, hash {tokenizer.hash[:12]}")


def _report(options: argparse.Namespace, console: Console) -> None:
    """All families on the same text, side by side on text that none has seen."""
    others = [(folder.name, load_tokenizer(folder)) for folder in options.compare]
    source = text_source(options.files)
    num_documents = sum(1 for _ in source.documents())
    documents = documents_of([source], "reading text", console)
    units: Iterable[Sequence[str]] = documents
    if num_documents < _HELD_OUT_EVERY:
        units = ([line] for document in documents for line in document)
    held_out: list[str] = []
    chunks = count_chunks(_training_lines(units, held_out), "spaces", workers=options.workers)
    if not held_out:
        raise UserError("the text has too few lines to hold any out for the report; add text")
    held_out = _thinned(held_out)
    rows = []
    with console.bar("training", total=len(_FAMILIES), unit=" vocabularies") as bar:
        for name, family in _FAMILIES.items():
            recipe = _recipe(options, lowercase=options.lowercase is not False, **family)
            tokenizer = train_tokenizer(chunks, recipe)
            rows.append(_row(name, tokenizer, held_out))
            bar.update()
    rows += [_row(name, tokenizer, held_out) for name, tokenizer in others]
    size = sum(len(line.encode()) for line in held_out)
    console.say(
        f"held out: {size:,} bytes in {len(held_out):,} lines that none of these was trained on"
    )
    console.grid(
        ["vocabulary", "pieces", "tokens/word", "bytes/token", "words with [UNK]", "words whole"],
        rows,
    )


def _row(name: str, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    coverage = measure(tokenizer, texts)
    return [
        name,
        f"{tokenizer.vocab_size:,}",
        f"{coverage.tokens_per_word:.3f}",
        f"{coverage.bytes_per_token:.3f}",
        f"{coverage.unknown_share:.2%}",
        f"{coverage.whole_share:.1%}",
    ]


def _sampling(lines: Iterable[str], sample: list[str]) -> Iterator[str]:
    """The lines, of which the first are also put into `sample`."""
    room = _SAMPLE_CHARACTERS
    for line in lines:
        if room > 0:
            sample.append(line)
            room -= len(line)
        yield line


def _training_lines(units: Iterable[Sequence[str]], held_out: list[str]) -> Iterator[str]:
    """The lines of all units but every 20th, whose lines are put into `held_out`."""
    for number, unit in enumerate(units, 1):
        if number % _HELD_OUT_EVERY:
            yield from unit
        else:
            held_out.extend(unit)


def _thinned(lines: Sequence[str]) -> list[str]:
    """Evenly spaced lines, about as many as make up a sample."""
    return list(lines[:: 1 + sum(map(len, lines)) // _SAMPLE_CHARACTERS])


if __name__ == "__main__":
    cli.run(main)
