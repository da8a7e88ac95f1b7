"""What fine-tuning configs have in common: the paper's recipe, for a classification.

Devlin et al. 2018, appendix A.3: 2 to 4 epochs, batches of 16 or 32, 2e-5 to 5e-5, warm-up
over a tenth of the run. Complete but for the examples, which the other configs name, and the
model: --config.init=FOLDER. Any table of your own:

  python -m bert_jax.finetune --config configs/finetune/base.py --config.init=models/bert-base \
      --config.data.train=train.csv --config.task.text=review --config.task.label=stars
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "init": "",  # a folder, anything that bert_jax.load takes
            "seed": 0,
            "epochs": 3.0,
            "batch_size": 32,
            "evaluations_per_epoch": 1,
            "patience": 0,  # evaluations without a better one before the run ends; 0: none
            "log_every_steps": 50,
            "checkpoint_every_steps": 500,
            "skip_nonfinite": 0,  # updates that may be left out because they are not finite
            # Files, or tfds:NAME[/CONFIG][:SPLIT]. Without `dev`, `dev_share` of `train` is
            # held out.
            "data": {
                "train": "",
                "dev": "",
                "other_dev": "",
                "dev_share": 0.1,
                "max_train": 0,  # 0: all
            },
            "task": classification(),
            "model": {
                "dropout": 0.1,
                "attention_dropout": 0.1,
                "classifier_dropout": 0.1,
                "attention": "auto",
                "dtype": "float32",
                "remat": False,
            },
            "schedule": {"peak_learning_rate": 3e-5, "warmup_share": 0.1, "power": 1.0},
            "optimizer": {
                "algorithm": "adamw",
                "weight_decay": 0.01,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-6,
                "clip_norm": 1.0,
                # Without it small data sets fail more often (Mosbach et al. 2021).
                "bias_correction": True,
            },
            "parallelism": {
                "micro_batch_size": 0,
                "shard_optimizer": False,
                "reduce_dtype": "float32",
            },
        }
    )


def classification(**options: str | int) -> ConfigDict:
    """A section `task`; a column may have several names, with | between them."""
    return ConfigDict(
        {
            "kind": "classification",
            "text": "sentence",
            "pair": "",
            "label": "label",
            "columns": "",
            "only": "",
            "classes": "",
            "rename": "",
            "drop": "",
            "metrics": "accuracy",
            "max_length": 128,
            **options,
        }
    )
