"""Guesses for [MASK], and the likelihood of texts, against the raw forward."""

import numpy as np
import pytest
from model_cases import make_model, make_tokenizer

from bert_jax.errors import UserError
from bert_jax.pretrained import Pretrained


def probabilities(bert: Pretrained, ids: list[int]) -> np.ndarray:
    """[T V], by softmax of the raw scores."""
    logits = bert.forward([ids]).mlm_logits
    assert logits is not None
    scores = np.exp(logits[0] - logits[0].max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def test_several_masks(bert: Pretrained) -> None:
    text = "Paris is the [MASK] of [MASK]."
    ids = bert.tokenizer.encode(text).ids
    masks = [place for place, token in enumerate(ids) if token == bert.tokenizer.mask_id]
    expected = probabilities(bert, ids)
    for place, guesses in zip(masks, bert.fill_mask(text, top_k=4), strict=True):
        best = np.argsort(-expected[place])[:4]
        assert [guess.token_id for guess in guesses] == best.tolist()
        assert [guess.token for guess in guesses] == [bert.tokenizer.token(i) for i in best]
        found = [guess.probability for guess in guesses]
        np.testing.assert_allclose(found, expected[place, best], rtol=1e-4)


def test_targets_keep_their_probabilities(bert: Pretrained) -> None:
    text = "Paris is the [MASK]."
    (everything,) = bert.fill_mask(text, top_k=200)
    by_token = {guess.token: guess.probability for guess in everything}
    piece = next(token for token in bert.tokenizer.runtime.vocab if token.startswith("##"))
    (guesses,) = bert.fill_mask(text, targets=["paris", piece, "paris", "Python"])
    assert {guess.token for guess in guesses} == {"paris", piece, "python"}
    for guess in guesses:
        assert guess.probability == pytest.approx(by_token[guess.token], rel=1e-5)
    assert len(bert.fill_mask(text, targets=["paris", piece], top_k=1)[0]) == 1


def test_a_target_is_the_word_as_it_stands_in_a_text() -> None:
    """Byte-level vocabularies have another piece for it inside a word."""
    bert = make_model(make_tokenizer(320, type="byte_bpe"))
    vocab = bert.tokenizer.runtime.vocab
    # Of ASCII, for the bytes of other letters are written as something else.
    both = (piece[1:] for piece in vocab if piece[0] == "Ġ" and piece[1:] in vocab)
    word = min(word for word in both if word.isascii())
    (guesses,) = bert.fill_mask(f"a{bert.tokenizer.runtime.specials.mask}", targets=[word])
    assert [guess.token for guess in guesses] == [f"Ġ{word}"]


def test_special_tokens_in_a_text_are_not_scored(bert: Pretrained) -> None:
    (found,) = bert.pseudo_log_likelihood(["Paris [MASK] [SEP] pasta [PAD]"])
    assert set(found.tokens).isdisjoint({"[CLS]", "[SEP]", "[MASK]", "[PAD]"})
    assert found.tokens


def test_many_texts_in_their_order(bert: Pretrained) -> None:
    texts = ["[MASK] " + "Paris " * count for count in (9, 1, 30, 3)]
    together = bert.fill_masks(texts, top_k=1)
    alone = [bert.fill_mask(text, top_k=1) for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one[0][0].token == other[0][0].token
        assert one[0][0].probability == pytest.approx(other[0][0].probability, rel=1e-4)


def test_pseudo_log_likelihood_masks_each_token_in_turn(bert: Pretrained) -> None:
    text = "I love Paris"
    ids = bert.tokenizer.encode(text).ids
    expected = []
    for place in range(1, len(ids) - 1):
        masked = [*ids[:place], bert.tokenizer.mask_id, *ids[place + 1 :]]
        expected.append(np.log(probabilities(bert, masked)[place, ids[place]]))
    (found, empty) = bert.pseudo_log_likelihood([text, ""])
    assert found.tokens == bert.tokenizer.encode(text).tokens[1:-1]
    np.testing.assert_allclose(found.log_probabilities, expected, rtol=1e-4)
    assert found.total == pytest.approx(sum(expected), rel=1e-4)
    assert found.perplexity == pytest.approx(np.exp(-np.mean(expected)), rel=1e-4)
    assert empty.total == 0
    assert empty.perplexity == 1


def test_next_sentence(bert: Pretrained) -> None:
    pairs = [("She cooked pasta.", "It was delicious!"), ("I love Paris. " * 30, "Python " * 40)]
    found = bert.next_sentence(pairs)
    for (first, second), probability in zip(pairs, found, strict=True):
        encoding = bert.tokenizer.encode(first, second, max_length=64)
        logits = bert.forward([encoding.ids], [encoding.segment_ids]).nsp_logits
        assert logits is not None
        expected = 1 / (1 + np.exp(logits[0, 1] - logits[0, 0]))  # class 0 is "follows"
        assert probability == pytest.approx(expected, abs=1e-5)


def test_what_a_model_cannot_do() -> None:
    tokenizer = make_tokenizer()
    whole = make_model(tokenizer)
    bare = Pretrained(whole.model, whole.params, tokenizer, parts=frozenset())
    with pytest.raises(UserError, match="no trained masked-word head, which fill_mask needs"):
        bare.fill_mask("a [MASK]")
    with pytest.raises(UserError, match="no trained masked-word head"):
        bare.pseudo_log_likelihood(["a"])
    with pytest.raises(UserError, match="no trained next-sentence head"):
        bare.next_sentence([("a", "b")])
    with pytest.raises(UserError, match="no trained pooler"):
        bare.embed(["a"], pooling="pooled")
    wordless = Pretrained(whole.model, whole.params, None)
    assert not wordless.has_tokenizer
    assert wordless.forward([[2, 3]]).pooled is not None
    with pytest.raises(UserError, match="the model has no tokenizer"):
        wordless.embed(["a"])


def test_a_model_without_segments_takes_no_pairs() -> None:
    bert = make_model(make_tokenizer(), num_segments=1)
    with pytest.raises(UserError, match="one segment only"):
        bert.next_sentence([("a", "b")])


def test_what_is_asked_wrongly(bert: Pretrained) -> None:
    with pytest.raises(UserError, match=r"there is no \[MASK\] in the text"):
        bert.fill_mask("no mask")
    with pytest.raises(UserError, match=r"^text 2: there is no \[MASK\] in the text"):
        bert.fill_masks(["[MASK]", "no mask"])
    with pytest.raises(UserError, match="top_k is 201; it must lie between 1 and 200"):
        bert.fill_mask("[MASK]", top_k=201)
    with pytest.raises(UserError, match="the target 'parispasta' is no one piece"):
        bert.fill_mask("[MASK]", targets=["parispasta"])
    with pytest.raises(UserError, match="the model takes 64; cut it"):
        bert.fill_mask("[MASK] " * 100)
    with pytest.raises(UserError, match="texts is one string"):
        bert.embed("a string")
    with pytest.raises(UserError, match="texts is one string"):
        bert.fill_mask("[MASK]", targets="paris")
    with pytest.raises(UserError, match="there is no layer 2; they are 0 to 1"):
        bert.attentions("a", layers=[2])
