"""The examples of the docstrings, run."""

import doctest
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from bert_jax.pretrained import Pretrained

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "bert_jax").rglob("*.py"))
    if " >>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(
    name: str, folder: Path, bert: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder.parent, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    given = {"bert": bert, "np": np, "Path": Path}
    result = doctest.testmod(importlib.import_module(name), extraglobs=given)
    assert result.attempted
    assert not result.failed


def test_every_method_of_a_model_has_an_example() -> None:
    """But for those that are another in the plural, or write files."""
    for name, method in vars(Pretrained).items():
        if not name.startswith("_") and callable(method) and name != "save":
            assert ">>>" in method.__doc__ or name in ("fill_masks", "fill_mask_ids"), name
