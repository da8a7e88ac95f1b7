"""XNLI: inference in 15 languages, with MNLI's examples translated for training.

  python -m bert_jax.finetune --config configs/finetune/xnli.py --config.init=models/multilingual

The files are those of XNLI-MT-1.0 and XNLI-1.0; here in Chinese. For another language change
`data.train` and `task.only`. Expect: accuracy 77.2 % for the multilingual cased BERT-Base on
Chinese (google-research/bert, multilingual.md).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "multinli/multinli.train.zh.tsv"
    config.data.dev = "xnli.dev.tsv"
    config.task = base.classification(
        text="premise|sentence1",
        pair="hypo|sentence2",
        label="label|gold_label",
        only="language=zh",  # where a table has such a column
        classes="entailment,neutral,contradiction",
        rename="contradictory=contradiction",  # as the training files call it
    )
    return config
