"""Text to token ids and back, from one folder format."""

from bert_jax.tokenizers.files import load_tokenizer
from bert_jax.tokenizers.tokenizer import Encoding, Tokenizer

__all__ = ["Encoding", "Tokenizer", "load_tokenizer"]
