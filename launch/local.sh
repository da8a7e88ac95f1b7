#!/usr/bin/env bash
# Several processes of one program on this machine.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: launch/local.sh N [--devices K] [--grace SECONDS] [--dry-run] [--] COMMAND...

Runs COMMAND in N processes that find each other by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
JAX_PROCESS_ID. The output of process 0 is shown, that of the others goes to files in a folder that
is named. SIGTERM and Ctrl-C are passed on to all. The status is that of the first process to fail.

  --devices K      K CPU devices in each process
  --grace SECONDS  kills what is left so long after the first failure (90)
  --dry-run        prints the commands and runs nothing

example:
  launch/local.sh 2 --devices 2 -- python -m bert_jax.train --config configs/debug.py
TEXT
}

fail() {
    echo "error: $1; see launch/local.sh --help" >&2
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

whole() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }

processes='' devices='' grace=90 dry_run=false
while (($#)); do
    case $1 in
        --help | -h) usage; exit ;;
        --devices)
            whole "${2-}" || fail "--devices takes a number from 1"
            devices=$2; shift 2 ;;
        --grace)
            whole "${2-}" || fail "--grace takes a number of seconds from 1"
            grace=$2; shift 2 ;;
        --dry-run) dry_run=true; shift ;;
        --) shift; break ;;
        -*) fail "unknown option $1" ;;
        *)
            [[ -z $processes ]] || break
            whole "$1" || fail "N, the number of processes, is a number from 1 and not '$1'"
            processes=$1; shift ;;
    esac
done
[[ -n $processes ]] || fail "N, the number of processes, is missing"
(($#)) || fail "COMMAND is missing"

# Below 32768, from where Linux gives ports to connections that ask for none in particular.
while true; do
    port=$((20000 + RANDOM % 12000))
    logs=${TMPDIR:-/tmp}/bert_jax_local_$port
    if (exec 3<>"/dev/tcp/localhost/$port") 2>/dev/null; then
        continue  # somebody listens there
    fi
    if $dry_run || ((processes == 1)) || mkdir "$logs" 2>/dev/null; then
        break
    fi
    [[ -d $logs ]] || fail "cannot write to ${TMPDIR:-/tmp}; set TMPDIR to another folder"
done

settings=("JAX_COORDINATOR_ADDRESS=localhost:$port" "JAX_NUM_PROCESSES=$processes")
if [[ -n $devices ]]; then
    # On a machine with GPUs too.
    settings+=("JAX_PLATFORMS=cpu" "JAX_NUM_CPU_DEVICES=$devices")
fi

if $dry_run; then
    ((processes == 1)) || echo "mkdir $(quoted "$logs")"
    for ((i = processes - 1; i > 0; i--)); do
        echo "$(quoted "${settings[@]}" "JAX_PROCESS_ID=$i" "$@") > $(quoted "$logs/$i.log") 2>&1 &"
    done
    quoted "${settings[@]}" "JAX_PROCESS_ID=0" "$@"
    exit
fi
((processes == 1)) || echo "the output of all processes but 0 is in $logs" >&2

pids=()
# shellcheck disable=SC2329  # the traps call it
forward() {
    local i
    for i in "${!pids[@]}"; do
        kill "-$1" "${pids[i]}" 2>/dev/null || true
    done
}
trap 'forward TERM' TERM
trap 'forward INT' INT

# Each process is a group of its own, so that a Ctrl-C reaches it once, from here, and not from the
# terminal too; a second one would make it leave without saving.
set -m
for ((i = 0; i < processes; i++)); do
    if ((i == 0)); then
        env "${settings[@]}" "JAX_PROCESS_ID=$i" "$@" </dev/null &
    else
        env "${settings[@]}" "JAX_PROCESS_ID=$i" "$@" </dev/null >"$logs/$i.log" 2>&1 &
    fi
    pids+=($!)
done
set +m

status=0 deadline=''
while ((${#pids[@]})); do
    for i in "${!pids[@]}"; do
        kill -0 "${pids[i]}" 2>/dev/null && continue
        ended=0
        wait "${pids[i]}" 2>/dev/null || ended=$?
        unset "pids[$i]"
        ((ended)) || continue
        where=
        ((i == 0)) || where="; its output: $logs/$i.log"
        echo "process $i ended with status $ended$where" >&2
        if ((status == 0)); then
            status=$ended deadline=$((SECONDS + grace))
        fi
    done
    # The others learn of a failure through JAX and end on their own, within a minute even when one
    # was killed (45 s without a heartbeat, 10 s to tell the others); this is for one that does not.
    if [[ -n $deadline ]] && ((SECONDS >= deadline && ${#pids[@]})); then
        echo "killing what is left $grace s after the first failure: ${!pids[*]}" >&2
        for i in "${!pids[@]}"; do
            kill -KILL -- "-${pids[i]}" 2>/dev/null || true
        done
        deadline=
    fi
    sleep 0.2 || true
done
exit "$status"
