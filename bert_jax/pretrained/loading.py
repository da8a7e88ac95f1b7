"""`load`: a model from a folder, whatever wrote it."""

import dataclasses
import logging
from functools import partial
from pathlib import Path

import jax

from bert_jax.errors import UserError
from bert_jax.interop.folders import read_folder
from bert_jax.interop.naming import TITLES, Report, flatten
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained.model import PRETRAINING, Pretrained
from bert_jax.tokenizers import load_tokenizer
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.run_folder import RunFolder, is_run
from bert_jax.training.steps import init_params

_log = logging.getLogger(__name__)


def load(
    folder: str | Path,
    *,
    allow_pickle: bool = False,
    dtype: str = "float32",
    wanted: frozenset[str] | None = None,
) -> Pretrained:
    """The model in a run folder, or one published by Hugging Face or Google.

    What it is, is seen by its content:

    - a run folder: the parameters of its newest checkpoint, or after fine-tuning the best ones;
    - Hugging Face's: a config with safetensors, in one file or several, or with
      pickles (`pytorch_model.bin`) if these are allowed;
    - Google's: a config with a TensorFlow 1 checkpoint and `vocab.txt`;
    - a zip archive of one of the last two.

    Parts that the folder lacks, such as the masked-word head of an encoder alone,
    are initialised and named in a warning. `Pretrained.report` accounts for every
    tensor.

    Args:
      folder: where it is.
      allow_pickle: read weights, and nothing else, from pickles.
      wanted: parts of the model whose absence is worth a warning; if not given, those of
        pretraining, and of a fine-tuned model none.
      dtype: of matrix products and activations, float32 or bfloat16; parameters
        and results are float32.

    Raises:
      UserError: nothing there that can be read, or parts that do not fit together.
    """
    path = Path(folder)
    if is_run(path):
        run = RunFolder(path)
        if "task" not in run.read()["config"]:
            return _load_run(path, dtype)
        if not run.model.is_dir():
            raise UserError(f"{path} holds no model yet; fine-tune it to its first evaluation")
        path = run.model
    found = read_folder(path, allow_pickle=allow_pickle)
    if wanted is None:
        wanted = frozenset() if found.labels else PRETRAINING
    missing = [part for part in found.report.created if part in wanted]
    if missing:
        names = " and no ".join(TITLES[part] for part in missing)
        _log.warning("%s has no %s; what it lacks was initialised", path, names)
    if found.tokenizer is None:
        _log.warning("%s takes ids only: %s", path, found.tokenizer_problem)
    return Pretrained(
        BertForPreTraining(dataclasses.replace(found.config, dtype=dtype)),
        found.params,
        found.tokenizer,
        parts=found.parts,
        labels=found.labels,
        report=found.report,
        tokenizer_problem=found.tokenizer_problem,
        extras=found.extras,
    )


def _load_run(folder: Path, dtype: str) -> Pretrained:
    """The model of a run, with the parameters of its newest checkpoint.

    Raises:
      UserError: nothing saved in it yet.
    """
    # It takes a second to import, and other folders do not need it.
    from bert_jax.training.checkpoint import Checkpoints

    run = RunFolder(folder)
    record = run.read()
    if not run.is_trained:
        raise UserError(f"{folder} holds no checkpoint yet; train it first")
    config, tokenizer = record["config"], load_tokenizer(run.tokenizer)
    if tokenizer.hash != record["tokenizer_hash"]:
        raise UserError(
            f"{run.tokenizer} is tokenizer {tokenizer.hash[:12]}, the model was trained with "
            f"{record['tokenizer_hash'][:12]}"
        )
    settings = BertConfig(
        vocab_size=tokenizer.vocab_size,
        **config["model"] | {"dtype": dtype, "remat": False, "attention": "auto"},
    )
    model = BertForPreTraining(settings)
    shapes = jax.eval_shape(partial(init_params, model), stream_key(0, Stream.INIT))
    params, damage = Checkpoints(run.checkpoints, read_only=True).restore_params(shapes)
    for line in damage:
        _log.warning("%s", line)
    # Without pairs nothing trains the pooler and the head on it.
    parts = PRETRAINING if config["pairs"]["nsp"] else frozenset({"predictions"})
    report = Report(loaded=sorted(flatten(params)))
    return Pretrained(model, params, tokenizer, parts=parts, report=report)
