"""Masked examples as a person reads them, whatever the vocabulary is made of."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from batch_cases import make_batches, make_documents, make_tokenizer

from bert_jax.data.readable import examples, marked_words
from bert_jax.tokenizers import Tokenizer
from bert_jax.tokenizers.counting import count_chunks
from bert_jax.tokenizers.training import TYPES, Recipe, train_tokenizer

KOREAN = "나는 파리를 사랑한다 그녀는 학교에서 한국어를 배웠다"


def marked(tokenizer: Tokenizer, text: str, changes: dict[int, int]) -> list[str]:
    """The words of a text whose tokens at some places are shown as others."""
    encoding = tokenizer.encode(text)
    ids, word_ids = np.array(encoding.ids[1:-1]), encoding.word_ids[1:-1]
    shown, predicted = ids.copy(), np.zeros(len(ids), bool)
    for place, token_id in changes.items():
        shown[place], predicted[place] = token_id, True
    continues = np.array(word_ids) == np.array([None, *word_ids[:-1]])
    return marked_words(tokenizer, ids=ids, shown=shown, predicted=predicted, continues=continues)


def test_each_way_of_hiding_has_its_mark() -> None:
    tokenizer = make_tokenizer()
    vocab = tokenizer.runtime.vocab
    text = "i love w98 paris w98"  # w98 is w9 ##8
    changes = {
        1: tokenizer.mask_id,
        2: vocab["city"],
        3: tokenizer.mask_id,
        4: vocab["paris"],
        6: vocab["##1"],
    }
    assert marked(tokenizer, text, changes) == [
        "i",
        "[MASK→love]",
        "city→w9[MASK→8]",
        "=paris=",
        "w9##1→8",
    ]
    assert marked(tokenizer, text, {}) == text.split()


@pytest.mark.parametrize("type", TYPES)
def test_korean_is_readable(type: str) -> None:
    size = {"byte_bpe": 262, "unigram": 26}.get(type, 36)
    recipe = Recipe(type=type, vocab_size=size)
    tokenizer = train_tokenizer(count_chunks([KOREAN] * 20, recipe.cut), recipe)
    assert marked(tokenizer, KOREAN, {}) == KOREAN.split()
    num_tokens = len(tokenizer.encode(KOREAN).ids) - 2
    assert num_tokens > len(KOREAN.split())
    hidden = marked(tokenizer, KOREAN, dict.fromkeys(range(num_tokens), tokenizer.mask_id))
    for word, expected in zip(hidden, KOREAN.split(), strict=True):
        # A space before the word may be a piece of its own.
        assert re.sub(r"\[MASK→[▁Ġ]?(.*?)]", r"\1", word) == expected


def test_examples_are_rows_of_training_in_order(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents())
    labels = np.concatenate([batches.batch(step)["nsp_labels"] for step in range(3)])
    found = list(islice(examples(batches), 24))
    assert [example.random_next for example in found] == labels.astype(bool).tolist()
    assert all(len(example.segments) == 2 for example in found)
    num_marks = sum(
        word.count("→") + word.count("=") // 2
        for example in found
        for segment in example.segments
        for word in segment
    )
    assert num_marks == sum(batches.batch(step)["mlm_weights"].sum() for step in range(3))


def test_without_pairs_there_is_one_segment(tmp_path: Path) -> None:
    batches = make_batches(tmp_path / "corpus", make_documents(), nsp=False)
    (example,) = islice(examples(batches), 1)
    assert len(example.segments) == 1
    assert not example.random_next
