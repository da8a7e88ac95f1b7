"""What a run will train on, and what it will take: a look before hours are spent.

python -m bert_jax.check --config configs/tiny.py --workdir runs/tiny
"""

from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import jax
import numpy as np

from bert_jax import cli
from bert_jax.console import Console, duration, figure, size
from bert_jax.data.batches import Batches
from bert_jax.data.readable import LEGEND, examples
from bert_jax.data.sources import mixture
from bert_jax.data.staging import described
from bert_jax.data.statistics import Statistics, measure
from bert_jax.errors import UserError
from bert_jax.recipe import (
    Parts,
    Recipe,
    add_run,
    build,
    epochs_of,
    open_run,
    prepare_text,
    stage_batches,
)
from bert_jax.tokenizers.coverage import LEAST_WORDS, UNKNOWN_SHARE_TO_WARN
from bert_jax.training.memory import step_memory
from bert_jax.training.parallel import describe_devices
from bert_jax.training.phases import Stage
from bert_jax.training.run_folder import RunFolder

_SAMPLE_TOKENS = 1 << 20  # a second's work; shares of masks are then known to 0.1 %
_SCRIPTS = 8  # rows of that table
_BARS = 8  # of the histogram of lengths
_EXAMPLES, _EXAMPLE_WORDS = 10, 40  # to read, and of each segment
_RATES = (1e4, 1e5, 1e6)  # tokens a second: a few cores, a small GPU, a large one

# Of an example, while two epochs are kept and a third is planned: 160 to 190 at 10⁷ sentences.
_PLAN_BYTES = 180
_ROW_BYTES = 32  # more, where rows hold several: who shares a row, of the two epochs that are kept

# What is warned of. The paper's run made about 40 epochs (Devlin et al. 2018, section A.2).
_MOST_PADDING = 0.4
_RANDOM_NEXT = (0.4, 0.75)
_EPOCHS = (1, 40)


def check(
    recipe: Recipe, run: RunFolder, console: Console, *, tokens_per_second: float | None
) -> None:
    """Prepares the run as `train` does, and prints what comes of it.

    Raises:
      UserError: what `train` would refuse, in the same words.
    """
    parts = build(recipe, run, console)
    prepared = prepare_text(recipe, parts, run, console)
    for stage in parts.stages:
        batches = stage_batches(recipe, parts, stage, run, prepared)
        statistics = measure(batches, num_tokens=_SAMPLE_TOKENS)
        if not statistics.predictions:
            raise UserError(
                "nothing is masked: no word is as short as its row's budget; raise masking.rate, "
                "or set masking.whole_word=False"
            )
        if stage.number == 1:
            _show_corpus(console, batches, parts.corpus)
            _show_scripts(console, batches)
        if stage.of > 1:
            console.say(f"\nphase {stage.number} of {stage.of}")
        _show_statistics(console, batches, statistics)
        _show_lengths(console, statistics)
        rates = [tokens_per_second] if tokens_per_second else _RATES
        _show_run(console, parts, stage, batches, statistics, rates=rates)
    _show_examples(console, batches)


def _show_corpus(console: Console, batches: Batches, folder: Path) -> None:
    corpus = batches.corpus
    held_out = len(corpus.held_out_documents)
    _, on_disk = described(str(folder))
    console.table(
        "corpus",
        [
            ("documents", f"{corpus.num_documents:,}"),
            ("held out", f"{held_out:,}" if held_out else "none, too few; no evaluation"),
            ("sentences", f"{corpus.manifest['sentences']:,}"),
            ("tokens", f"{corpus.num_tokens:,}"),
            ("ids", f"all below {batches.tokenizer.vocab_size:,}, the vocabulary"),
            ("unknown tokens", f"{corpus.manifest['unknown'] / corpus.num_tokens:.2%}"),
            ("on disk", f"{size(on_disk)}, {on_disk / corpus.num_tokens:.2f} bytes a token"),
        ],
    )


