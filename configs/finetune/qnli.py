"""QNLI: does a sentence answer a question?

  python -m bert_jax.finetune --config configs/finetune/qnli.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/qnli.py --config.init=models/bert-base \
      --config.data.train=QNLI/train.tsv --config.data.dev=QNLI/dev.tsv

Expect: dev accuracy 90.7 % for bert-base-cased (transformers' PyTorch examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/qnli:train"
    config.data.dev = "tfds:glue/qnli:validation"
    config.task = base.classification(
        text="question",
        pair="sentence",
        classes="entailment,not_entailment",
    )
    return config
