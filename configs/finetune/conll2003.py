"""CoNLL-2003: persons, places, organisations and other names in English news.

  python -m bert_jax.finetune --config configs/finetune/conll2003.py \
      --config.init=models/bert-base-cased
  python -m bert_jax.finetune --config configs/finetune/conll2003.py \
      --config.init=models/bert-base-cased \
      --config.data.train=eng.train --config.data.dev=eng.testa

Take a cased model. Sentences are read alone; with the whole document around them the paper has dev
F1 96.4 for BERT-Base (Devlin et al. 2018, table 7). This config has not been run here.
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:conll2003:train"
    config.data.dev = "tfds:conll2003:dev"
    config.task = tagging()
    return config


def tagging() -> ConfigDict:
    """A section `task`; columns by number or name, the first and the last if they are ""."""
    return ConfigDict(
        {
            "kind": "tagging",
            "max_length": 128,
            "level": "word",
            "token_column": "",
            "tag_column": "",
        }
    )
