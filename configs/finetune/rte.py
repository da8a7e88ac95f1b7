"""RTE: does one text entail another?

  python -m bert_jax.finetune --config configs/finetune/rte.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/rte.py --config.init=models/bert-base \
      --config.data.train=RTE/train.tsv --config.data.dev=RTE/dev.tsv

Expect: dev accuracy 64 to 70 % for BERT-Base; runs that learn nothing are common, give --seeds 5.
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:glue/rte:train"
    config.data.dev = "tfds:glue/rte:validation"
    config.task = base.classification(
        text="sentence1",
        pair="sentence2",
        classes="entailment,not_entailment",
    )
    config.schedule.peak_learning_rate = 2e-5
    return config
