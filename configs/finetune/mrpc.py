"""MRPC: do two sentences mean the same?

  python -m bert_jax.finetune --config configs/finetune/mrpc.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/mrpc.py --config.init=models/bert-base \
      --config.data.train=MRPC/train.tsv --config.data.dev=MRPC/dev.tsv

Expect: dev accuracy 84 to 88 % for BERT-Base (google-research/bert).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/mrpc:train"
    config.data.dev = "tfds:glue/mrpc:validation"
    config.task = base.classification(
        text="sentence1|#1 String",
        pair="sentence2|#2 String",
        label="label|Quality",
        classes="not_equivalent,equivalent",
        rename="0=not_equivalent,1=equivalent",
        metrics="accuracy,f1",
    )
    config.schedule.peak_learning_rate = 2e-5
    return config
