"""Vectors of sentences and words, against the raw forward."""

import logging

import numpy as np
import pytest
from model_cases import make_model, make_tokenizer

from bert_jax.errors import UserError
from bert_jax.pretrained import Pretrained

TEXTS = ["I love Paris", "", "We sat on the bank of the river. 나는 파리를 사랑한다.", "Python"]


def _first(tokens: np.ndarray, axis: int) -> np.ndarray:
    return tokens.take(0, axis)


def states(bert: Pretrained, text: str) -> np.ndarray:
    """[L+1 T D] of one text alone."""
    return bert.forward([bert.tokenizer.encode(text).ids]).hidden_states[:, 0]


@pytest.mark.parametrize("layer", [0, 1, -1, -2])
def test_poolings(bert: Pretrained, layer: int) -> None:
    """[CLS] and [SEP] are among the real tokens, as in published sentence vectors."""
    poolings = {"mean": np.mean, "max": np.max, "cls": _first}
    for pooling, pool in poolings.items():
        found = bert.embed(TEXTS, pooling=pooling, layers=layer)
        assert found.dtype == np.float32
        for text, vector in zip(TEXTS, found, strict=True):
            np.testing.assert_allclose(vector, pool(states(bert, text)[layer], axis=0), atol=1e-5)


def test_pooled(bert: Pretrained) -> None:
    for text, vector in zip(TEXTS, bert.embed(TEXTS, pooling="pooled"), strict=True):
        expected = bert.forward([bert.tokenizer.encode(text).ids]).pooled
        np.testing.assert_allclose(vector, expected[0], atol=1e-5)  # type: ignore[index]


def test_layers_and_mixes(bert: Pretrained) -> None:
    means = np.array([states(bert, text).mean(axis=1) for text in TEXTS])  # [n L+1 D]
    for layers, numbers in (("all", [0, 1, 2]), ([-2, -1], [1, 2]), ([2], [2])):
        kept = means[:, numbers]
        np.testing.assert_allclose(bert.embed(TEXTS, layers=layers), kept, atol=1e-5)
        for mix, expected in {
            "sum": kept.sum(axis=1),
            "mean": kept.mean(axis=1),
            "concat": kept.reshape(len(TEXTS), -1),
        }.items():
            found = bert.embed(TEXTS, layers=layers, mix=mix)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normalized(bert: Pretrained) -> None:
    plain, unit = bert.embed(TEXTS), bert.embed(TEXTS, normalize=True)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, plain / lengths, atol=1e-6)


def test_order_and_batches_change_nothing(bert: Pretrained) -> None:
    """Texts of many lengths share batches of like lengths; more than one batch of each."""
    texts = [" ".join(["Paris"] * (number % 50)) for number in range(300)]
    together = bert.embed(texts)
    for number in (0, 1, 49, 150, 299):
        np.testing.assert_allclose(together[number], bert.embed([texts[number]])[0], atol=1e-5)


def test_words(bert: Pretrained) -> None:
    text = "Delicious  pasta! 파리를"
    encoding = bert.tokenizer.encode(text)
    vectors = states(bert, text)[-1]
    for pieces in ("mean", "first"):
        (found,) = bert.words([text], pieces=pieces)
        assert [(word.word, word.start, word.end) for word in found] == [
            ("Delicious", 0, 9),
            ("pasta", 11, 16),
            ("!", 16, 17),
            ("파리를", 18, 21),
        ]
        for number, word in enumerate(found):
            of_word = [place for place, w in enumerate(encoding.word_ids) if w == number]
            expected = vectors[of_word].mean(0) if pieces == "mean" else vectors[of_word[0]]
            np.testing.assert_allclose(word.vector, expected, atol=1e-5)
    assert bert.words([""]) == [[]]
    stacked = bert.words([text], layers="all")[0][0].vector
    assert stacked.shape == (3, 32)


def test_words_of_a_byte_level_vocabulary_have_no_spaces() -> None:
    bert = make_model(make_tokenizer(300, type="byte_bpe"))
    (found,) = bert.words(["I love  Paris, 나는 파리를 "])
    text = "I love  Paris, 나는 파리를 "
    assert [word.word for word in found] == ["I", "love", "Paris", ",", "나는", "파리를"]
    assert [text[word.start : word.end] for word in found] == [word.word for word in found]


def test_texts_longer_than_the_model(bert: Pretrained, caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(f"Paris pasta {number}" for number in range(60))
    encoding = bert.tokenizer.encode(long)
    room = bert.config.max_positions - 2
    pieces = encoding.ids[1:-1]
    windows = [
        bert.forward([[encoding.ids[0], *pieces[start : start + room], encoding.ids[-1]]])
        for start in range(0, len(pieces), room)
    ]
    assert len(windows) > 2
    tokens = np.concatenate([window.hidden_states[-1, 0] for window in windows])
    found = bert.embed(["short", long], too_long="window")
    np.testing.assert_allclose(found[1], tokens.mean(0), atol=1e-5)
    np.testing.assert_allclose(found[0], bert.embed(["short"])[0], atol=1e-5)
    highest = bert.embed([long], too_long="window", pooling="max")[0]
    np.testing.assert_allclose(highest, tokens.max(0), atol=1e-5)

    words = bert.words([long], too_long="window")[0]
    assert [word.word for word in words] == long.split()
    with caplog.at_level(logging.WARNING):
        cut = bert.embed([long, "short"])
    assert "1 of the texts were cut to the model's 64 tokens" in caplog.text
    np.testing.assert_allclose(cut[0], windows[0].hidden_states[-1, 0].mean(0), atol=1e-5)
    assert len(bert.words([long])[0]) < len(words)
    with pytest.raises(UserError, match="truncate it or read it in windows"):
        bert.embed([long], too_long="error")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"pooling": "median"}, "choose from mean, cls, max, pooled"),
        ({"mix": "product"}, "choose from sum, mean, concat"),
        ({"layers": 3}, r"there is no layer 3; the model has 0 \(the embeddings\) to 2"),
        ({"layers": "last"}, "give numbers or 'all'"),
        ({"too_long": "cut"}, "choose from truncate, window, error"),
    ],
)
def test_unknown_arguments(bert: Pretrained, arguments: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        bert.embed(["a"], **arguments)


def test_encode_and_attentions(bert: Pretrained) -> None:
    features = bert.encode(["I love Paris", "Python"], ["It was a great day.", "a snake"])
    assert [len(tokens) for tokens in features.tokens] == features.lengths.tolist()
    (first, _) = bert.tokenizer.encode_batch(["I love Paris", "a"], ["It was a great day.", "b"])
    alone = bert.forward([first.ids], [first.segment_ids], attentions=True)
    length = first.length
    np.testing.assert_allclose(features.layers[:, 0, :length], alone.hidden_states[:, 0], atol=1e-5)
    np.testing.assert_allclose(features.mean[0], alone.hidden_states[-1, 0].mean(0), atol=1e-5)
    np.testing.assert_array_equal(features.cls, features.layers[-1, :, 0])
    assert alone.attentions is not None
    chosen = bert.attentions("I love Paris", "It was a great day.", layers=[-1], heads=[2, 0])
    assert chosen.tokens == first.tokens
    np.testing.assert_allclose(chosen.weights[0], alone.attentions[-1, 0, [2, 0]], atol=1e-5)
