"""Random disturbances of a run: a few in the ordinary suite, fifty by hand (kill_drill.py)."""

from pathlib import Path

import pytest
from kill_drill import Drill


def test_three_disturbances(tmp_path: Path) -> None:
    assert Drill(tmp_path, kills=3, processes=1, seed=1).run()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_fifty_disturbances(processes: int, tmp_path: Path) -> None:
    assert Drill(tmp_path, kills=50, processes=processes, seed=0).run()
