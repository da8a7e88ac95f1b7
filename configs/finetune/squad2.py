"""SQuAD 2.0: as SQuAD 1.1, where half of the questions have no answer in their paragraph.

  python -m bert_jax.finetune --config configs/finetune/squad2.py --config.init=models/bert-base \
      --config.data.train=train-v2.0.json --config.data.dev=dev-v2.0.json

Expect: dev EM 78.7, F1 81.9 for BERT-Large (Devlin et al. 2018, table 3).
"""

from ml_collections import ConfigDict

from configs.finetune import squad


def get_config() -> ConfigDict:
    config = squad.get_config()
    config.data.train = "train-v2.0.json"
    config.data.dev = "dev-v2.0.json"
    return config
