"""A model too small to learn much, to see that everything works: seconds.

python -m bert_jax.train --config configs/debug.py --workdir runs/debug
"""

from ml_collections import ConfigDict

from configs import tiny


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.total_steps = 40
    config.batch_size = 16
    config.log_every_steps = 10
    config.eval_every_steps = 20
    config.checkpoint_every_steps = 10
    config.tokenizer.vocab_size = 2_048
    config.pairs.seq_len = 32
    config.model.num_layers = 1
    config.model.width = 32
    config.schedule.warmup_steps = 10
    return config
