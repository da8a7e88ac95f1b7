"""Turns text into a corpus: tokens on disk, once, for any number of runs.

python -m bert_jax.prepare --config configs/base.py --output corpora/wikipedia
"""

import re
from pathlib import Path
from typing import Any

from bert_jax import cli
from bert_jax.config import check_arguments, load_config, plain
from bert_jax.console import Console
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.sources import mixture
from bert_jax.data.staging import exists, is_remote, publish, staged
from bert_jax.errors import UserError
from bert_jax.tokenizers import Tokenizer

_BAR = 40  # characters of the longest bar of the histogram


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
    text, vocabulary = _section(config, "data", Text), _section(config, "tokenizer", Vocabulary)
    output = options.output or text.corpus
    if not output:
        raise UserError("where to? give --output FOLDER")
    console = Console(quiet=options.quiet)

    folder = _local(output, text, console)
    existed = (folder / "corpus.json").exists()
    tokenizer, corpus = prepare(folder, text, vocabulary, console, workers=options.workers)
    _report(console, f"{output} was there already" if existed else f"made {output}", folder, corpus)
    if options.export:
        epochs = options.dupe_factor
        name = _export(folder, config, corpus, tokenizer, console, epochs=epochs)
        console.say(f"exported to {output}/{name}")
    if is_remote(output):
        publish(folder, output, console)


def _section(config: dict[str, Any], name: str, kind: Any) -> Any:
    """One section of a config, checked."""
    check_arguments(f"config.{name}", config.get(name, {}), kind, set())
    return kind(**config[name])


def _export(
    folder: Path,
    config: dict[str, Any],
    corpus: Corpus,
    tokenizer: Tokenizer,
    console: Console,
    *,
    epochs: int,
) -> str:
    """Writes what a run with this config would train on; returns the name of the folder."""
    # What is compiled and TensorFlow take seconds to load, and nothing else here needs them.
    from bert_jax.data.batches import Batches
    from bert_jax.data.export import export_tfrecord
    from bert_jax.data.masking import Masking
    from bert_jax.data.pairs import Pairs

    sources = mixture(config["data"]["source"])
    batches = Batches(
        corpus,
        tokenizer,
        pairs=_section(config, "pairs", Pairs),
        masking=_section(config, "masking", Masking),
        batch_size=config["batch_size"],
        seed=config["seed"],
        documents=corpus.train_documents_of([item.source for item in sources]),
        weights=[item.weight for item in sources],
    )
    name = f"tfrecord-{batches.pairs.seq_len}"
    export_tfrecord(folder / name, batches, epochs=epochs, console=console)
    return name


def _local(output: str, text: Text, console: Console) -> Path:
    """Where to prepare what goes to `output`: there, or in the staging folder if it is remote."""
    if not is_remote(output):
        return Path(output).expanduser()
    if exists(output):
        return staged(output, Path(text.staging), console)
    name = re.sub(r"[^\w.-]+", "-", output)
    return Path(text.staging).expanduser() / f"prepared-{name}"


def _report(console: Console, title: str, folder: Path, corpus: Corpus) -> None:
    """What is in the corpus."""
    found = corpus.manifest
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
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
        ("documents", f"{corpus.num_documents:,}"),
        ("dropped", ", ".join(dropped) or "none"),
        ("sentences", f"{found['sentences']:,}"),
        ("tokens", f"{corpus.num_tokens:,}"),
        ("unknown tokens", f"{found['unknown'] / max(corpus.num_tokens, 1):.2%}"),
        ("characters", f"{found['characters']:,}"),
        ("on disk", f"{size / 1e6:,.1f} MB, {size / max(corpus.num_tokens, 1):.2f} bytes a token"),
        *(
            (entry["source"], f"{entry['tokens']:,} tokens in {entry['documents']:,} documents")
            for entry in found["sources"]
            if len(found["sources"]) > 1
        ),
    ]
    console.table(title, rows)
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
