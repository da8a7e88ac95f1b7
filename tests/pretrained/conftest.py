"""A small model in a folder."""

from pathlib import Path

import numpy as np
import pytest
from model_cases import make_model, make_tokenizer

import bert_jax
from bert_jax.interop.settings import TASK_FILE
from bert_jax.model.labels import Labels
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.kinds import to_file


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/small` of the docstrings' examples; `models/sentiment` lies beside it."""
    path = tmp_path_factory.mktemp("pretrained") / "models" / "small"
    bert = make_model(make_tokenizer())
    bert.save(path)
    labels = Labels("sentence", ("bad", "good"))
    head = {"dense": {"kernel": np.ones((bert.config.width, 2)), "bias": np.zeros(2)}}
    extras = {TASK_FILE: to_file(Classification())}
    Pretrained(
        bert.model,
        {**bert.params, "classifier": head},
        bert.tokenizer,
        parts=frozenset({"pooler", "classifier"}),
        labels=labels,
        extras=extras,
    ).save(path.with_name("sentiment"))
    return path


@pytest.fixture(scope="session")
def bert(folder: Path) -> Pretrained:
    return bert_jax.load(folder)
