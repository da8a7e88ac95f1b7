"""MNLI: does a premise entail a hypothesis, contradict it, or neither?

  python -m bert_jax.finetune --config configs/finetune/mnli.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/mnli.py --config.init=models/bert-base \
      --config.data.train=MNLI/train.tsv --config.data.dev=MNLI/dev_matched.tsv

Expect: dev accuracy 83.9 % matched, 84.1 % mismatched for bert-base-cased
(transformers' PyTorch examples).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/mnli:train"
    config.data.dev = "tfds:glue/mnli:validation_matched"
    config.data.other_dev = "tfds:glue/mnli:validation_mismatched"
    config.task = base.classification(
        text="premise|sentence1",
        pair="hypothesis|sentence2",
        label="label|gold_label",
        classes="entailment,neutral,contradiction",
        drop="-",
    )
    return config
