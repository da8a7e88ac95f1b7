"""KorQuAD 1.0: the answer to a Korean question, as a span of a paragraph.

  python -m bert_jax.finetune --config configs/finetune/korquad.py \
      --config.init=models/korean-bert

Answers end inside words (particles follow them), which a vocabulary without these as pieces
cannot delimit; the run says how many these are. This config has not been run here.
"""

from ml_collections import ConfigDict

from configs.finetune import squad


def get_config() -> ConfigDict:
    config = squad.get_config()
    config.data.train = "KorQuAD_v1.0_train.json"
    config.data.dev = "KorQuAD_v1.0_dev.json"
    return config
