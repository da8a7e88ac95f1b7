#!/usr/bin/env bash
# One machine with GPUs: the environment that GPUs want, and a new start after a failure.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: launch/gpu_node.sh [--per-gpu] [--gpus LIST] [--restarts R] [--pause SECONDS] [--dry-run] [--] COMMAND...

Runs COMMAND in one process that drives all GPUs of this machine, or in one process for each. A
process that fails is started again and resumes, but not after status 2 (yours to fix), Ctrl-C or
SIGTERM (it saves and ends with status 0).

  --per-gpu        one process for each GPU, by launch/local.sh
  --gpus LIST      the GPUs to use, such as 0,1,2,3 (CUDA_VISIBLE_DEVICES, or all)
  --restarts R     at most so many new starts (3)
  --pause SECONDS  before each (10)
  --dry-run        prints the command and runs nothing

example:
  launch/gpu_node.sh --per-gpu -- python -m bert_jax.train --config configs/base.py --workdir runs/base
TEXT
}

fail() {
    echo "error: $1; see launch/gpu_node.sh --help" >&2
    exit 2
}

# The words of a command as a shell takes them; quoted only where they must be.
quoted() {
    local word line=
    for word; do
        [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s\n' "${line# }"
}

number() { [[ $1 =~ ^[0-9]+$ ]]; }

per_gpu=false gpus=${CUDA_VISIBLE_DEVICES-} restarts=3 pause=10 dry_run=false
while (($#)); do
    case $1 in
        --help | -h) usage; exit ;;
        --per-gpu) per_gpu=true; shift ;;
        --gpus)
            [[ ${2-} =~ ^[^,]+(,[^,]+)*$ ]] || fail "--gpus takes a list such as 0,1"
            gpus=$2; shift 2 ;;
        --restarts)
            number "${2-}" || fail "--restarts takes a number"
            restarts=$2; shift 2 ;;
        --pause)
            number "${2-}" || fail "--pause takes a number of seconds"
            pause=$2; shift 2 ;;
        --dry-run) dry_run=true; shift ;;
        --) shift; break ;;
        -*) fail "unknown option $1" ;;
        *) break ;;
    esac
done
(($#)) || fail "COMMAND is missing"

if [[ -z $gpus ]]; then
    names=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null) ||
        fail "nvidia-smi finds no GPU; install NVIDIA's driver, or name the GPUs by --gpus"
    gpus=${names//$'\n'/,}
fi

# What is set already stands.
settings=(
    # JAX takes three quarters of a GPU's memory unless told; nothing else runs here. The rest is
    # for CUDA's own and for NCCL's buffers, which are not from JAX's pool.
    "XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
    # Sums of gradients over GPUs start as soon as they can, while the rest is computed
    # (JAX's GPU performance tips).
    "XLA_FLAGS=${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
    # NCCL is silent about what went wrong unless asked.
    "NCCL_DEBUG=${NCCL_DEBUG:-WARN}"
)
IFS=, read -ra list <<<"$gpus"
if $per_gpu; then
    # Process i sees only the i-th of the list. `exec`, so that signals reach the program itself.
    # shellcheck disable=SC2016  # for the processes to expand
    choose='IFS=, read -ra list <<<"$0"; export CUDA_VISIBLE_DEVICES=${list[JAX_PROCESS_ID]}; exec "$@"'
    command=(env "${settings[@]}" "$(dirname "$0")/local.sh" "${#list[@]}" -- bash -c "$choose" "$gpus" "$@")
else
    command=(env "${settings[@]}" "CUDA_VISIBLE_DEVICES=$gpus" "$@")
fi
if $dry_run; then
    quoted "${command[@]}"
    exit
fi

stopped=false pid=
# shellcheck disable=SC2329  # the traps call it
forward() {
    stopped=true
    [[ -z $pid ]] || kill "-$1" "$pid" 2>/dev/null || true
}
trap 'forward TERM' TERM
trap 'forward INT' INT

for ((start = 0; ; start++)); do
    # A group of its own, so that a Ctrl-C reaches it once, from here, and not from the terminal too.
    set -m
    "${command[@]}" </dev/null &
    pid=$!
    set +m
    # Not by `wait` alone: a signal ends it before the process.
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2 || true; done
    status=0
    wait "$pid" || status=$?
    pid=
    case $status in 0 | 2 | 130) exit "$status" ;; esac
    if $stopped || ((start == restarts)); then
        exit "$status"
    fi
    echo "status $status; start $((start + 1)) of $restarts in $pause s" >&2
    sleep "$pause" || true
    if $stopped; then
        exit "$status"
    fi
done