def _show_scripts(console: Console, batches: Batches) -> None:
    counts = batches.corpus.manifest["scripts"]
    scripts = sorted(counts, key=lambda script: -counts[script]["words"])
    unknown = {script: counts[script]["unknown"] / counts[script]["words"] for script in scripts}
    if scripts:
        rows = [
            [script.title(), f"{counts[script]['words']:,}", f"{unknown[script]:.2%}"]
            for script in scripts[:_SCRIPTS]
        ]
        console.grid(["script", "words", "with [UNK]"], rows)
        console.say()
    for script in scripts:
        if counts[script]["words"] >= LEAST_WORDS and unknown[script] > UNKNOWN_SHARE_TO_WARN:
            console.warn(
                f"{unknown[script]:.1%} of the words in {script.title()} have an [UNK]; "
                "a vocabulary trained on such text would know them"
            )


def _show_statistics(console: Console, batches: Batches, seen: Statistics) -> None:
    pairs, masking, predictions = batches.pairs, batches.masking, seen.predictions
    random_next = seen.random_next / seen.examples
    rows = [
        ("tokens a row", f"{seen.tokens / seen.rows:.1f}", ""),
        ("padding", f"{seen.padding_share:.1%}", "16% at 128 tokens, 46% at 512"),
    ]
    if pairs.examples_per_row > 1:
        rows.append(("examples a row", f"{seen.examples / seen.rows:.2f}", "1"))
    if pairs.task == "SOP":
        rows.append(("exchanged segments", f"{random_next:.1%}", ""))
    elif pairs.nsp:
        rows.append(("random second segments", f"{random_next:.1%}", "57-58%"))
    rows += [
        (
            "predictions, full row",
            f"{masking.max_predictions(pairs.seq_len, pairs.examples_per_row)}",
            "19 of 128 tokens, 77 of 512",
        ),
        ("predictions a row", f"{predictions / seen.rows:.1f}", ""),
        ("of the tokens", f"{predictions / seen.tokens:.1%}", "15%"),
        ("cut off", f"{seen.cut}", "0"),
        ("budget left over", f"{1 - predictions / seen.room:.2%}", "0%, whole words more"),
        ("[MASK]", f"{seen.masked / predictions:.1%}", "80%"),
        ("random token", f"{seen.replaced / predictions:.1%}", "10%"),
        ("kept", f"{seen.kept / predictions:.1%}", "10%"),
        ("pieces inside words", f"{seen.continuing / seen.text:.1%}", ""),
        (
            "of the predictions",
            f"{seen.continuing_predictions / predictions:.1%}",
            "the same, whole words fewer",
        ),
        (
            "words predicted in part",
            f"{seen.words_split / seen.words_hidden:.1%}",
            "whole words 0%",
        ),
    ]
    console.grid([f"{seen.examples:,} examples", "here", "Google's"], rows)
    console.say("(Google's own code, on documents of about 20 sentences)")
    if seen.padding_share > _MOST_PADDING:
        more = "pairs.examples_per_row=8 puts several examples in a row"
        if pairs.examples_per_row > 1:
            more = "so may a larger pairs.examples_per_row"
        console.warn(
            f"{seen.padding_share:.0%} of the batches is padding; a shorter pairs.seq_len "
            f"wastes less, and {more}"
        )
    if pairs.nsp and not _RANDOM_NEXT[0] <= random_next <= _RANDOM_NEXT[1]:
        console.warn(
            f"{random_next:.0%} of the second segments are random ones, 57% is usual; documents "
            "of one or two sentences give more: are the blank lines between documents only?"
        )


def _show_lengths(console: Console, statistics: Statistics) -> None:
    """A histogram."""
    console.say()
    console.say("tokens a row")
    bounds = np.linspace(0, len(statistics.lengths) - 1, _BARS + 1).astype(int).tolist()
    for first, last in pairwise(bounds):
        share = statistics.lengths[first + 1 : last + 1].sum() / statistics.rows
        bar = "#" * round(50 * share)
        console.say(f"  {first + 1:>4} to {last:>4}  {share:6.1%}  {bar}".rstrip())


