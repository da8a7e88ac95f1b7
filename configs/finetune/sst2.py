"""SST-2: is a film review positive or negative?

  python -m bert_jax.finetune --config configs/finetune/sst2.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/sst2.py --config.init=models/bert-base \
      --config.data.train=SST-2/train.tsv --config.data.dev=SST-2/dev.tsv

Expect: dev accuracy 92 to 93 % for BERT-Base (transformers' PyTorch and Flax examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/sst2:train"
    config.data.dev = "tfds:glue/sst2:validation"
    config.task = base.classification(
        classes="negative,positive",
        rename="0=negative,1=positive",
    )
    return config
