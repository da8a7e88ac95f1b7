"""TPU pod slices: made, used again, lost, made anew; with a stand-in for gcloud."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from stand_ins import environment, run, wait_for

POD = "--name pod --zone zone-a --type v4-16 --version tpu-base --poll 0.1".split()
WORKER = "bert_jax/launch/tpu_worker.sh"
INSTALL = (
    "mkdir -p bert_jax && rm -rf bert_jax/bert_jax && "
    f"tar -xzf bert_jax.tar.gz -C bert_jax && {WORKER} install"
)
CREATE = "tpu-vm create pod --zone=zone-a --version=tpu-base --accelerator-type=v4-16"
COPY = "tpu-vm scp --quiet runs/tpu/pod/bert_jax.tar.gz pod: --zone=zone-a --worker=all"
PIP = ["pip install --quiet jax[tpu] --editable ."] * 2  # on each of the workers


def pod(cloud: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    script = cloud / "tree/launch/tpu_pod.sh"
    return run(str(script), *words, cwd=cloud, env=environment(cloud, **more))


def calls(cloud: Path) -> list[str]:
    """What was called, looks apart."""
    lines = (cloud / "calls").read_text().replace(f"{cloud}/", "").splitlines()
    kept = [line for line in lines if not re.search(r" describe |worker\.sh status$|log$", line)]
    return [re.sub(r"^gcloud compute tpus ", "", line) for line in kept]


def on_all(command: str) -> str:
    return f"tpu-vm ssh pod --zone=zone-a --quiet --worker=all --command={command}"


def begun(program: str) -> list[str]:
    return [COPY, on_all(INSTALL), *PIP, on_all(f"{WORKER} start bash -c '{program}'")]


def test_pod_dry_run(cloud: Path) -> None:
    command = "python -m bert_jax.train --workdir /mnt/bert_jax/run".split()
    options = "--project mine --spot --queued --bucket b --dry-run --".split()
    result = pod(cloud, "run", *POD, *options, *command)
    place = "--zone=zone-a --project=mine"
    tpus, ssh = (
        "gcloud compute tpus",
        f"gcloud compute tpus tpu-vm ssh pod {place} --quiet --worker=",
    )
    archive = "runs/tpu/pod/bert_jax.tar.gz"
    assert result.stdout.replace(f"{cloud}/", "").splitlines() == [
        "# unless it exists; then until it is READY:",
        f"{tpus} queued-resources create pod {place} --node-id=pod --runtime-version=tpu-base "
        "--accelerator-type=v4-16 --spot",
        f"{tpus} tpu-vm describe pod {place} '--format=value(state)'",
        "mkdir -p runs/tpu/pod",
        f"git -C tree/launch/.. archive --format=tar.gz --output={archive} HEAD",
        f"{tpus} tpu-vm scp --quiet {archive} pod: {place} --worker=all",
        f"{ssh}all '--command={INSTALL} '\\''b'\\'''",
        f"{ssh}all '--command={WORKER} start {' '.join(command)}'",
        "# every 0.1 s:",
        f"{ssh}all '--command={WORKER} status'",
        f"{ssh}0 '--command=tail -c +1 bert_jax_run/log'",
        "# if it was taken away, before all of this again:",
        f"{tpus} queued-resources delete pod {place} --force --quiet",
        "# at the end, from each worker:",
        f"{ssh}0 '--command=cat bert_jax_run/log'",
    ]
    assert not (cloud / "calls").exists()


def test_pod_is_made_and_used_again(cloud: Path) -> None:
    program = "echo worker $WORKER pod $BERT_JAX_TPU_POD in ${PWD##*/}"
    first = pod(cloud, "run", *POD, "bash", "-c", program)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "worker 0 pod 1 in bert_jax\n"
    logs = [(cloud / f"runs/tpu/pod/{worker}.log").read_text() for worker in range(2)]
    assert logs == [f"worker {worker} pod 1 in bert_jax\n" for worker in range(2)]
    assert calls(cloud) == [CREATE, *begun(program)]
    (cloud / "calls").unlink()
    deleted, made = cloud / "w1/bert_jax/bert_jax/deleted.py", cloud / "w1/bert_jax/runs/made"
    for path in (deleted, made):  # of an earlier commit, and of an earlier run
        path.parent.mkdir()
        path.touch()
    again = pod(cloud, "run", *POD, "bash", "-c", program)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert (cloud / "w0/bert_jax_run/log.1").read_text() == first.stdout
    assert calls(cloud) == begun(program)
    assert not deleted.exists()
    assert made.exists()


def test_pod_that_cannot_be_asked_at_the_end_is_not_lost(cloud: Path) -> None:
    program = "[ $WORKER = 0 ] || touch $CLOUD/blink"
    result = pod(cloud, "run", *POD, "bash", "-c", program)
    assert result.returncode == 0, result.stderr
    assert not (cloud / "blink").exists()
    assert calls(cloud) == [CREATE, *begun(program)]


@pytest.mark.parametrize(
    "event",
    [
        "echo PREEMPTED >$CLOUD/vm; sleep 1",
        "touch $CLOUD/leaving",
        "touch $CLOUD/leaving $CLOUD/blink",
    ],
)
def test_pod_that_was_taken_away_is_made_again(event: str, cloud: Path) -> None:
    """Gone in the middle, or after all workers had saved and ended with status 0."""
    program = f"[ $WORKER = 1 ] || [ -e $CLOUD/once ] || {{ touch $CLOUD/once; {event}; }}; echo on"
    result = pod(cloud, "run", *POD, "--spot", "bash", "-c", program)
    assert result.returncode == 0, result.stderr
    assert "pod was lost; making it again\n" in result.stderr
    create, delete = f"{CREATE} --spot", "tpu-vm delete pod --zone=zone-a --quiet"
    assert calls(cloud) == [create, *begun(program), delete, create, *begun(program)]
    assert set(result.stdout.split()) == {"on"}


def test_pod_by_a_request_and_a_bucket(cloud: Path) -> None:
    program = "grep -q ACTIVE $CLOUD/request # /mnt/bert_jax"
    result = pod(cloud, "run", *POD, "--queued", "--bucket", "b", "bash", "-c", program)
    assert result.returncode == 0, result.stderr
    assert "pod: waiting_for_resources \n" in result.stderr
    create, *rest = calls(cloud)
    assert create == (
        "queued-resources create pod --zone=zone-a --node-id=pod --runtime-version=tpu-base "
        "--accelerator-type=v4-16"
    )
    mounts = [line for line in rest if line.startswith("gcsfuse")]
    assert [line.split()[-2:] for line in mounts] == [["b", "/mnt/bert_jax"]] * 2
    assert pod(cloud, "delete", *POD[:4], "--queued").returncode == 0
    assert calls(cloud)[-1] == "queued-resources delete pod --zone=zone-a --force --quiet"


def test_pod_stops_at_what_the_user_must_fix(cloud: Path) -> None:
    program = "echo error: no such config; exit 2"
    result = pod(cloud, "run", *POD, "bash", "-c", program)
    assert result.returncode == 2
    assert result.stdout == "error: no such config\n"
    assert result.stderr.endswith("error: the program ended with status 2, which is yours to fix\n")
    assert calls(cloud) == [CREATE, *begun(program), on_all(f"{WORKER} stop")]


def test_pod_starts_a_failed_program_again(cloud: Path) -> None:
    """One worker fails and the other hangs, which must not keep the TPU from the next start."""
    once = (
        "touch $CLOUD/once$WORKER; [ $WORKER = 0 ] && exit 1; echo $$ >$CLOUD/hung; exec sleep 60"
    )
    program = f"[ -e $CLOUD/once$WORKER ] || {{ {once}; }}"
    result = pod(cloud, "run", *POD, "bash", "-c", program)
    assert result.returncode == 0, result.stderr
    assert not Path("/proc", (cloud / "hung").read_text().strip()).exists()
    assert result.stderr.count("the program failed; starting it again") == 1
    result = pod(cloud, "run", *POD, "--restarts", 1, "bash", "-c", "exit 1")
    assert result.returncode == 1
    assert result.stderr.endswith("error: the program failed too often\n")


def test_worker_that_is_late_to_note_a_status(cloud: Path) -> None:
    """What stays with a program that is killed wakes when the next program runs already."""

    def worker(*words: str) -> str:
        script = str(cloud / "tree/launch/tpu_worker.sh")
        result = run(script, *words, env=environment(cloud, HOME=str(cloud)))
        assert result.returncode == 0, result.stderr
        return result.stdout

    worker("start", "sleep", "60")
    number = (cloud / "bert_jax_run/pid").read_text().strip()
    stays = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(stays, signal.SIGSTOP)
    worker("start", "sleep", "60")
    os.kill(stays, signal.SIGCONT)
    wait_for(lambda: not Path(f"/proc/{number}").exists())
    wait_for(lambda: has_ended(stays))
    assert worker("status") == "program running\n"
    worker("stop")
    wait_for(lambda: worker("status") == "program 143\n")


def has_ended(number: int) -> bool:
    """Also when nobody has asked for its status."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_pod_deleted_by_someone_stays_deleted(cloud: Path) -> None:
    program = "[ $WORKER = 0 ] || rm $CLOUD/vm; exec sleep 2"
    result = pod(cloud, "run", *POD, "bash", "-c", program)
    assert result.returncode == 1
    assert result.stderr.endswith("error: pod was deleted\n")
    assert sum("create" in line for line in calls(cloud)) == 1


