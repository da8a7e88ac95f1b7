"""The launch scripts on one machine and on Slurm: dry runs, and real runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_ins import BASE, LAUNCH, environment, run, wait_for

SCRIPTS = sorted(path.name for path in LAUNCH.iterdir())
# A process of a run: tells what it was given, counts signals for a moment after the first.
PROCESS = """
import os, signal, sys, time
rank, counts = int(os.environ["JAX_PROCESS_ID"]), []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: counts.append(signal.Signals(number).name))
names = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_NUM_CPU_DEVICES"
print(*(os.environ.get(name) for name in names), flush=True)
plan = sys.argv[1 + rank]
if plan == "signal":
    while not counts: time.sleep(0.02)
    time.sleep(0.5)
    print(*counts, flush=True)
elif plan == "hang": time.sleep(60)
else: sys.exit(int(plan))
"""


def test_scripts_are_clean() -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shellcheck = shutil.which("shellcheck", path=path)
    assert shellcheck, "shellcheck comes with the extra `test`"
    subprocess.run([shellcheck, *(LAUNCH / name for name in SCRIPTS)], check=True)
    for name in SCRIPTS:
        assert os.access(LAUNCH / name, os.X_OK)
        assert len((LAUNCH / name).read_text().splitlines()) <= 200


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_an_example(script: str) -> None:
    result = run(script, "--help")
    assert result.returncode == 0
    assert re.search(rf"example.*:\n  .*{re.escape(script)}", result.stdout)
    assert "--dry-run" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("local.sh 2 --bad x", "unknown option --bad"),
        ("local.sh", "N, the number of processes, is missing"),
        ("local.sh zero x", "N, the number of processes, is a number from 1 and not 'zero'"),
        ("local.sh 2", "COMMAND is missing"),
        ("local.sh 2 --devices x y", "--devices takes a number from 1"),
        ("gpu_node.sh --bad x", "unknown option --bad"),
        ("gpu_node.sh --gpus 0", "COMMAND is missing"),
        ("gpu_node.sh x", "nvidia-smi finds no GPU"),
        ("slurm.sbatch", "the arguments of python -m bert_jax.train are missing"),
        ("slurm.sbatch --config x", "this is no Slurm job; submit it by sbatch"),
        ("tpu_pod.sh go", "the first word is run, stop or delete"),
        ("tpu_pod.sh run --bad", "unknown option --bad"),
        ("tpu_pod.sh run --name", "--name takes a value"),
        ("tpu_pod.sh run x", "--name and --zone are needed"),
        ("tpu_pod.sh run --name a --zone b x", "run needs --type, --version and COMMAND"),
        ("tpu_pod.sh stop --name a --zone b x", "stop takes no COMMAND"),
        ("tpu_worker.sh start", "what to do is install"),
    ],
)
def test_a_mistake_is_one_line(words: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")  # of a machine without GPUs
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = f"{tmp_path}:{BASE['PATH']}"
    result = run(*words.split(), env=BASE | {"PATH": path}, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_local_dry_run(tmp_path: Path) -> None:
    words = ("--devices", 3, "--dry-run", "--", "echo", "it's a", "b")
    result = run("local.sh", 2, *words, env=BASE | {"TMPDIR": str(tmp_path)})
    port = re.search(r"localhost:(\d{5}) ", result.stdout)
    assert port
    logs = f"{tmp_path}/bert_jax_local_{port[1]}"
    common = (
        f"JAX_COORDINATOR_ADDRESS=localhost:{port[1]} JAX_NUM_PROCESSES=2 "
        "JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=3"
    )
    assert result.stdout.splitlines() == [
        f"mkdir {logs}",
        f"{common} JAX_PROCESS_ID=1 echo 'it'\\''s a' b > {logs}/1.log 2>&1 &",
        f"{common} JAX_PROCESS_ID=0 echo 'it'\\''s a' b",
    ]
    assert not list(tmp_path.iterdir())
    pasted = subprocess.check_output(["bash", "-c", result.stdout], env=BASE)
    assert pasted == b"it's a b\n"


def start_local(
    tmp_path: Path, *plans: str, options: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    (tmp_path / "process.py").write_text(PROCESS)
    program = [sys.executable, "-S", str(tmp_path / "process.py"), *plans]
    # A test run in the background ignores Ctrl-C, and what it starts would too.
    script = ["env", "--default-signal=INT", "bash", str(LAUNCH / "local.sh")]
    return subprocess.Popen(
        [*script, str(len(plans)), *options, "--", *program],
        env=BASE | {"TMPDIR": str(tmp_path)}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def read_logs(tmp_path: Path) -> list[list[str]]:
    return [
        path.read_text().splitlines() for path in sorted(tmp_path.glob("bert_jax_local_*/*.log"))
    ]


def test_local_processes_know_each_other(tmp_path: Path) -> None:
    output, errors = (
        process := start_local(tmp_path, "0", "0", "0", options=("--devices", "2"))
    ).communicate()
    assert process.returncode == 0
    (folder,) = tmp_path.glob("bert_jax_local_*")
    assert errors == f"the output of all processes but 0 is in {folder}\n"
    outputs = [output.splitlines(), *read_logs(tmp_path)]
    address = outputs[0][0].split()[0]
    assert re.fullmatch(r"localhost:\d{5}", address)
    assert outputs == [[f"{address} 3 {rank} 2"] for rank in range(3)]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_local_passes_a_signal_on_once(name: str, tmp_path: Path) -> None:
    process = start_local(tmp_path, "signal", "signal")
    assert process.stdout is not None
    process.stdout.readline()
    wait_for(lambda: all(read_logs(tmp_path)) and bool(read_logs(tmp_path)))
    # A terminal sends Ctrl-C to the whole group.
    (os.killpg if name == "SIGINT" else os.kill)(process.pid, getattr(signal, name))
    output, _ = process.communicate()
    assert process.returncode == 0
    assert output == f"{name}\n"
    assert read_logs(tmp_path)[0][1:] == [name]


def test_local_ends_with_the_first_failure(tmp_path: Path) -> None:
    _, errors = (process := start_local(tmp_path, "0", "3")).communicate()
    assert process.returncode == 3
    assert re.search(r"process 1 ended with status 3; its output: /.*/1\.log\n", errors)
    began = time.monotonic()
    _, errors = (
        process := start_local(tmp_path, "hang", "4", options=("--grace", "1"))
    ).communicate()
    assert process.returncode == 4
    assert time.monotonic() - began < 15
    assert "killing what is left 1 s after the first failure: 0\n" in errors


def test_gpu_node_dry_run() -> None:
    words = "--gpus 0,1 --dry-run python train.py".split()
    settings = (
        "env XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 "
        "XLA_FLAGS=--xla_gpu_enable_latency_hiding_scheduler=true NCCL_DEBUG=WARN"
    )
    assert (
        run("gpu_node.sh", *words).stdout
        == f"{settings} CUDA_VISIBLE_DEVICES=0,1 python train.py\n"
    )
    mine = run("gpu_node.sh", *words, env=BASE | {"XLA_FLAGS": "--mine=1", "NCCL_DEBUG": "INFO"})
    assert "XLA_FLAGS=--mine=1 NCCL_DEBUG=INFO" in mine.stdout
    choose = (
        'IFS=, read -ra list <<<"$0"; '
        'export CUDA_VISIBLE_DEVICES=${list[JAX_PROCESS_ID]}; exec "$@"'
    )
    assert run("gpu_node.sh", "--per-gpu", *words).stdout == (
        f"{settings} {LAUNCH}/local.sh 2 -- bash -c '{choose}' 0,1 python train.py\n"
    )


def test_gpu_node_gives_each_process_its_gpu(tmp_path: Path) -> None:
    env = BASE | {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "5,7"}
    show = "echo $JAX_PROCESS_ID of $JAX_NUM_PROCESSES on $CUDA_VISIBLE_DEVICES"
    result = run("gpu_node.sh", "--per-gpu", "bash", "-c", show, env=env)
    assert result.stdout.splitlines() == ["0 of 2 on 5"]
    assert read_logs(tmp_path) == [["1 of 2 on 7"]]


@pytest.mark.parametrize(
    ("statuses", "status"), [("1 137 0", 0), ("1 2", 2), ("130", 130), ("1 1 9", 9), ("0", 0)]
)
def test_gpu_node_starts_again(statuses: str, status: int, tmp_path: Path) -> None:
    """With two new starts allowed, each start taking the next status."""
    (tmp_path / "left").write_text(statuses)
    program = f"read -ra s <{tmp_path}/left; echo ${{s[*]:1}} >{tmp_path}/left; exit $s"
    result = run(
        *("gpu_node.sh", "--gpus", 0, "--restarts", 2, "--pause", 0), "--", "bash", "-c", program
    )
    assert result.returncode == status
    assert (tmp_path / "left").read_text() == "\n"
    assert result.stderr.count("of 2 in 0 s") == len(statuses.split()) - 1


def test_gpu_node_does_not_start_again_after_sigterm(tmp_path: Path) -> None:
    program = "trap 'echo saved >>saved; exit 143' TERM; touch on; while :; do sleep 0.05; done"
    command = ["bash", str(LAUNCH / "gpu_node.sh"), "--gpus", "0", "bash", "-c", program]
    process = subprocess.Popen(command, env=BASE, cwd=tmp_path)
    wait_for((tmp_path / "on").exists)
    process.terminate()
    assert process.wait() == 143
    assert (tmp_path / "saved").read_text() == "saved\n"


TASK = (
    "export JAX_NUM_PROCESSES=$SLURM_NTASKS JAX_PROCESS_ID=$SLURM_PROCID; "
    'IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES-}"; '
    "((SLURM_NTASKS_PER_NODE < 2 || ${#gpus[@]} < 2)) || "
    'export CUDA_VISIBLE_DEVICES=${gpus[SLURM_LOCALID]}; exec "$@"'
)


def test_slurm_dry_run(cloud: Path) -> None:
    slurm = {"SLURM_JOB_ID": "12007", "SLURMD_NODENAME": "node3", "SLURM_CPUS_PER_TASK": "16"}
    expected = [
        "export JAX_COORDINATOR_ADDRESS=node3:20007",
        f"srun --wait=300 --cpus-per-task=16 bash -c '{TASK}' task "
        "python -m bert_jax.train --config a.py",
        "# 300 s before the time limit, and when it has saved:",
        "scancel --signal=TERM 12007",
        "scontrol requeue 12007",
    ]
    for words, more in ((("--dry-run",), {}), ((), {"DRY_RUN": "1"})):
        env = environment(cloud, **slurm, **more)
        result = run("slurm.sbatch", *words, "--config", "a.py", env=env)
        assert result.stdout.splitlines() == expected
    assert not (cloud / "calls").exists()
    directives = re.findall(r"^#SBATCH (.*)", (LAUNCH / "slurm.sbatch").read_text(), re.M)
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@300"} <= set(directives)


@pytest.mark.parametrize(
    ("event", "after", "status", "again"),
    [
        ("limit", "0", 0, True),
        ("limit", "1", 1, True),  # could not save; what was saved before goes on
        ("limit", "2", 2, False),
        ("cancelled", "0", 0, False),
    ],
)
def test_slurm_queues_again_at_the_time_limit(
    event: str, after: str, status: int, again: bool, cloud: Path
) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "node3", "SLURM_NTASKS_PER_NODE": "2"}
    env = environment(cloud, AFTER_TERM=after, CUDA_VISIBLE_DEVICES="4,6", **slurm)
    process = subprocess.Popen(["bash", LAUNCH / "slurm.sbatch", "wait"], env=env)
    seen = cloud / "seen"
    wait_for(lambda: seen.exists() and seen.read_text().count("\n") == 2)
    if event == "limit":
        process.send_signal(signal.SIGUSR1)
    else:  # Slurm signals the batch script and the tasks
        process.terminate()
        subprocess.run([cloud / "bin/scancel"], env=env, check=True)
    assert process.wait() == status
    assert sorted(seen.read_text().splitlines()) == [
        "0 of 2 at node3:20007 gpu 4",
        "1 of 2 at node3:20007 gpu 6",
    ]
    lines = (cloud / "calls").read_text().splitlines()
    assert lines.count("scontrol requeue 7") == again
    assert lines.count("scancel --signal=TERM 7") == (event == "limit")


def test_slurm_leaves_a_failure_alone(cloud: Path) -> None:
    env = environment(cloud, SLURM_JOB_ID="7", SLURM_NTASKS_PER_NODE="1")
    assert run("slurm.sbatch", "3", env=env).returncode == 3
    assert "scontrol" not in (cloud / "calls").read_text()
