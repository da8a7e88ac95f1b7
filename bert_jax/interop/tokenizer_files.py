"""A tokenizer's files as other programs read them, beside a model."""

import json

from bert_jax.model.sizes import BertConfig
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.sentencepiece_export import library_json


def tokenizer_files(tokenizer: Tokenizer, config: BertConfig) -> dict[str, bytes]:
    """The files by name, and what `transformers` must have beside them.

    It has no BERT for a model of SentencePiece, so that is put in the terms of its own library.
    """
    files = tokenizer.files()
    if "spm.model" in files:
        content = library_json(files["spm.model"], tokenizer.runtime.specials)
        files["tokenizer.json"] = content.encode()
    settings = json.loads(files["tokenizer_config.json"])
    settings["model_max_length"] = config.max_positions
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    return {**files, "tokenizer_config.json": text.encode()}
