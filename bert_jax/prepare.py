"""Turns text into a corpus: tokens on disk, once, for any number of runs.

python -m bert_jax.prepare --config configs/base.py --output corpora/wikipedia
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bert_jax import cli
from bert_jax.config import check_arguments, load_config, plain
from bert_jax.console import Console
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.sources import mixture
from bert_jax.data.staging import described, exists, is_remote, publish, staged, workplace
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

_BAR = 40  # characters of the longest bar of the histogram
_EXPORTED_ROWS = 256  # made at a time


def main(arguments: list[str]) -> None:
    """Parses the command line, prepares and reports."""
    parser = cli.Parser(
        "prepare",
        "Trains the vocabulary that a config asks for (or takes the one it names) and writes the "
        "text of its data section as tokens. Killed, the same command goes on where it was. Runs "
        "read the folder by --config.data.corpus=FOLDER.",
        example="python -m bert_jax.prepare --config configs/base.py --output corpora/books "
        "--config.data.source='text:books/*.txt.gz'",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="config file, see configs/")
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="corpus folder to make, or an address such as gs://bucket/corpus (default: the "
        "config's data.corpus)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument(
        "--beam",
        metavar="OPTIONS",
        help="prepare by an Apache Beam pipeline with these options, such as "
        "'--runner=FlinkRunner --flink_master=HOST:PORT'",
    )
    parser.add_argument(
        "--export",
        choices=["tfrecord"],
        help="also write examples with fixed pairs and masks, by the config's pairs and masking, "
        "as create_pretraining_data.py of google-research/bert does: FOLDER/tfrecord-SEQ_LEN",
    )
    parser.add_argument(
        "--dupe-factor",
        type=int,
        default=1,
        metavar="N",
        help="epochs to export, each with new pairs and masks (default: 1)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options, overrides = parser.parse_known_args(arguments)
    config = plain(load_config(options.config, overrides))
    if options.workers is not None and options.workers < 1:
        raise UserError(f"--workers is {options.workers}; it must be at least 1")
    if options.beam is not None and options.workers is not None:
        raise UserError("--workers is of this machine alone; say it to Beam, in --beam")
    if options.beam is not None and options.export:
        raise UserError("--export is done by this machine alone; prepare first, then export")
    text, vocabulary = _section(config, "data", Text), _section(config, "tokenizer", Vocabulary)
    output = options.output or text.corpus
    if not output:
        raise UserError("where to? give --output FOLDER")
    if options.export and is_remote(output):
        raise UserError("--export writes to a folder of this machine; give --output one, or copy")
    console = Console(quiet=options.quiet)

    if options.beam is not None:
        existed = exists(output)
        _load_beam(debug=options.debug)(output, text, vocabulary, options.beam, console)
        _report(console, output, output, existed=existed)
        return
    existed = exists(output)
    staging = Path(text.staging)
    folder = staged(output, staging, console) if existed else workplace(output, staging)
    export = _Export(config, folder, options.dupe_factor) if options.export else None
    tokenizer, corpus = prepare(folder, text, vocabulary, console, workers=options.workers)
    _report(console, output, str(folder), existed=existed)
    if not corpus.num_tokens:
        console.warn("the corpus is empty: its text holds no sentence")
    if export:
        export.write(corpus, tokenizer, text, console)
    if is_remote(output) and not existed:
        publish(folder, output, console)


def _section(config: dict[str, Any], name: str, kind: Any) -> Any:
    """One section of a config, checked."""
    check_arguments(f"config.{name}", config.get(name, {}), kind, set())
    return kind(**config[name])


class _Export:
    """Writes what a run with a config would train on, beside the corpus."""

    def __init__(self, config: dict[str, Any], folder: Path, epochs: int):
        """Checks what can be checked before the corpus is made.

        Raises:
          UserError: pairs or masks that cannot be, no epochs, or a folder that exists.
        """
        # What is compiled takes a second to load, and nothing else here needs it.
        from bert_jax.data.masking import Masking
        from bert_jax.data.pairs import Pairs

        # A reader expects a pair a row. Packed or not, an example has the same tokens and masks.
        self._pairs = dataclasses.replace(_section(config, "pairs", Pairs), examples_per_row=1)
        self._masking = _section(config, "masking", Masking)
        self._seed = config["seed"]
        self._epochs = epochs
        self._folder = folder / f"tfrecord-{self._pairs.seq_len}"
        if epochs < 1:
            raise UserError(f"--dupe-factor is {epochs}; it must be at least 1")
        if self._folder.exists():
            raise UserError(f"{self._folder} exists; remove it to export again")

    def write(self, corpus: Corpus, tokenizer: Tokenizer, text: Text, console: Console) -> None:
        """Writes the files."""
        from bert_jax.data.batches import Batches
        from bert_jax.data.export import export_tfrecord

        batches = Batches(
            corpus,
            tokenizer,
            pairs=self._pairs,
            masking=self._masking,
            batch_size=_EXPORTED_ROWS,
            seed=self._seed,
            documents=corpus.train_documents_of(text.names),
            weights=[item.weight for item in mixture(text.source)],
        )
        count = export_tfrecord(self._folder, batches, epochs=self._epochs, console=console)
        predictions = self._masking.max_predictions(self._pairs.seq_len)
        console.say(
            f"exported {count:,} examples to {self._folder}; read them with max_seq_length "
            f"{self._pairs.seq_len}, max_predictions_per_seq {predictions}"
        )


def _load_beam(*, debug: bool) -> Callable[..., None]:
    """`prepare_with_beam`, with a quieter Beam unless `debug`."""
    if not debug:
        # Tracebacks of workers in this process, which raise the same.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    logging.disable(logging.WARNING)  # that Google's BigQuery is not there
    try:
        from bert_jax.data.beam import prepare_with_beam
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "apache_beam":
            raise
        raise UserError("--beam needs Apache Beam: pip install 'bert_jax[beam]'") from None
    finally:
        logging.disable(logging.NOTSET)
    return prepare_with_beam


def _report(console: Console, output: str, place: str, *, existed: bool) -> None:
    """What is in the corpus that is at a path or address, by the name the user gave it."""
    found, size = described(place)
    num_tokens = found["tokens"]
    dropped = [
        f"{found[name]:,} {what}"
        for name, what in (
            ("duplicates", "equal to an earlier one"),
            ("other_scripts", "in other scripts"),
            ("empty", "without a token"),
        )
        if found.get(name)
    ]
    rows = [
        ("documents", f"{found['documents']:,}"),
        ("dropped", ", ".join(dropped) or "none"),
        ("sentences", f"{found['sentences']:,}"),
        ("tokens", f"{num_tokens:,}"),
        ("unknown tokens", f"{found['unknown'] / max(num_tokens, 1):.2%}"),
        ("characters", f"{found['characters']:,}"),
        ("on disk", f"{size / 1e6:,.1f} MB, {size / max(num_tokens, 1):.2f} bytes a token"),
        *(
            (entry["source"], f"{entry['tokens']:,} tokens in {entry['documents']:,} documents")
            for entry in found["sources"]
            if len(found["sources"]) > 1
        ),
    ]
    console.table(f"{output} was there already" if existed else f"made {output}", rows)
    if found["lengths"]:
        _show_lengths(console, {int(bits): count for bits, count in found["lengths"].items()})


def _show_lengths(console: Console, lengths: dict[int, int]) -> None:
    """How long the documents are, drawn."""
    console.say("documents by length in tokens")
    most = max(lengths.values())
    for bits in range(min(lengths), max(lengths) + 1):
        count = lengths.get(bits, 0)
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        span = f"{2 ** (bits - 1):,} to {2**bits - 1:,}"
        console.say(f"  {span:>21}  {count:>10,}  {bar}")


if __name__ == "__main__":
    cli.run(main)
