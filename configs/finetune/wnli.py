"""WNLI: what does a pronoun stand for? GLUE's answers are such that guessing is best.

  python -m bert_jax.finetune --config configs/finetune/wnli.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/wnli.py --config.init=models/bert-base \
      --config.data.train=WNLI/train.tsv --config.data.dev=WNLI/dev.tsv

Expect: dev accuracy 56.3 %, that of one answer for all; the paper leaves the task out.
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/wnli:train"
    config.data.dev = "tfds:glue/wnli:validation"
    config.task = base.classification(
        text="sentence1",
        pair="sentence2",
        classes="not_entailment,entailment",
        rename="0=not_entailment,1=entailment",
    )
    config.schedule.peak_learning_rate = 2e-5
    return config
