"""Several real processes of one run: the same numbers as one, and one end when one fails."""

import re
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from small_runs import Group, final_state, reported, train_command
from topologies import ALL, MAX_LOSS, MAX_PARAMETER, Comparison, Topology, differences

import bert_jax

# Of a test machine whose cores are shared; alone, a start takes 10 seconds.
START_SECONDS = 120


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return Comparison(tmp_path_factory.mktemp("topologies"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs: most tests here run the same."""
    return tmp_path_factory.mktemp("compiled")


def run_in(text: Path, workdir: Path, *more: str, program: str = "") -> list[str]:
    return train_command(text, workdir, "--join-timeout=60", *more, program=program)


def last_line(group: Group, index: int) -> str:
    """What a process said last; the libraries print lines of their own after it."""
    lines = [
        line for line in group.output(index).splitlines() if re.match("error: |process ", line)
    ]
    assert lines, group.outputs
    return lines[0]


def check_close(topology: Topology, comparison: Comparison) -> None:
    difference = comparison.difference(topology)
    print(topology, difference)
    assert difference.loss <= MAX_LOSS
    assert difference.parameter <= MAX_PARAMETER


QUICK = [
    Topology(2, 2, 1, shard_optimizer=True, dropout=0.1),
]


@pytest.mark.parametrize("topology", QUICK, ids=str)
def test_two_processes_of_two_devices_are_one_device(
    topology: Topology, comparison: Comparison
) -> None:
    check_close(topology, comparison)
    # What two processes saved, one reads.
    loaded = bert_jax.load(comparison.run(topology))
    saved = final_state(comparison.run(topology)).params
    jax.tree.map(np.testing.assert_array_equal, loaded.params, saved)


@pytest.mark.slow
@pytest.mark.parametrize("topology", ALL, ids=str)
def test_every_topology_is_one_device(topology: Topology, comparison: Comparison) -> None:
    check_close(topology, comparison)


# Processes × devices, one after the other in one run.
CHANGES = [(1, 4), (1, 2), (1, 1), (1, 4), (2, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_a_run_goes_from_topology_to_topology(*, sharded: bool, text: Path, tmp_path: Path) -> None:
    more = (
        "--config.total_steps=100",
        "--config.batch_size=16",
        "--config.log_every_steps=1",
        "--config.model.attention_dropout=0.1",
        "--config.parallelism.micro_batch_size=4",
        f"--config.parallelism.shard_optimizer={sharded}",
    )
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    with Group([run_in(text, straight, *more)], tmp_path / "logs") as group:
        assert group.wait(300) == [0], group.outputs
    steps = []
    for number, (processes, devices) in enumerate(CHANGES):
        commands = [run_in(text, moved, *more)] * processes
        with Group(commands, tmp_path / f"logs{number}", devices=devices) as group:
            if number < len(CHANGES) - 1:
                assert group.wait_for(lambda: group.step >= 15 * (number + 1)), group.outputs  # noqa: B023
                group.signal(signal.SIGTERM)
            assert group.wait(300) == [0] * processes, group.outputs
            assert group.resumed_at == (steps[-1] if steps else 0)
            steps.append(group.step)
    difference = differences(moved, straight)
    rows = zip(reported(moved), reported(straight), strict=True)
    far = {a["step"]: abs(a["mlm_loss"] - b["mlm_loss"]) for a, b in rows if a["split"] == "train"}
    print(f"changed after {steps}: {difference}", {step: far[step] for step in range(10, 101, 10)})
    assert difference.loss <= MAX_LOSS
    assert difference.parameter <= MAX_PARAMETER


def test_a_process_with_another_config_is_named(text: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    other = run_in(text, workdir, "--config.seed=1", "--config.batch_size=16")
    with Group([run_in(text, workdir), other], tmp_path / "logs") as group:
        assert group.wait(START_SECONDS) == [2, 2], group.outputs
        for index in (0, 1):
            assert (
                "process 1 has another config than process 0 (config.batch_size: 8 -> 16; "
                "config.seed: 0 -> 1); start all with the same"
            ) in last_line(group, index), group.outputs
    assert not workdir.joinpath("corpus").exists()


def test_a_process_that_is_alone_says_who_is_missing(text: Path, tmp_path: Path) -> None:
    commands = [train_command(text, tmp_path / "run", "--join-timeout=5")] * 2
    with (
        Group(commands, tmp_path / "logs0", starting=[0]) as first,
        Group(commands, tmp_path / "logs1", starting=[1]) as second,
    ):
        assert first.wait(START_SECONDS) == second.wait(START_SECONDS) == [2]
        (line,) = first.output().splitlines()
        assert line.startswith("error: of 2 processes, process 1 did not come within 5 s; ")
        (line,) = second.output().splitlines()
        assert line.startswith("error: process 1 of 2: no coordinator at localhost:")
        assert " within 5 s; is process 0 started" in line


def test_one_process_runs_out_of_batches(cache: Path, text: Path, tmp_path: Path) -> None:
    program = str(Path(__file__).with_name("short_input.py"))
    commands = [run_in(text, tmp_path / "run", program=program)] * 2
    with Group(commands, tmp_path / "logs", cache=cache) as group:
        assert group.wait(START_SECONDS) == [1, 1], group.outputs
        said = "the batches of process 1 ended before step 8, of 60"
        assert said in last_line(group, 0), group.outputs
        assert said in last_line(group, 1), group.outputs


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_is_killed(victim: int, cache: Path, text: Path, tmp_path: Path) -> None:
    commands = [run_in(text, tmp_path / "run", "--config.total_steps=100000")] * 2
    with Group(commands, tmp_path / "logs", cache=cache) as group:
        assert group.wait_for(lambda: group.step >= 10), group.outputs
        group.signal(signal.SIGKILL, victim)
        before = group.seconds
        statuses = group.wait(60)
        print(f"{statuses} after {group.seconds - before:.1f} s")
        assert statuses[victim] == -signal.SIGKILL
        if victim == 0:  # JAX aborts who loses the coordinator, before it can say anything itself
            assert statuses[1] == -signal.SIGABRT
            assert "This most likely indicates that another task died" in group.output(1)
        else:
            assert statuses[0] == 1, group.outputs
            assert "another process of the run is gone" in last_line(group, 0)


@pytest.mark.parametrize("told", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_one_process_is_told_to_end_and_all_save(
    told: int, cache: Path, text: Path, tmp_path: Path
) -> None:
    commands = [run_in(text, tmp_path / "run", "--config.total_steps=100000")] * 2
    with Group(commands, tmp_path / "logs", cache=cache) as group:
        assert group.wait_for(lambda: group.step >= 10), group.outputs
        group.signal(signal.SIGTERM, told)
        assert group.wait(60) == [0, 0], group.outputs
        steps = [
            re.findall(r"^terminated and saved at step (\d+);", group.output(i), re.M)
            for i in (0, 1)
        ]
    assert steps[0] == steps[1]
    assert int(final_state(tmp_path / "run").step) == int(steps[0][0])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_all(cache: Path, text: Path, tmp_path: Path) -> None:
    huge = ("--config.schedule.peak_learning_rate=1e30", "--config.schedule.warmup_steps=0")
    commands = [run_in(text, tmp_path / "run", *huge)] * 2
    with Group(commands, tmp_path / "logs", cache=cache) as group:
        assert group.wait(START_SECONDS) == [2, 2], group.outputs
        for index in (0, 1):
            assert "is not finite" in last_line(group, index), group.outputs
