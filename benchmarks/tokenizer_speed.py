"""Training vocabularies and encoding a corpus, timed against the `tokenizers` library in pairs.

python benchmarks/tokenizer_speed.py --tokenizer FOLDER novels.txt.gz

Both read the same plain file on the same cores, in turn. Printed are the medians
and the median of the paired ratios: theirs by ours, so above 1 is faster here.
"""

import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.sentences import split_sentences
from bert_jax.data.sources import text_source
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer, load_tokenizer
from bert_jax.tokenizers.corpus_encoder import CorpusEncoder
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.runtime import Specials
from bert_jax.tokenizers.training import Recipe, train_tokenizer

_LINES = 5_000  # encoded in one call


def _ours(path: Path, recipe: Recipe) -> None:
    lines = (line for document in text_source([path]).documents() for line in document)
    train_tokenizer(count_chunks(lines, recipe.cut), recipe)


def _theirs(path: Path, recipe: Recipe) -> None:
    wordpiece = recipe.type == "wordpiece"
    model, trainer = (
        (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer)
        if wordpiece
        else (models.BPE(unk_token="[UNK]"), trainers.BpeTrainer)
    )
    runtime = tokenizers.Tokenizer(model)
    runtime.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.BertNormalizer(strip_accents=False)]
    )
    runtime.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    runtime.train(
        [str(path)],
        trainer(vocab_size=recipe.vocab_size, special_tokens=list(Specials()), show_progress=False),
    )


def _encode_ours(tokenizer: Tokenizer, lines: list[str]) -> list[np.ndarray]:
    encoder = CorpusEncoder(tokenizer)  # knows no word yet
    return [encoder.encode(batch).ids for batch in _batches(lines)]


def _encode_theirs(runtime: tokenizers.Tokenizer, lines: list[str]) -> list[list[int]]:
    return [
        encoding.ids
        for batch in _batches(lines)
        for encoding in runtime.encode_batch(batch, add_special_tokens=False)
    ]


def _batches(lines: list[str]) -> Iterator[list[str]]:
    return (lines[first : first + _LINES] for first in range(0, len(lines), _LINES))


def _compare(
    console: Console, what: str, ours: Callable[[], object], theirs: Callable[[], object], runs: int
) -> list[str]:
    """A row of the table: medians and paired ratios of so many runs, after one that warms up."""
    times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    ours()
    with console.bar(what, total=2 * runs, unit=" runs") as bar:
        for _ in range(runs):
            for side, taken in times.items():
                begin = time.perf_counter()
                side()
                taken.append(time.perf_counter() - begin)
                bar.update()
    ratios = [b / a for a, b in zip(times[ours], times[theirs], strict=True)]
    return [
        what,
        f"{statistics.median(times[ours]):.2f} s",
        f"{statistics.median(times[theirs]):.2f} s",
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
    ]


def main(arguments: list[str]) -> None:
    """Parses the command line, times and prints."""
    parser = cli.Parser(
        "tokenizer_speed",
        "Times vocabulary training and corpus encoding against the tokenizers library.",
        example="python benchmarks/tokenizer_speed.py --tokenizer vocab novels.txt.gz",
    )
    parser.add_argument("file", type=Path, help="text, .gz too")
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="WordPiece to encode with")
    parser.add_argument("--megabytes", type=float, default=23.0, help="of the text (%(default)s)")
    parser.add_argument("--vocab-size", type=int, default=30_522, help="(%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="pairs (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.file.is_file():
        raise UserError(f"{options.file} is no file")

    console = Console()
    open_file = gzip.open if options.file.suffix == ".gz" else open
    with open_file(options.file, "rb") as file, tempfile.TemporaryDirectory() as folder:
        text = file.read(int(1e6 * options.megabytes)).decode(errors="ignore")
        path = Path(folder) / "text.txt"
        path.write_text(text, encoding="utf-8")
        rows = []
        for name, family in {
            "train WordPiece, frequency": {"type": "wordpiece", "score": "frequency"},
            "train WordPiece, likelihood": {"type": "wordpiece", "score": "likelihood"},
            "train BPE": {"type": "bpe"},
        }.items():
            recipe = Recipe(vocab_size=options.vocab_size, **family)
            rows.append(
                _compare(
                    console,
                    name,
                    lambda recipe=recipe: _ours(path, recipe),
                    lambda recipe=recipe: _theirs(path, recipe),
                    options.runs,
                )
            )
    if options.tokenizer:
        lines = [sentence for line in text.split("\n") for sentence in split_sentences(line)]
        tokenizer = load_tokenizer(options.tokenizer)
        runtime = tokenizers.Tokenizer.from_file(str(options.tokenizer / "tokenizer.json"))
        runtime.no_truncation()
        runtime.no_padding()
        runtime.encode_special_tokens = True
        ids = np.concatenate(_encode_ours(tokenizer, lines))
        expected = np.concatenate(
            [np.array(line, np.int64) for line in _encode_theirs(runtime, lines)]
        )
        if not np.array_equal(ids, expected):
            raise UserError("the ids differ")
        console.say(f"ids of {len(lines):,} sentences, {len(ids):,} tokens: equal")
        rows.append(
            _compare(
                console,
                "encode a corpus",
                lambda: _encode_ours(tokenizer, lines),
                lambda: _encode_theirs(runtime, lines),
                options.runs,
            )
        )
    console.grid(["", "ours", "tokenizers", "ratio", "of all pairs"], rows)


if __name__ == "__main__":
    cli.run(main)
