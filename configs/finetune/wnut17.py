"""WNUT-17: rare and new names in what people write on the web.

  python -m bert_jax.finetune --config configs/finetune/wnut17.py \
      --config.init=models/bert-base-cased

The files are those of github.com/leondz/emerging_entities_17. Expect: F1 far below that of news;
the best system of the shared task had 41.9 on the test part (Derczynski et al. 2017).
"""

from ml_collections import ConfigDict

from configs.finetune import conll2003


def get_config() -> ConfigDict:
    config = conll2003.get_config()
    config.data.train = "wnut17train.conll"
    config.data.dev = "emerging.dev.conll"
    config.schedule.peak_learning_rate = 5e-5
    return config
