"""The place where the stand-ins keep what they are told."""

from pathlib import Path

import pytest
from stand_ins import make_cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """A folder with the stand-ins in bin/ and a copy of the scripts, in git, in tree/."""
    make_cloud(tmp_path)
    return tmp_path
