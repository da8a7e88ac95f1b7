"""What fine-tuning begins with: a head and a pooler that are there, or new ones by the seed."""

from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

from bert_jax.errors import UserError
from bert_jax.model.heads import BertForPreTraining
from bert_jax.model.labels import Labels
from bert_jax.model.sizes import BertConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.kinds import make_task
from bert_jax.training.learner import Adaptation, Learner
from bert_jax.training.steps import init_params

CLASSES = Labels("sentence", ("bad", "good"), "single_label_classification")


def make_bert(parts: set[str], labels: Labels | None = None) -> Pretrained:
    model = BertForPreTraining(
        BertConfig(vocab_size=9, num_layers=1, num_heads=1, width=4, max_positions=20)
    )
    params = dict(jax.tree.map(np.asarray, init_params(model, jax.random.key(7))))
    if labels:
        kernel = np.full((4, len(labels.names)), 3.0, np.float32)
        params["classifier"] = {"dense": {"kernel": kernel, "bias": kernel[0]}}
    return Pretrained(model, params, None, parts=frozenset(parts), labels=labels)


def begin(bert: Pretrained, labels: Labels, seed: int) -> tuple[Learner, PyTree]:
    task = make_task({"kind": "classification", "max_length": 20})
    learner = Learner(bert, task, labels, [], Adaptation())
    return learner, learner.begin(seed)


def same(first: PyTree, second: PyTree) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, second))


def test_the_seed_decides_a_new_head_alone() -> None:
    bert = make_bert({"pooler"})
    learner, first = begin(bert, CLASSES, 0)
    assert not learner.has_head
    assert same(first["bert"], bert.params["bert"])
    assert same(first, begin(bert, CLASSES, 0)[1])
    other = begin(bert, CLASSES, 1)[1]
    assert same(first["bert"], other["bert"])
    assert not same(first["classifier"], other["classifier"])
    assert first["classifier"]["dense"]["kernel"].shape == (4, 2)
    assert not first["classifier"]["dense"]["bias"].any()


def test_a_pooler_that_was_never_trained_is_drawn_by_the_seed() -> None:
    bert = make_bert(set())
    poolers = [begin(bert, CLASSES, seed)[1]["bert"]["pooler"] for seed in (0, 0, 1)]
    shapes: Any = jax.tree.map(np.shape, bert.params["bert"]["pooler"])
    assert jax.tree.map(np.shape, poolers[0]) == shapes
    assert same(poolers[0], poolers[1])
    assert not same(poolers[0], poolers[2])
    assert not same(poolers[0], bert.params["bert"]["pooler"])
    rest = begin(bert, CLASSES, 0)[1]["bert"]
    assert same(rest["encoder"], bert.params["bert"]["encoder"])


@pytest.mark.parametrize(
    ("published", "is_kept"),
    [
        (CLASSES, True),
        (CLASSES._replace(problem=None), True),  # older folders do not say it
        (CLASSES._replace(names=("good", "bad")), False),
        (CLASSES._replace(task="tokens"), False),
        (CLASSES._replace(problem="regression"), False),
    ],
)
def test_a_head_that_tells_the_same_apart_is_kept(published: Labels, is_kept: bool) -> None:
    bert = make_bert({"pooler", "classifier"}, published)
    learner, params = begin(bert, CLASSES, 0)
    assert learner.has_head == is_kept
    assert same(params["classifier"], bert.params["classifier"]) == is_kept


def test_rows_longer_than_the_model_takes_are_refused() -> None:
    task = make_task({"kind": "classification", "max_length": 21})
    with pytest.raises(UserError, match=r"say --config\.task\.max_length=20"):
        Learner(make_bert({"pooler"}), task, CLASSES, [], Adaptation())
