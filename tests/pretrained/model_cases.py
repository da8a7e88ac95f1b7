"""A small model with random weights and a vocabulary of its own."""

import jax
import numpy as np

from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.training import Recipe, train_tokenizer
from bert_jax.training.steps import init_params

TEXTS = [
    "I love Paris. Paris is the capital of France, and a beautiful city.",
    "She cooked pasta. It was delicious! I accessed the bank account.",
    "We sat on the bank of the river. He got bit by Python, a snake.",
    "Python is my favorite programming language. It was a great day.",
    "나는 파리를 사랑한다. 나는 파리에서 파스타를 먹었다. 아름다운 도시입니다.",
]


def make_tokenizer(vocab_size: int = 200, **recipe: object) -> Tokenizer:
    wanted = Recipe(vocab_size=vocab_size, **recipe)  # type: ignore[arg-type]
    return train_tokenizer(count_chunks(TEXTS, wanted.cut), wanted)


def make_model(tokenizer: Tokenizer, **config: object) -> Pretrained:
    """Parameters five times as wide as usual, so that outputs differ visibly."""
    sizes = {"num_layers": 2, "num_heads": 4, "width": 32, "max_positions": 64} | config
    model = BertForPreTraining(BertConfig(vocab_size=tokenizer.vocab_size, **sizes))  # type: ignore[arg-type]
    params = jax.jit(lambda key: init_params(model, key))(jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.asarray(leaf) * (5 if leaf.ndim == 2 else 1), params)
    return Pretrained(model, params, tokenizer)