def _show_run(
    console: Console,
    parts: Parts,
    stage: Stage,
    batches: Batches,
    statistics: Statistics,
    *,
    rates: Sequence[float],
) -> None:
    seq_len = batches.pairs.seq_len
    steps = stage.last_step - stage.first_step
    tokens = steps * stage.batch_size * seq_len
    real = tokens * (1 - statistics.padding_share)
    epochs = batches.mixture.epochs(steps * stage.batch_size)
    num_rows = stage.batch_size // jax.device_count()
    at_once = min(stage.micro_batch_size or num_rows, num_rows)
    batch = batches.batch(stage.first_step, slice(at_once))
    memory = step_memory(parts.model, parts.optimizer, batch)
    if at_once < num_rows:  # those of the rows at hand, and their sum
        memory = memory._replace(gradients=2 * memory.gradients)
    if parts.parallelism.shard_optimizer:
        memory = memory._replace(optimizer=-(-memory.optimizer // jax.device_count()))
    planned = _PLAN_BYTES + (_ROW_BYTES if batches.pairs.examples_per_row > 1 else 0)
    sentences = batches.corpus.sentences
    bounds = sentences.offsets.nbytes + sentences.documents.nbytes
    console.table(
        "the run",
        [
            ("sequence", f"{seq_len} tokens of at most {parts.model.config.max_positions}"),
            ("steps", f"{steps:,} of {stage.batch_size} sequences"),
            ("tokens", f"{tokens:,}, {real:,.0f} of them real"),
            *epochs_of(parts, stage, batches),
            *(("time", f"{duration(tokens / rate)} at {rate:,.0f} tokens/s") for rate in rates),
            (
                "devices",
                f"{describe_devices()}, {num_rows} rows each"
                + (f", {at_once} at a time" if at_once < num_rows else ""),
            ),
            ("parameters", size(memory.parameters)),
            ("optimizer", size(memory.optimizer)),
            ("gradients", size(memory.gradients)),
            ("activations", f"about {size(memory.activations)}"),
            ("memory", f"about {size(sum(memory))} on each device; an estimate"),
            ("planning", f"about {size(bounds + planned * batches.num_examples)} on the host"),
        ],
    )
    if batches.num_rows < stage.batch_size:
        console.warn(
            f"the text fills {batches.num_rows:,} rows, fewer than a batch; lower batch_size or "
            "add text"
        )
    for count, item in zip(epochs, mixture(parts.text.source), strict=True):
        too_few = count < _EPOCHS[0] and stage.of == 1  # phases go on through the text
        if too_few or count > _EPOCHS[1]:
            outcome = "the model sees a part of the text only" if count < 1 else "more may overfit"
            console.warn(
                f"the run makes {figure(count)} epochs of {item.source}, BERT's paper about 40; "
                f"{outcome}"
            )


def _show_examples(console: Console, batches: Batches) -> None:
    console.say(f"examples: {LEGEND}")
    for number, example in enumerate(islice(examples(batches), _EXAMPLES), 1):
        for name, words in zip("AB", example.segments, strict=False):
            shown = words[:_EXAMPLE_WORDS] + ["…"] * (len(words) > _EXAMPLE_WORDS)
            console.flow(f"{number if name == 'A' else '':>4}  {name}  ", shown)
        if batches.pairs.nsp:
            elsewhere = "is from elsewhere" if batches.pairs.task == "NSP" else "comes before A"
            console.say(f"      B {elsewhere if example.random_next else 'follows A'}")


def main(arguments: list[str]) -> None:
    """Parses the command line, checks and prints."""
    parser = cli.Parser(
        "check",
        "Shows what a run will train on and what it will take, beside what is usual, and warns of "
        "what looks wrong. The tokenizer and the corpus are made in the run folder as by train.",
        example="python -m bert_jax.check --config configs/tiny.py --workdir runs/tiny",
    )
    add_run(parser)
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        metavar="N",
        help="to tell the time, as train or benchmark report it, padding included",
    )
    options, overrides = parser.parse_known_args(arguments)
    rate = options.tokens_per_second
    if rate is not None and not rate > 0:
        parser.error(f"--tokens-per-second is {rate:g}; it must be positive")
    recipe, run = open_run(options, overrides)
    console = Console(quiet=options.quiet)
    with run.locked():
        check(recipe, run, console, tokens_per_second=rate)


if __name__ == "__main__":
    cli.run(main)
