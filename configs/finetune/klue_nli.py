"""KLUE-NLI: does a Korean premise entail a hypothesis, contradict it, or neither?

  python -m bert_jax.finetune --config configs/finetune/klue_nli.py \
      --config.init=models/korean-bert

The files are those of github.com/KLUE-benchmark/KLUE. Expect: accuracy near 81 %
for KLUE-BERT-Base (Park et al. 2021).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "klue-nli-v1.1_train.json"
    config.data.dev = "klue-nli-v1.1_dev.json"
    config.task = base.classification(
        text="premise",
        pair="hypothesis",
        label="gold_label|label",
        classes="entailment,neutral,contradiction",
    )
    return config
