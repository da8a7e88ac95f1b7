"""Evaluates a pretrained model on the documents of its corpus that it was never trained on.

python -m bert_jax.evaluate --model runs/tiny
"""

import dataclasses
import json
from pathlib import Path

from bert_jax import cli
from bert_jax.console import Console
from bert_jax.data.corpus import Corpus
from bert_jax.data.pairs import Pairs
from bert_jax.data.preparation import Text
from bert_jax.errors import UserError
from bert_jax.pretrained import load
from bert_jax.recipe import Recipe, corpus_of
from bert_jax.training.evaluation import describe, evaluate, held_out_batches
from bert_jax.training.objectives import pretraining
from bert_jax.training.parallel import all_devices, parallel_eval_step, replicate
from bert_jax.training.phases import stage_at
from bert_jax.training.run_folder import RunFolder
from bert_jax.training.steps import make_eval_step


def main(arguments: list[str]) -> None:
    """Parses the command line, evaluates and prints."""
    parser = cli.Parser(
        "evaluate",
        "Evaluates a pretrained model on the held-out documents of its own corpus: masked tokens "
        "(15 %, the same ones every time) and next sentences.",
        example="python -m bert_jax.evaluate --model runs/tiny",
    )
    parser.add_argument("--model", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "--corpus", metavar="FOLDER", help="where the corpus lies now, if not where it was"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)

    run = RunFolder(options.model)
    config = run.read()["config"]
    if "task" in config:
        raise UserError(
            f"{run.path} is fine-tuned; say python -m bert_jax.predict --model {run.path} "
            "--labelled FILE"
        )
    bert = load(options.model, dtype=config["model"]["dtype"])
    console = Console()
    text = Text(**config["data"])
    if options.corpus:
        text = dataclasses.replace(text, corpus=options.corpus)
    corpus = Corpus(corpus_of(run, text, console), bert.tokenizer)
    stage = stage_at(Recipe(**config).stages, run.saved_step or 0)
    pairs = dataclasses.replace(Pairs(**config["pairs"]), seq_len=stage.seq_len)
    batches = held_out_batches(corpus, bert.tokenizer, pairs=pairs, stage=stage)
    if batches is None:
        raise UserError(
            f"the corpus of {run.path} has too few documents to hold one out; nothing to evaluate"
        )
    devices = all_devices()
    eval_step = parallel_eval_step(make_eval_step(pretraining(bert.model)), devices)
    metrics = evaluate(eval_step, replicate(bert.params, devices), batches, devices)

    if options.json:
        console.say(json.dumps(metrics))
    else:
        documents = len(corpus.held_out_documents)
        console.table(
            f"held-out: {documents} documents never trained on", describe(metrics, task=pairs.task)
        )


if __name__ == "__main__":
    cli.run(main)
