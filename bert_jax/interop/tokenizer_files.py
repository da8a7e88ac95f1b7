"""A tokenizer's files as other programs read them, beside a model."""

import json

from bert_jax.model.sizes import BertConfig
from bert_jax.tokenizers import Tokenizer


def tokenizer_files(tokenizer: Tokenizer, config: BertConfig) -> dict[str, bytes]:
    """The files by name, with what `transformers` must know beside them."""
    files = tokenizer.files()
    settings = json.loads(files["tokenizer_config.json"])
    settings["model_max_length"] = config.max_positions
    content = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    return {**files, "tokenizer_config.json": content.encode()}
