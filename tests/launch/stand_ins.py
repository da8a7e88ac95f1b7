"""Programs that play gcloud and Slurm, and what runs the launch scripts against them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"
BASE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}

# Two workers, each with a home of its own in $CLOUD, on which commands really run. A request is
# granted at the second look. After `blink` one look fails.
GCLOUD = r"""
echo "gcloud $*" >>"$CLOUD/calls"
[ -e "$CLOUD/offline" ] && { echo "no connection" >&2; exit 1; }
need() { [ -e "$CLOUD/$1" ] || { echo "ERROR: NOT_FOUND: pod was not found" >&2; exit 1; }; }
boot() { mkdir -p "$CLOUD/w0" "$CLOUD/w1"; echo READY >"$CLOUD/vm"; }
worker=0
for word; do case $word in
    --worker=all) worker='0 1' ;;
    --worker=*) worker=${word#*=} ;;
    --command=*) command=${word#*=} ;;
esac; done
case $3:$4 in
    tpu-vm:create) boot ;;
    queued-resources:create) echo WAITING_FOR_RESOURCES >"$CLOUD/request" ;;
    tpu-vm:describe)
        [ -e "$CLOUD/blink" ] && { rm "$CLOUD/blink"; echo "no connection" >&2; exit 1; }
        need vm; if [ -e "$CLOUD/leaving" ]; then echo PREEMPTED; else cat "$CLOUD/vm"; fi ;;
    queued-resources:describe)
        need request; cat "$CLOUD/request"
        grep -q WAITING "$CLOUD/request" && { echo ACTIVE >"$CLOUD/request"; boot; } ;;
    *:delete) rm -rf "$CLOUD/vm" "$CLOUD/request" "$CLOUD"/w[01] "$CLOUD/leaving" ;;
    tpu-vm:scp) for i in $worker; do cp "$6" "$CLOUD/w$i/"; done ;;
    tpu-vm:ssh)
        need vm; grep -q READY "$CLOUD/vm" || exit 255
        status=0
        for i in $worker; do
            (cd "$CLOUD/w$i"; HOME=$PWD WORKER=$i bash -c "$command") || status=$?
        done
        exit $status ;;
esac
exit 0
"""
PYTHON3 = r"""
[ "$2" = uv ] || exit 0
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\necho "pip $*" >>"$CLOUD/calls"\n' >"$folder/bin/pip"
chmod +x "$folder/bin/pip"
"""
# Two tasks on one node. SIGTERM to srun itself kills its tasks, as Slurm does.
SRUN = r"""
echo "srun $*" >>"$CLOUD/calls"
shift  # --wait
for i in 0 1; do
    SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=2 "$@" & echo $! >>"$CLOUD/tasks"
done
trap 'kill -KILL $(cat "$CLOUD/tasks")' TERM
worst=0
for i in $(cat "$CLOUD/tasks"); do
    status=0; wait $i || status=$?; [ $status -le $worst ] || worst=$status
done
exit $worst
"""
SCANCEL = 'echo "scancel $*" >>"$CLOUD/calls"; kill -TERM $(cat "$CLOUD/tasks")'
SCONTROL = 'echo "scontrol $*" >>"$CLOUD/calls"'
# The training program of Slurm's tasks: saves at SIGTERM, or ends with the status it is given.
PYTHON = r"""
place="at $JAX_COORDINATOR_ADDRESS gpu $CUDA_VISIBLE_DEVICES"
echo "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES $place" >>"$CLOUD/seen"
trap 'exit ${AFTER_TERM:-0}' TERM
[ "$3" = wait ] || exit "$3"
while :; do sleep 0.05; done
"""
PROGRAMS = {
    "gcloud": GCLOUD,
    "python3": PYTHON3,
    "srun": SRUN,
    "scancel": SCANCEL,
    "scontrol": SCONTROL,
    "python": PYTHON,
    "sudo": 'echo "sudo $*" >>"$CLOUD/calls"',
    "gcsfuse": 'echo "gcsfuse $*" >>"$CLOUD/calls"',
    "mountpoint": "exit 1",
}


def make_cloud(folder: Path) -> None:
    """What the stand-ins need in the folder where they keep what they are told."""
    (folder / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}")
        (folder / "bin" / name).chmod(0o755)
    shutil.copytree(LAUNCH, folder / "tree/launch")
    git = "git -c user.name=nobody -c user.email=nobody@example.com".split()
    for words in ("init --quiet", "add .", "commit --quiet --message=all"):
        subprocess.run([*git, *words.split()], cwd=folder / "tree", check=True)


def environment(cloud: Path, **more: str) -> dict[str, str]:
    return BASE | {"PATH": f"{cloud / 'bin'}:{BASE['PATH']}", "CLOUD": str(cloud)} | more


def run(
    script: str, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(LAUNCH / script), *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=env or BASE, text=True, capture_output=True, timeout=60, check=False
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
