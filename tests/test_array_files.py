"""`.npz` files that grow."""

from pathlib import Path

import numpy as np
import pytest

from bert_jax.array_files import array_file


def test_rows_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    parts = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 3), np.float32)]
    with array_file(path) as arrays:
        for number, part in enumerate(parts):
            arrays.append(vectors=part, text=np.full(len(part), number))
        assert not path.exists()
    found = np.load(path)
    assert sorted(found) == ["text", "vectors"]
    np.testing.assert_array_equal(found["vectors"], np.concatenate(parts))
    assert found["vectors"].dtype == np.float32
    assert found["text"].tolist() == [0, 0, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["found.npz"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    path.write_text("before")
    with pytest.raises(ValueError, match="interrupted"), array_file(path) as arrays:
        arrays.append(vectors=np.zeros(3))
        raise ValueError("interrupted")
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["found.npz"]
