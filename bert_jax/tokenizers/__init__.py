"""Text to token ids and back, from one folder format."""

from bert_jax.tokenizers.files import Encoding, Tokenizer, load_tokenizer

__all__ = ["Encoding", "Tokenizer", "load_tokenizer"]
