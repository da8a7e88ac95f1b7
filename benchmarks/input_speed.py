"""The input pipeline of a prepared corpus: how soon the first batch comes, and how fast the others.

python benchmarks/input_speed.py corpora/books

For a figure of one core, pin it there: taskset -c 0 python benchmarks/input_speed.py …
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.batches import Batch, Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.data.pipeline import make_dataset
from bert_jax.tokenizers import load_tokenizer

_LATE_STEP = 900_000  # of the paper's 1,000,000


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _batches(corpus: Corpus, options: argparse.Namespace, seq_len: int) -> Batches:
    return Batches(
        corpus,
        load_tokenizer(options.corpus / "tokenizer"),
        pairs=Pairs(seq_len=seq_len, examples_per_row=options.examples_per_row),
        masking=Masking(whole_word=True),
        batch_size=options.batch,
        seed=0,
        documents=[corpus.train_documents],
    )


def _row(corpus: Corpus, options: argparse.Namespace, seq_len: int) -> list[str]:
    """The figures of one sequence length."""
    made: list[Batches] = []
    planning = _seconds(lambda: made.append(_batches(corpus, options, seq_len)))
    (batches,) = made
    first, late = (_seconds(lambda step=step: batches.batch(step)) for step in (0, _LATE_STEP))
    begun = _batches(corpus, options, seq_len)  # that a run resumes, with nothing made yet
    resuming = _seconds(lambda: begun.batch(_LATE_STEP))
    times, lengths = [], []

    def timed(step: int) -> None:
        batch: Batch = batches.batch(step)
        lengths.append(int(batch["lengths"].sum()))

    for step in range(1, options.steps + 1):
        times.append(_seconds(lambda step=step: timed(step)))
    tokens = options.batch * seq_len
    rate = tokens / statistics.median(times)
    dataset = make_dataset(batches.batch, 1, options.steps + 1)
    through = tokens * options.steps / _seconds(lambda: list(dataset))
    return [
        f"T={seq_len}",
        f"{planning:.1f} s",
        f"{first:.1f} s",
        f"{late:.1f} s",
        f"{resuming:.1f} s",
        f"{rate / 1e6:.1f} M",
        f"{rate / 1e6 * sum(lengths) / (tokens * options.steps):.1f} M",
        f"{through / 1e6:.1f} M",
    ]


def main(arguments: list[str]) -> None:
    """Parses the command line, measures and prints."""
    parser = cli.Parser(
        "benchmarks.input_speed",
        "Times the input pipeline on a prepared corpus, with whole-word masking.",
        example="python benchmarks/input_speed.py corpora/books",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of `prepare`")
    parser.add_argument("--batch", type=int, default=256, metavar="B", help="rows (default: 256)")
    parser.add_argument(
        "--seq-len", type=int, nargs="+", default=[128, 512], metavar="T", help="(default: 128 512)"
    )
    parser.add_argument(
        "--examples-per-row",
        type=int,
        default=1,
        metavar="K",
        help="most examples that share a row (default: 1)",
    )
    parser.add_argument(
        "--steps", type=int, default=100, metavar="N", help="batches (default: 100)"
    )
    options = parser.parse_args(arguments)
    console = Console()
    opened: list[Corpus] = []
    tokenizer = load_tokenizer(options.corpus / "tokenizer")
    seconds = _seconds(lambda: opened.append(Corpus(options.corpus, tokenizer)))
    (corpus,) = opened
    console.say(
        f"{corpus.num_tokens:,} tokens; opened and checked in {seconds:.1f} s; "
        f"{len(os.sched_getaffinity(0))} cores"
    )
    console.grid(
        [
            f"B={options.batch}",
            "planning",
            "first batch",
            f"batch {_LATE_STEP:,}",
            "the same, resumed",
            "tokens/s",
            "real tokens/s",
            "through tf.data",
        ],
        [_row(corpus, options, seq_len) for seq_len in options.seq_len],
    )


if __name__ == "__main__":
    cli.run(main)