def test_pod_that_runs_is_watched_and_stopped(cloud: Path) -> None:
    program = 'trap "echo saved; exit 0" TERM; echo on >>$CLOUD/on; while :; do sleep 0.05; done'
    script = str(cloud / "tree/launch/tpu_pod.sh")

    def watch() -> subprocess.Popen[str]:
        return subprocess.Popen(
            # A test run in the background ignores Ctrl-C, and what it starts would too.
            ["env", "--default-signal=INT", "bash", script, "run", *POD, "bash", "-c", program],
            cwd=cloud, env=environment(cloud), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    first = watch()
    wait_for(lambda: (cloud / "on").exists() and (cloud / "on").read_text() == "on\non\n")
    first.send_signal(signal.SIGINT)
    assert "it runs on" in first.communicate()[1]
    assert first.returncode == 130
    second = watch()
    assert second.stderr is not None
    assert second.stderr.readline() == "pod runs a program already; watching that\n"
    assert pod(cloud, "stop", *POD[:4]).returncode == 0
    assert second.communicate()[0] == "saved\n"
    assert second.returncode == 0
    assert (cloud / "on").read_text() == "on\non\n"  # started once


def test_pod_without_connection_is_an_error_at_first(cloud: Path) -> None:
    (cloud / "offline").touch()
    result = pod(cloud, "run", *POD, "true")
    assert result.returncode == 1
    assert result.stderr == "no connection\n"
