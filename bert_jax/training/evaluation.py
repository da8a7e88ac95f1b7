"""How good a model is on documents it was never trained on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from bert_jax.data.batches import Batches
from bert_jax.data.corpus import Corpus
from bert_jax.data.masking import Masking
from bert_jax.data.pairs import Pairs
from bert_jax.data.pipeline import make_dataset
from bert_jax.tokenizers import Tokenizer
from bert_jax.training.metrics import Window, held_out_metrics
from bert_jax.training.parallel import local_rows, rows_at_once, shard_batch
from bert_jax.training.phases import Stage

# The same masks in every evaluation of every run that cuts a corpus into the same pairs,
# whatever its masking recipe, so that figures can be compared: 15 % of the tokens, one by one.
_SEED = 0
_MASKING = Masking(rate=0.15)


def held_out_batches(
    corpus: Corpus, tokenizer: Tokenizer, *, pairs: Pairs, stage: Stage
) -> Batches | None:
    """The batches of an evaluation, None where the corpus is too small to hold a document out.

    They are no larger than what devices take at once in training.
    """
    if not len(corpus.held_out_documents):
        return None
    return Batches(
        corpus,
        tokenizer,
        pairs=pairs,
        masking=_MASKING,
        batch_size=rows_at_once(stage.batch_size, stage.micro_batch_size),
        seed=_SEED,
        documents=[corpus.held_out_documents],
    )


def evaluate(
    eval_step: Callable,
    params: PyTree,
    batches: Batches,
    devices: Sequence[jax.Device],
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """One pass over the held-out documents; see `held_out_metrics` for the figures."""
    rows = local_rows(batches.batch_size)

    def build(number: int) -> dict[str, np.ndarray]:
        return batches.once(number, rows)

    window = Window()
    for batch in make_dataset(build, 0, batches.num_batches_once):
        window.add(eval_step(params, shard_batch(batch, devices)))
        on_batch()
    return held_out_metrics(window.totals())


def describe(metrics: Mapping[str, Any], *, task: str) -> list[tuple[str, str]]:
    """The figures as a table for a person; `task` is that of `Pairs`."""
    rows = [
        ("MLM loss", f"{metrics['mlm_loss']:.3f} nats"),
        ("MLM perplexity", f"{metrics['mlm_perplexity']:.1f}"),
        ("MLM accuracy", f"{metrics['mlm_accuracy']:.1%}"),
    ]
    if "nsp_accuracy" in metrics:
        rows.append(
            (
                f"{task} accuracy",
                f"{metrics['nsp_accuracy']:.1%} ± {metrics['nsp_standard_error']:.1%} "
                f"(always guessing one answer: {metrics['nsp_base_rate']:.1%})",
            )
        )
    return rows
