"""STS-B: how alike are two sentences, 0 to 5?

  python -m bert_jax.finetune --config configs/finetune/stsb.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/stsb.py --config.init=models/bert-base \
      --config.data.train=STS-B/train.tsv --config.data.dev=STS-B/dev.tsv

Expect: dev Pearson and Spearman correlations 88.6 and 88.5 for bert-base-cased
(transformers' PyTorch examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/stsb:train"
    config.data.dev = "tfds:glue/stsb:validation"
    config.task = base.classification(
        text="sentence1",
        pair="sentence2",
        label="label|score",
        metrics="pearson,spearmanr",
    )
    return config
