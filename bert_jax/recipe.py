"""A run: its config, what is built of it, and the text it learns from.

What the commands on a run share: `train` goes on to the steps, `check` to the figures.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import optax

from bert_jax import cli
from bert_jax.config import check_config, load_config, plain
from bert_jax.console import Console, figure
from bert_jax.data.batches import Batches
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.sources import mixture
from bert_jax.data.staging import staged
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import local_rows
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.schedule import make_schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A pretraining run: what a config file holds.

    Attributes:
      seed: decides everything random.
      total_steps: updates to make.
      batch_size: B, rows of the global batch.
      log_every_steps: how often the figures of training are reported, averaged.
      eval_every_steps: how often the held-out documents are evaluated.
      checkpoint_every_steps: how often the run is saved.
      data: of `Text`.
      tokenizer: of `Vocabulary`.
      pairs: of `Pairs`.
      masking: of `Masking`.
      model: of `BertConfig`.
      schedule: of `make_schedule`.
      optimizer: of `make_optimizer`.
    """

    seed: int
    total_steps: int
    batch_size: int
    log_every_steps: int
    eval_every_steps: int
    checkpoint_every_steps: int
    data: dict
    tokenizer: dict
    pairs: dict
    masking: dict
    model: dict
    schedule: dict
    optimizer: dict

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if (name.endswith("_steps") or name == "batch_size") and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; it must lie between 0 and 2147483647")


# Which function each section of a config feeds, and what it gets from elsewhere.
SECTIONS: dict[str, tuple[Callable[..., object], set[str]]] = {
    "data": (Text, set()),
    "tokenizer": (Vocabulary, set()),
    "pairs": (Pairs, set()),
    "masking": (Masking, set()),
    "model": (BertConfig, {"vocab_size"}),
    "schedule": (make_schedule, {"total_steps"}),
    "optimizer": (make_optimizer, {"schedule"}),
}


def parse_run(
    parser: cli.Parser, arguments: list[str]
) -> tuple[argparse.Namespace, Recipe, RunFolder, Console]:
    """Parses the flags of a command on a run: its own and those that name the run.

    Raises:
      UserError: an unknown flag, or a config that is not a recipe.
    """
    parser.add_argument("--config", required=True, metavar="FILE", help="config file, see configs/")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="FOLDER",
        help="run folder (default: runs/NAME of the config)",
    )
    parser.add_argument("--quiet", action="store_true", help="plain lines, no progress bars")
    options, overrides = parser.parse_known_args(arguments)
    config = plain(load_config(options.config, overrides))
    check_config(config, Recipe, SECTIONS)
    run = RunFolder(options.workdir or Path("runs") / Path(options.config).stem)
    return options, Recipe(**config), run, Console(quiet=options.quiet)


class Parts(NamedTuple):
    """What of a run needs no text read.

    Attributes:
      corpus: its folder, which may not be there yet.
      rows: those of a global batch that this host builds.
    """

    text: Text
    corpus: Path
    rows: slice
    pairs: Pairs
    masking: Masking
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    vocabulary: Vocabulary
    model: BertForPreTraining


def build(recipe: Recipe, run: RunFolder, console: Console) -> Parts:
    """Builds what needs no text: first of all, so that a mistake there is reported at once.

    Raises:
      UserError: a recipe that cannot work.
    """
    rows = local_rows(recipe.batch_size)
    text = Text(**recipe.data)
    pairs, masking = Pairs(**recipe.pairs), Masking(**recipe.masking)
    schedule = make_schedule(**recipe.schedule, total_steps=recipe.total_steps)
    optimizer = make_optimizer(schedule, **recipe.optimizer)
    corpus = corpus_of(run, text, console)
    vocabulary = Vocabulary(**recipe.tokenizer)
    if text.corpus and (corpus / "corpus.json").exists() and not vocabulary.path:
        vocabulary = dataclasses.replace(vocabulary, path=str(corpus / "tokenizer"))
    model = BertForPreTraining(BertConfig(vocab_size=vocabulary.size, **recipe.model))
    if pairs.seq_len > model.config.max_positions:
        raise UserError(
            f"pairs.seq_len {pairs.seq_len} is more than model.max_positions "
            f"{model.config.max_positions}; shorten the one or raise the other"
        )
    if pairs.nsp and model.config.num_segments < 2:
        raise UserError("pairs have two segments: set model.num_segments=2 or pairs.nsp=False")
    return Parts(text, corpus, rows, pairs, masking, schedule, optimizer, vocabulary, model)


def corpus_of(run: RunFolder, text: Text, console: Console) -> Path:
    """Where the corpus of a run lies: in its folder, or in one that several share."""
    return staged(text.corpus, Path(text.staging), console) if text.corpus else run.corpus


def prepare_batches(recipe: Recipe, parts: Parts, run: RunFolder, console: Console) -> Batches:
    """Text to tokens, once; tokens to batches, by number.

    Raises:
      UserError: a run folder that belongs to another recipe, bad text.
    """
    text, vocabulary = parts.text, parts.vocabulary
    if not parts.corpus.exists():
        if text.corpus and run.is_trained:
            raise UserError(f"{parts.corpus} is not there; say where it is by data.corpus")
        text.open()
    for change in run.claim(dataclasses.asdict(recipe)):
        console.say(f"changed since the run began: {change}")
    if run.tokenizer.exists():  # perhaps without the corpus, which can be made again
        vocabulary = dataclasses.replace(vocabulary, path=str(run.tokenizer))
    tokenizer, corpus = prepare(parts.corpus, text, vocabulary, console)
    if not run.tokenizer.exists():
        tokenizer.save(run.tokenizer)
    run.record_hashes(tokenizer_hash=tokenizer.hash, corpus_hash=corpus.hash)
    try:
        return Batches(
            corpus,
            tokenizer,
            pairs=parts.pairs,
            masking=parts.masking,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            documents=corpus.train_documents_of(text.names),
            weights=[item.weight for item in mixture(text.source)],
        )
    except UserError:  # the text will be changed, so what was made of it must be made again
        if not run.is_trained:
            run.discard_prepared()
        raise


def epochs_of(recipe: Recipe, batches: Batches) -> list[tuple[str, str]]:
    """How often the run goes through each of its sources, as rows of a table."""
    mixed = batches.mixture
    return [
        ("epochs", f"{figure(count)} of {source.num_examples:,} examples of {item.source}")
        for count, source, item in zip(
            mixed.epochs(recipe.total_steps * recipe.batch_size),
            mixed.sources,
            mixture(recipe.data["source"]),
            strict=True,
        )
    ]
