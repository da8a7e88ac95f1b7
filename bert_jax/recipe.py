"""A run: its config, what is built of it, and the text it learns from.

What the commands on a run share: `train` goes on to the steps, `check` to the figures.
"""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optax

from bert_jax import cli
from bert_jax.config import check_arguments, check_config, load_config, plain
from bert_jax.console import Console, figure
from bert_jax.data.batches import Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.data.preparation import Text, Vocabulary, prepare
from bert_jax.data.sources import mixture
from bert_jax.data.staging import staged
from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.tokenizers import Tokenizer
from bert_jax.training.optimizer import make_optimizer
from bert_jax.training.parallel import Parallelism, local_rows
from bert_jax.training.phases import Phase, Stage, history, make_stages
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.schedule import make_schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A pretraining run: what a config file holds.

    Attributes:
      seed: decides everything random.
      total_steps: updates to make.
      batch_size: B, rows of the global batch.
      phases: of `Phase` each, one after the other; none for a run that is all alike.
      budget_hours: ends the run after so much time in training, and counts the schedule by
        it; 0 for a run that is counted in steps.
      skip_nonfinite: how many updates may be left out because a loss or the gradient was not
        finite; the next one stops the run.
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
      parallelism: of `Parallelism`.
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
    phases: list = dataclasses.field(default_factory=list)
    budget_hours: float = 0.0
    skip_nonfinite: int = 0
    parallelism: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("budget_hours", "skip_nonfinite"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name, value in vars(self).items():
            if (name.endswith("_steps") or name == "batch_size") and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; it must lie between 0 and 2147483647")
        for number, phase in enumerate(self.phases):
            check_arguments(f"config.phases[{number}]", phase, Phase, set())

    @property
    def stages(self) -> list[Stage]:
        """The phases with their places in the run."""
        return make_stages(
            self.phases,
            total_steps=self.total_steps,
            batch_size=self.batch_size,
            micro_batch_size=Parallelism(**self.parallelism).micro_batch_size,
            seq_len=self.pairs["seq_len"],
            schedule=self.schedule,
        )

    @classmethod
    def history(cls, config: dict[str, Any], step: int) -> list[tuple[int, int, int]]:
        """What a config, plain data, trains on in its first `step` steps."""
        return history(cls(**config).stages, step)


# Which function each section of a config feeds, and what it gets from elsewhere.
SECTIONS: dict[str, tuple[Callable[..., object], set[str]]] = {
    "data": (Text, set()),
    "tokenizer": (Vocabulary, set()),
    "pairs": (Pairs, set()),
    "masking": (Masking, set()),
    "model": (BertConfig, {"vocab_size"}),
    "schedule": (make_schedule, {"total_steps"}),
    "optimizer": (make_optimizer, set()),
    "parallelism": (Parallelism, set()),
}


def defaults_of(
    sections: Mapping[str, tuple[Callable[..., object], set[str]]],
) -> dict[str, dict[str, Any]]:
    """What the keys of each section are where a config lacks them."""
    return {
        name: {
            key: parameter.default
            for key, parameter in inspect.signature(function).parameters.items()
            if key not in given and parameter.default is not parameter.empty
        }
        for name, (function, given) in sections.items()
    }


def add_run(parser: cli.Parser) -> None:
    """The flags that name a run."""
    parser.add_argument("--config", required=True, metavar="FILE", help="config file, see configs/")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="FOLDER",
        help="run folder (default: runs/NAME of the config)",
    )
    parser.add_argument("--quiet", action="store_true", help="plain lines, no progress bars")


