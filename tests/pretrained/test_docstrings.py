"""The examples of the docstrings, run."""

import doctest
from pathlib import Path

import pytest

from bert_jax.pretrained import Pretrained, model


def test_examples(folder: Path, bert: Pretrained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    result = doctest.testmod(model, extraglobs={"bert": bert})
    assert result.attempted >= 12
    assert result.failed == 0
