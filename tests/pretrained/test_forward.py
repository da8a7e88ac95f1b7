"""The raw forward: what comes out, and what may not go in."""

import dataclasses

import jax
import numpy as np
import pytest
from model_cases import make_model, make_tokenizer

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.labels import Labels
from bert_jax.pretrained import Pretrained

IDS = [[2, 30, 31, 32, 3, 40, 3], [2, 50, 3, 0, 0, 0, 0]]
SEGMENTS = [[0, 0, 0, 0, 0, 1, 1], [0] * 7]
LENGTHS = [7, 3]


def test_shapes_and_types(bert: Pretrained) -> None:
    outputs = bert.forward(IDS, SEGMENTS, LENGTHS, attentions=True)
    shapes = {name: array.shape for name, array in outputs._asdict().items() if array is not None}
    assert shapes == {
        "hidden_states": (3, 2, 7, 32),
        "pooled": (2, 32),
        "mlm_logits": (2, 7, 200),
        "nsp_logits": (2, 2),
        "attentions": (2, 2, 4, 7, 7),
    }
    assert all(array.dtype == np.float32 for array in outputs if array is not None)
    assert bert.forward(IDS).attentions is None


def test_it_is_the_model_s_own_output(bert: Pretrained) -> None:
    """Against Flax directly, without padding to a compiled length and without capture."""
    outputs = bert.forward(IDS, SEGMENTS, LENGTHS)
    ids, segments = np.array(IDS, np.int32), np.array(SEGMENTS, np.int32)
    everywhere = np.tile(np.arange(7, dtype=np.int32), (2, 1))
    mlm, nsp = jax.jit(bert.model.apply)(
        {"params": bert.params}, ids, segments, np.array(LENGTHS, np.int32), everywhere
    )
    np.testing.assert_allclose(outputs.mlm_logits, mlm, atol=1e-5)
    np.testing.assert_allclose(outputs.nsp_logits, nsp, atol=1e-5)


def test_padding_changes_nothing(bert: Pretrained) -> None:
    alone = bert.forward([IDS[1][:3]], attentions=True)
    padded = bert.forward(IDS, SEGMENTS, LENGTHS, attentions=True)
    np.testing.assert_allclose(padded.hidden_states[:, 1, :3], alone.hidden_states[:, 0], atol=1e-5)
    assert padded.attentions is not None
    assert not padded.attentions[:, 1, :, :, 3:].any()
    np.testing.assert_allclose(padded.attentions.sum(-1), 1, atol=1e-5)


def test_segments_and_lengths_default_to_one_whole_text(bert: Pretrained) -> None:
    given = bert.forward(IDS, np.zeros((2, 7), np.int64), np.array([7, 7]))
    for one, other in zip(bert.forward(IDS), given, strict=True):
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_parts_that_are_not_there_are_none() -> None:
    whole = make_model(make_tokenizer())
    params = whole.params | {
        "classifier": {"dense": {"kernel": np.ones((32, 3)), "bias": np.arange(3.0)}}
    }
    for task, shape in {"sentence": (2, 3), "tokens": (2, 7, 3)}.items():
        labels = Labels(task, ("a", "b", "c"))  # type: ignore[arg-type]
        parts = frozenset({"pooler", "classifier"})
        bert = Pretrained(whole.model, params, whole.tokenizer, parts=parts, labels=labels)
        outputs = bert.forward(IDS)
        assert outputs.mlm_logits is None
        assert outputs.nsp_logits is None
        assert outputs.class_logits is not None
        assert outputs.class_logits.shape == shape
        assert outputs.pooled is not None
        vectors = outputs.pooled if task == "sentence" else outputs.hidden_states[-1]
        expected = vectors.sum(-1, keepdims=True) + np.arange(3)
        np.testing.assert_allclose(outputs.class_logits, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_gives_float32_that_is_near(bert: Pretrained) -> None:
    config = dataclasses.replace(bert.config, dtype="bfloat16")
    half = Pretrained(BertForPreTraining(config), bert.params, bert.tokenizer)
    near, exact = half.forward(IDS), bert.forward(IDS)
    assert near.hidden_states.dtype == np.float32
    distance = np.abs(near.hidden_states - exact.hidden_states).max()
    assert 0 < distance < 0.3


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({"input_ids": [[2, 200]]}, "the id 200 is not in the vocabulary, which has 200 pieces"),
        ({"input_ids": [[2, -1]]}, "the id -1 is not in the vocabulary"),
        ({"input_ids": [[2, 3], [4]]}, "input_ids are ragged; pad the rows"),
        ({"input_ids": [[2.5, 3]]}, "they must be whole numbers"),
        ({"input_ids": [2, 3]}, r"the shape \[2\]; it must be \[B T\]"),
        ({"input_ids": np.zeros((0, 4), int)}, "it must be"),
        ({"input_ids": [[2] * 65]}, "a row has 65 tokens, the model takes 64"),
        ({"input_ids": [[2, 3]], "segment_ids": [[0, 2]]}, "segment_ids must be .* 0 to 1"),
        ({"input_ids": [[2, 3]], "segment_ids": [[0]]}, "they must be"),
        ({"input_ids": [[2, 3]], "lengths": [3]}, "lengths must be whole numbers from 1 to 2"),
        ({"input_ids": [[2, 3]], "lengths": [0]}, "lengths must be whole numbers from 1 to 2"),
    ],
)
def test_what_may_not_go_in(bert: Pretrained, inputs: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        bert.forward(**inputs)
