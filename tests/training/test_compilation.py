"""What is kept of compilations, and that a step which is compiled again is noticed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from bert_jax.console import Console
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.compilation import Compilations, kept_programs, set_flags
from bert_jax.training.loop import Loop, Progress, Settings, Work
from bert_jax.training.metrics import MetricsLog
from bert_jax.training.parallel import Parallelism, parallel_train_step, place
from bert_jax.training.processes import Processes
from bert_jax.training.profiling import Profile
from bert_jax.training.rng import Stream, stream_key
from bert_jax.training.steps import (
    ALONE,
    Collectives,
    DeviceBatch,
    Notes,
    Sums,
    TrainState,
    Vitals,
)
from bert_jax.training.stopping import Stopping
from bert_jax.training.throughput import Pace
from bert_jax.training.watchdog import Watchdog


@pytest.fixture(autouse=True)
def no_cache_of_others() -> Iterator[None]:
    """Commands on pretrained models, which other tests call, keep one for the whole process."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def test_flags_of_the_user_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_gpu_enable_triton_gemm=true")
    set_flags()
    assert os.environ["XLA_FLAGS"] == "--xla_a=1 --xla_gpu_enable_triton_gemm=true"
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_latency_hiding_scheduler=true")
    set_flags()
    set_flags()  # as when two commands run in a process
    assert os.environ["XLA_FLAGS"].split() == [
        "--xla_gpu_enable_latency_hiding_scheduler=true",
        "--xla_gpu_enable_triton_gemm=false",
    ]


def test_flags_are_set_before_a_device_is_asked_for_and_xla_knows_them() -> None:
    program = (
        "import bert_jax.train, bert_jax.benchmark, jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "from bert_jax.training.compilation import set_flags\n"
        "set_flags()\n"
        "print(jax.devices()[0].platform)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() and "Unknown flag" not in done.stderr


def slow_program(number: int) -> jax.stages.Wrapped:
    """Something that takes a while to compile, another one by its number."""

    def twisted(x: jax.Array) -> jax.Array:
        for turn in range(60):
            x = jnp.sin(x @ x) + jnp.cos(x.T) * (number + turn)
        return x

    return jax.jit(twisted)


def compile_anew(number: int) -> int:
    """How many compilations a program takes if this process forgot it."""
    jax.clear_caches()
    with Compilations() as compilations:
        slow_program(number)(np.ones((32, 32), np.float32)).block_until_ready()
    return compilations.count


def test_what_was_compiled_is_loaded(tmp_path: Path) -> None:
    lines: list[str] = []
    with kept_programs(tmp_path / "a", lines.append):
        assert compile_anew(1) == 1
        assert compile_anew(1) == 0
    (entry,) = (tmp_path / "a").glob("*-cache")
    assert compile_anew(1) == 1  # outside nothing is kept
    with kept_programs(tmp_path / "b", lines.append):  # as another run in this process
        assert compile_anew(1) == 1
    (tmp_path / "a").rename(tmp_path / "c")
    with kept_programs(tmp_path / "c", lines.append):
        assert compile_anew(1) == 0  # where it lies does not matter

        # A process that was killed while it wrote leaves half of an entry.
        torn = tmp_path / "c" / entry.name
        torn.write_bytes(torn.read_bytes()[:1000])
        assert compile_anew(1) == 1
        assert len(lines) == 1 and "cannot be read; compiling again" in lines[0]
        assert compile_anew(1) == 0
    assert len(lines) == 1


def test_where_nothing_can_be_kept_all_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "file").write_text("in the way")
    with kept_programs(tmp_path / "file" / "folder", lines.append):
        assert compile_anew(2) == 1
        assert compile_anew(2) == 1
    (line,) = lines  # though it is tried each time
    assert line.endswith("folder cannot be read; compiling again")


def test_a_cache_of_the_user_stands(tmp_path: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    try:
        with kept_programs(tmp_path / "ours", print):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")  # type: ignore[attr-defined]
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def count_tokens(
    state: TrainState, batch: DeviceBatch, notes: Notes, key: Any, to: Collectives = ALONE
) -> tuple[TrainState, Sums, Vitals]:
    """A step that compiles in no time and learns nothing."""
    del key
    rows = jnp.float32(batch["ids"].shape[0])
    sums, notes = to.all_sum(({"mlm_loss": (jnp.float32(jnp.sum(batch["ids"])), rows)}, notes))
    return state.replace(step=state.step + 1), sums, Vitals(rows, jnp.array(True), notes)  # type: ignore[attr-defined]


def run_steps(folder: Path, kinds: list[tuple[int, str]]) -> list[int]:
    """Trains on batches of these lengths and types; the steps reported as compiled again."""
    devices, parallelism = jax.devices(), Parallelism()
    like = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.zeros(2)}, {"w": jnp.zeros(2)})
    state = place(like, devices, parallelism)
    batches = ({"ids": np.ones((4, seq_len), dtype)} for seq_len, dtype in kinds)

    with ExitStack() as stack:
        processes = Processes()
        pace = Pace(device=devices[0], peak_flops=None)
        pace.begin_phase()
        loop = Loop(
            folder=folder,
            settings=Settings(1000, lambda _: False, 1000, 1000, 0.0, 0, 1000.0),
            progress=Progress(),
            like=like,
            key=stream_key(0, Stream.DROPOUT),
            devices=devices,
            parallelism=parallelism,
            processes=processes,
            console=Console(quiet=True),
            stopping=Stopping(),
            checkpoints=stack.enter_context(
                closing(Checkpoints(folder / "checkpoints", processes=processes))
            ),
            metrics=stack.enter_context(closing(MetricsLog(folder, start_step=0))),
            pace=pace,
            watchdog=stack.enter_context(Watchdog(seconds=1000.0, on_hang=processes.abandon)),
            profile=stack.enter_context(closing(Profile(folder, steps=0))),
            compilations=stack.enter_context(Compilations()),
        )
        work = Work(
            step=parallel_train_step(count_tokens, devices, state, parallelism),
            first_step=0,
            batches=batches,
            last_step=len(kinds),
            evaluate=None,
            example=lambda _: {},
            size=lambda _: (1, 1.0),
        )
        loop.run(state, work, Console(quiet=True).bar("", total=None, unit="step"))
    events = (folder / "events.jsonl").read_text().splitlines()
    return [row["step"] for row in map(json.loads, events) if row["event"] == "recompiled"]


def test_a_step_of_another_type_is_reported_once_and_another_shape_is_not(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    kinds = [(16, "f4"), (24, "f4"), (16, "f4"), (24, "i4"), (16, "i4")]
    assert run_steps(tmp_path, kinds) == [4]
    assert capfd.readouterr().err.count("step 4 was compiled again") == 1
