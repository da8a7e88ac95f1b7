"""BERT-Large with the paper's recipe; see base.py.

python -m bert_jax.train --config configs/large.py --workdir runs/large
"""

from ml_collections import ConfigDict

from bert_jax.model.sizes import SIZES
from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.model.update(SIZES["large"])
    return config
