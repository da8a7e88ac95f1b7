"""SQuAD 1.1: the answer to a question, as a span of a paragraph.

  python -m bert_jax.finetune --config configs/finetune/squad.py --config.init=models/bert-base
  python -m bert_jax.finetune --config configs/finetune/squad.py --config.init=models/bert-base \
      --config.data.train=train-v1.1.json --config.data.dev=dev-v1.1.json

google-research/bert's recipe (run_squad.py). Expect: dev EM 80.8, F1 88.5 for BERT-Base
(Devlin et al. 2018, table 2).
"""

from ml_collections import ConfigDict

from configs.finetune import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.train = "tfds:squad:train"
    config.data.dev = "tfds:squad:validation"
    config.task = ConfigDict(
        {
            "kind": "question_answering",
            "max_length": 384,
            "stride": 128,  # how far one window on a paragraph begins after the one before
            "max_question_length": 64,
            "max_answer_length": 30,
            "n_best": 20,
        }
    )
    config.model.classifier_dropout = 0.0  # the original has none there
    config.epochs = 2.0
    return config
