"""NSMC: is a Korean film review positive or negative?

  python -m bert_jax.finetune --config configs/finetune/nsmc.py --config.init=models/korean-bert \
      --config.data.train=ratings_train.txt --config.data.dev=ratings_test.txt

The files are those of github.com/e9t/nsmc. Expect: accuracy 90.1 % for KoBERT, 87.5 % for the
multilingual BERT-Base (the README of SKT's KoBERT).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "ratings_train.txt"
    config.data.dev = "ratings_test.txt"
    config.task = base.classification(
        text="document",
        classes="negative,positive",
        rename="0=negative,1=positive",
    )
    return config
