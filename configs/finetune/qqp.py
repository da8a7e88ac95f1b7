"""QQP: do two questions ask the same?

  python -m bert_jax.finetune --config configs/finetune/qqp.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/qqp.py --config.init=models/bert-base \
      --config.data.train=QQP/train.tsv --config.data.dev=QQP/dev.tsv

Expect: dev accuracy 90.7 %, F1 87.5 % for bert-base-cased (transformers' PyTorch examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/qqp:train"
    config.data.dev = "tfds:glue/qqp:validation"
    config.task = base.classification(
        text="question1",
        pair="question2",
        label="label|is_duplicate",
        classes="not_duplicate,duplicate",
        rename="0=not_duplicate,1=duplicate",
        metrics="accuracy,f1",
    )
    return config
