"""A small model in a folder."""

from pathlib import Path

import pytest
from model_cases import make_model, make_tokenizer

import bert_jax
from bert_jax.pretrained import Pretrained


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/small` of the docstrings' examples."""
    path = tmp_path_factory.mktemp("pretrained") / "models" / "small"
    make_model(make_tokenizer()).save(path)
    return path


@pytest.fixture(scope="session")
def bert(folder: Path) -> Pretrained:
    return bert_jax.load(folder)