def open_run(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[Recipe, RunFolder]:
    """The run that the flags of `add_run` name.

    Args:
      options: the flags.
      overrides: what is left of the command line, `--config.SECTION.KEY=VALUE` each.

    Raises:
      UserError: an unknown flag, or a config that is not a recipe.
    """
    config = plain(load_config(options.config, overrides))
    check_config(config, Recipe, SECTIONS)
    run = RunFolder(options.workdir or Path("runs") / Path(options.config).stem)
    return Recipe(**config), run


class Parts(NamedTuple):
    """What of a run needs no text read.

    Attributes:
      corpus: its folder, which may not be there yet.
      stages: what is trained on, one after the other.
    """

    text: Text
    corpus: Path
    stages: list[Stage]
    pairs: Pairs
    masking: Masking
    optimizer: optax.GradientTransformationExtraArgs
    parallelism: Parallelism
    vocabulary: Vocabulary
    model: BertForPreTraining


def build(recipe: Recipe, run: RunFolder, console: Console) -> Parts:
    """Builds what needs no text: first of all, so that a mistake there is reported at once.

    Raises:
      UserError: a recipe that cannot work.
    """
    parallelism = Parallelism(**recipe.parallelism)
    stages = recipe.stages
    text = Text(**recipe.data)
    pairs, masking = Pairs(**recipe.pairs), Masking(**recipe.masking)
    optimizer = make_optimizer(**recipe.optimizer)
    corpus = corpus_of(run, text, console)
    vocabulary = Vocabulary(**recipe.tokenizer)
    if text.corpus and (corpus / "corpus.json").exists() and not vocabulary.path:
        vocabulary = dataclasses.replace(vocabulary, path=str(corpus / "tokenizer"))
    model = BertForPreTraining(BertConfig(vocab_size=vocabulary.size, **recipe.model))
    for stage in stages:
        local_rows(stage.batch_size, stage.micro_batch_size)  # complains if it is uneven
        dataclasses.replace(pairs, seq_len=stage.seq_len)
        if stage.seq_len > model.config.max_positions:
            raise UserError(
                f"pairs.seq_len {stage.seq_len} is more than model.max_positions "
                f"{model.config.max_positions}; shorten the one or raise the other"
            )
    if recipe.phases and len(stages) < len(recipe.phases):
        console.warn(
            f"the run ends at total_steps={recipe.total_steps:,}, in phase {len(stages)} of "
            f"{len(recipe.phases)}"
        )
    if pairs.nsp and model.config.num_segments < 2:
        raise UserError("pairs have two segments: set model.num_segments=2 or pairs.nsp=False")
    return Parts(text, corpus, stages, pairs, masking, optimizer, parallelism, vocabulary, model)


def corpus_of(run: RunFolder, text: Text, console: Console) -> Path:
    """Where the corpus of a run lies: in its folder, or in one that several share."""
    return staged(text.corpus, Path(text.staging), console) if text.corpus else run.corpus


def prepare_text(
    recipe: Recipe, parts: Parts, run: RunFolder, console: Console
) -> tuple[Tokenizer, Corpus]:
    """Text to tokens, once.

    Raises:
      UserError: a run folder that belongs to another recipe, bad text.
    """
    text, vocabulary = parts.text, parts.vocabulary
    if not parts.corpus.exists():
        if text.corpus and run.is_trained:
            raise UserError(f"{parts.corpus} is not there; say where it is by data.corpus")
        text.open()
    for change in run.claim(dataclasses.asdict(recipe), Recipe.history, defaults_of(SECTIONS)):
        console.say(f"changed since the run began: {change}")
    if run.tokenizer.exists():  # perhaps without the corpus, which can be made again
        vocabulary = dataclasses.replace(vocabulary, path=str(run.tokenizer))
    tokenizer, corpus = prepare(parts.corpus, text, vocabulary, console)
    if not run.tokenizer.exists():
        tokenizer.save(run.tokenizer)
    run.record_hashes(tokenizer_hash=tokenizer.hash, corpus_hash=corpus.hash)
    return tokenizer, corpus


def stage_pairs(parts: Parts, stage: Stage) -> Pairs:
    """How a stage cuts the text."""
    return dataclasses.replace(parts.pairs, seq_len=stage.seq_len)


def stage_batches(
    recipe: Recipe,
    parts: Parts,
    stage: Stage,
    run: RunFolder,
    prepared: tuple[Tokenizer, Corpus],
) -> Batches:
    """Tokens to the batches of a stage, by the number of the step.

    Raises:
      UserError: too little text.
    """
    tokenizer, corpus = prepared
    try:
        return Batches(
            corpus,
            tokenizer,
            pairs=stage_pairs(parts, stage),
            masking=parts.masking,
            batch_size=stage.batch_size,
            seed=recipe.seed,
            documents=corpus.train_documents_of(parts.text.names),
            weights=[item.weight for item in mixture(parts.text.source)],
            first_step=stage.first_step,
            first_example=stage.first_example,
        )
    except UserError:  # the text will be changed, so what was made of it must be made again
        if not run.is_trained:
            run.discard_prepared()
        raise


def epochs_of(parts: Parts, stage: Stage, batches: Batches) -> list[tuple[str, str]]:
    """How often a stage goes through each of its sources, as rows of a table."""
    mixed = batches.mixture
    return [
        (
            "epochs",
            f"{figure(count)} of {source.num_examples:,} examples "
            + (f"in {source.num_rows:,} rows " if parts.pairs.examples_per_row > 1 else "")
            + f"of {item.source}",
        )
        for count, source, item in zip(
            mixed.epochs((stage.last_step - stage.first_step) * stage.batch_size),
            mixed.sources,
            mixture(parts.text.source),
            strict=True,
        )
    ]
