"""BERT-Base, uncased, both phases, Devlin et al. 2018: 128 tokens, then 512; see base.py.

  python -m bert_jax.train --config configs/base_512.py --workdir runs/base_512

The paper's own order (section A.2): 90 % of the steps at 128 tokens, the rest at
512 to learn the positions, under one learning rate and with Adam's moments kept.

Nearly half of a row of 512 is padding (46 % with Google's sampling). With
--config.pairs.examples_per_row=8 pairs share rows and next to none is left; an update
then learns from more pairs, nearly twice as many in the second phase.

Expect: held-out MLM loss near 1.4 nats, see base.py. This config has not been run to
its end here.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.phases = ({"steps": 900_000, "seq_len": 128}, {"steps": 100_000, "seq_len": 512})
    # For a device of 80 GB: 32 rows of 512 tokens leave 22 GB of activations by the estimate of
    # `training.memory`, and a compiler may need 1.6 times as much.
    config.parallelism.micro_batch_size = 32
    return config
