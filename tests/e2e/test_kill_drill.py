"""Random disturbances of a run, by hand: see kill_drill.py, and test_resume.py for a few kills."""

from pathlib import Path

import pytest
from kill_drill import Drill


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_fifty_disturbances(processes: int, tmp_path: Path) -> None:
    assert Drill(tmp_path, kills=50, processes=processes, seed=0).run()
