"""BERT-Base, uncased, phase 1 (128 tokens), Devlin et al. 2018.

  python -m bert_jax.train --config configs/base.py --workdir runs/base
  python -m bert_jax.train --config configs/base.py --workdir runs/base \
      --config.data.source='text:books/*.txt.gz'

The paper's recipe: 1,000,000 steps of 256 sequences, Adam at 1e-4 with linear
warm-up over 10,000 steps, dropout 0.1. Unlike it, all steps are made at 128
tokens (base_512.py has the paper's two phases), and Adam's bias correction is on
(Google's code has none). Its books are not to be had; those of Project Gutenberg
stand for them. TFDS fetches and prepares both data sets, unless TFDS_DATA_DIR
holds them; the second command reads text files instead. Complete; the other
configs are differences on it.

Expect: held-out MLM loss near 1.4 nats (google-research/bert issue 90, for the
published base model). This config has not been run to its end here.
"""

from ml_collections import ConfigDict

from bert_jax.model.sizes import SIZES


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "total_steps": 1_000_000,
            "batch_size": 256,
            "log_every_steps": 100,
            "eval_every_steps": 10_000,
            "checkpoint_every_steps": 1_000,
            "budget_hours": 0.0,  # of training, after which the run ends too; 0 for no such end
            "skip_nonfinite": 0,  # updates to leave out for a NaN or infinite loss, before stopping
            # Parts of the run with values of their own, see base_512.py and training/phases.py.
            "phases": (),
            # A device takes `micro_batch_size` rows at a time (0: all of its own); gradients are
            # added up over the devices in `reduce_dtype`.
            "parallelism": {
                "micro_batch_size": 0,
                "shard_optimizer": False,
                "reduce_dtype": "float32",
            },
            # A corpus that several runs share is a folder or an address (gs://...); an address is
            # copied to `staging`. Without one, each run prepares its own.
            "data": {
                # 800 M words of books, 2,500 M of Wikipedia (Devlin et al. 2018, section 3.1).
                "source": "0.24 tfds#book_text:pg19, 0.76 tfds:wikipedia/20230601.en",
                "corpus": "",
                "staging": "~/.cache/bert_jax",
                "deduplicate": False,
                "scripts": "",
                "segmenter": "",
            },
            # Accents are kept and text is composed (NFC): unlike the published uncased
            # vocabulary, which takes Korean syllables apart. A path names a tokenizer folder
            # to use instead of training one.
            "tokenizer": {
                "path": "",
                "type": "wordpiece",
                "score": "frequency",
                "vocab_size": 30_522,
                "lowercase": True,
                "strip_accents": False,
            },
            "pairs": {
                "seq_len": 128,
                "nsp": True,
                "negatives": "random",
                "short_seq_prob": 0.1,
                "examples_per_row": 1,  # more: so many may share a row, with less padding
            },
            "masking": {
                "rate": 0.15,
                "whole_word": False,
                "max_ngram": 1,
                "ngram_weights": "harmonic",
                "mask_share": 0.8,
                "random_share": 0.1,
            },
            "model": {
                **SIZES["base"],
                "max_positions": 512,
                "num_segments": 2,
                "activation": "gelu",
                "dropout": 0.1,
                # The paper's. At 0.0 an NVIDIA GPU takes flash attention: 15 ms a step less at 128
                # tokens, 64 at 512 (an H100, 65,536 tokens a step).
                "attention_dropout": 0.1,
                "attention": "auto",
                "dtype": "bfloat16",
                "remat": False,  # True: activations are computed twice instead of kept
            },
            "schedule": {"peak_learning_rate": 1e-4, "warmup_steps": 10_000, "power": 1.0},
            "optimizer": {
                "algorithm": "adamw",
                "weight_decay": 0.01,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-6,
                "clip_norm": 1.0,
                "bias_correction": True,
            },
        }
    )
