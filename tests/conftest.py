"""Settings for all tests: four CPU devices, strict shapes and ranks."""

from importlib.util import find_spec
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

# Before the first operation. Shapes and types of annotated functions are checked in tests only.
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
_hook = install_import_hook("bert_jax", "beartype.beartype")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
HAS_TORCH = all(find_spec(name) for name in ("torch", "transformers"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the drills of minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="a drill of minutes; run with --slow"))
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"reference data is not at {SHARED}"))
        if item.get_closest_marker("torch") and not HAS_TORCH:
            item.add_marker(pytest.mark.skip(reason="needs torch and transformers; make parity"))


@pytest.fixture
def shared_data() -> Path:
    """Reference data beside the project; tests that use it are marked `shared`."""
    return SHARED
