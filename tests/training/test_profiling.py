import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from bert_jax.training.profiling import Profile


def traced(folder: Path) -> dict[str, int]:
    """How often each name appears in the only trace of a run folder."""
    (path,) = folder.glob("profile/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [event.get("name", "") for event in events]
    return {name: names.count(name) for name in names}


def run(profile: Profile, steps: int) -> list[str | None]:
    """What it says after each step."""

    @jax.jit
    def one_step_of_this_test(x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ x)

    x, said = jnp.ones((64, 64)), []
    for _ in range(steps):
        profile.before()
        x = one_step_of_this_test(x)
        said.append(profile.after(x))
    profile.close()
    return said


def test_the_trace_holds_the_steps_after_the_first_few(tmp_path: Path) -> None:
    said = run(Profile(tmp_path, steps=3), 15)
    (line,) = filter(None, said)
    assert said.index(line) == 8  # the ninth: 6 skipped, 3 traced
    assert line.startswith(f"trace of 3 steps in {tmp_path}/profile: ")
    names = traced(tmp_path)
    assert names["train"] == 3
    assert "PjitFunction(one_step_of_this_test)" in names


def test_a_run_that_ends_early_keeps_its_trace(tmp_path: Path) -> None:
    assert run(Profile(tmp_path, steps=100), 8) == [None] * 8
    assert traced(tmp_path)["train"] == 2


def test_nothing_is_traced_unless_asked_for(tmp_path: Path) -> None:
    assert run(Profile(tmp_path, steps=0), 10) == [None] * 10
    assert list(tmp_path.iterdir()) == []
