"""CoLA: is an English sentence grammatical?

  python -m bert_jax.finetune --config configs/finetune/cola.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/cola.py --config.init=models/bert-base \
      --config.data.train=CoLA/train.tsv --config.data.dev=CoLA/dev.tsv

Expect: dev Matthews correlation 56.5 for bert-base-cased (transformers' PyTorch examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/cola:train"
    config.data.dev = "tfds:glue/cola:validation"
    config.task = base.classification(
        columns="source,label,star,sentence",
        classes="unacceptable,acceptable",
        rename="0=unacceptable,1=acceptable",
        metrics="matthews_correlation",
    )
    return config
