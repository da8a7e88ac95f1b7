"""KLUE-NER: names in Korean, character by character.

  python -m bert_jax.finetune --config configs/finetune/klue_ner.py \
      --config.init=models/korean-bert

The files are those of github.com/KLUE-benchmark/KLUE. Text is tokenized as in pretraining; a piece
has the tag of its first character, and F1 is of characters. Expect: entity F1 near 83 for
KLUE-BERT-Base (Park et al. 2021). This config has not been run here.
"""

from ml_collections import ConfigDict

from configs.finetune import conll2003


def get_config() -> ConfigDict:
    config = conll2003.get_config()
    config.data.train = "klue-ner-v1.1_train.tsv"
    config.data.dev = "klue-ner-v1.1_dev.tsv"
    config.task.level = "character"
    config.task.max_length = 256
    return config
