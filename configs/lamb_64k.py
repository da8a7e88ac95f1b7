"""BERT-Large by LAMB in 8,601 steps of up to 65,536 rows: You et al. 2019, as NVIDIA ran it.

  python -m bert_jax.train --config configs/lamb_64k.py --workdir runs/lamb_64k

Two phases with a schedule each: rows of 128 tokens, then of 512. The numbers are
NVIDIA's (DeepLearningExamples, PyTorch BERT, scripts/configs/pretrain_config.sh):
6e-3 over 7,038 steps, 0.2843 of them warm-up, then 4e-3 over 1,563, 0.128 of them;
decay by the square root. The moments are kept from the one to the other. So is
Adam's count of steps, which NVIDIA sets back to 0: a bias correction for the first
step does not suit moments of 7,000 steps.

Expect: final training loss 1.24 to 1.27 nats, SQuAD 1.1 F1 near 90.7 after
fine-tuning (NVIDIA's README; 1.2 hours on 32 DGX A100, and at its 4,591 and 1,657
rows a second on one, 37). This config has not been run to its end here.
"""

from ml_collections import ConfigDict

from configs import large


def get_config() -> ConfigDict:
    config = large.get_config()
    config.total_steps = 8_601
    config.batch_size = 65_536
    config.log_every_steps = 10
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 50
    config.phases = (
        {"steps": 7_038, "seq_len": 128, "micro_batch_size": 64},
        {
            "steps": 1_563,
            "batch_size": 32_768,
            "seq_len": 512,
            "schedule": "restart",
            "moments": "keep",
            "peak_learning_rate": 4e-3,
            "warmup_steps": 200,
        },
    )
    config.schedule.peak_learning_rate = 6e-3
    config.schedule.warmup_steps = 2_000
    config.schedule.power = 0.5
    config.optimizer.algorithm = "lamb"
    # For a device of 80 GB: 16 rows of 512 tokens leave 29 GB of activations by the estimate of
    # `training.memory`, a compiler may need 1.6 times as much, and parameters, moments, gradients
    # and their sum take 7. At 128 tokens 64 rows would fit in half of that.
    config.parallelism.micro_batch_size = 16
    return config
