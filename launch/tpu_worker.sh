#!/usr/bin/env bash
# What launch/tpu_pod.sh has done on each worker of a pod slice, in the copy of this tree there.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: launch/tpu_worker.sh [--dry-run] install [BUCKET] | start COMMAND... | status | stop

Run by launch/tpu_pod.sh on the workers of a Cloud TPU pod slice.

install  Python and this package with JAX for TPUs; mounts the Cloud Storage bucket at /mnt/bert_jax;
         the log of an earlier run becomes ~/bert_jax_run/log.1
start    COMMAND, so that it outlives the connection; its output goes to ~/bert_jax_run/log
status   prints "program" and its exit status, or running, gone (without a status) or none
stop     SIGTERM to the program

  --dry-run  prints the commands and runs nothing

example:
  launch/tpu_worker.sh --dry-run start python -m bert_jax.train --config configs/base.py
TEXT
}

fail() {
    echo "error: $1; see launch/tpu_worker.sh --help" >&2
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

dry_run=false
case ${1-} in
    --help | -h) usage; exit ;;
    --dry-run) dry_run=true; shift ;;
esac
call() { if $dry_run; then quoted "$@"; else "$@"; fi; }

cd "$(dirname "$0")/.."
run=~/bert_jax_run
venv=$PWD/.venv
gcsfuse=https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v3.8.4/gcsfuse_3.8.4_amd64.deb

alive() { [[ -s $run/pid ]] && kill -0 "$(<"$run/pid")" 2>/dev/null; }
# The status has the number of its program in its name: what is left of one that was killed may
# write its own when the next one runs already.
ended() { [[ -s $run/pid && -s $run/status.$(<"$run/pid") ]]; }

case ${1-}:$# in
    install:1 | install:2)
        # The new starts of one run share a log, of which launch/tpu_pod.sh shows what is new.
        if $dry_run || [[ -e $run/log ]]; then
            call mv "$run/log" "$run/log.1"
        fi
        # Python by uv: the image's own is older than 3.11. The images' Pythons differ in whether
        # they let pip install for the user unasked.
        if $dry_run || [[ ! -x $venv/bin/pip ]]; then
            call rm -rf "$venv"
            call env PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
            call python3 -m uv venv --quiet --seed --python 3.12 "$venv"
        fi
        call "$venv/bin/pip" install --quiet 'jax[tpu]' --editable .
        if (($# == 1)) || { ! $dry_run && mountpoint --quiet /mnt/bert_jax; }; then
            exit
        fi
        if $dry_run || ! command -v gcsfuse >/dev/null; then
            call curl -fsSL -o /tmp/gcsfuse.deb "$gcsfuse"
            # A new machine may still be at its own updates.
            call sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq /tmp/gcsfuse.deb
        fi
        call sudo mkdir -p /mnt/bert_jax
        call sudo chown "$(id -un)" /mnt/bert_jax
        # A checkpoint is a folder that gets its name when it is whole, which is refused without a
        # limit. Without caches every worker sees at once what another has written.
        call gcsfuse --implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 \
            --metadata-cache-negative-ttl-secs=0 "$2" /mnt/bert_jax
        ;;
    start:[2-9] | start:??*)
        shift
        # BERT_JAX_TPU_POD: that the program looks for the other workers.
        settings=(BERT_JAX_TPU_POD=1 "PATH=$venv/bin:$PATH")
        # shellcheck disable=SC2016  # for the shell that stays with the program
        stay='"$@" & echo $! >"$0/pid"; status=0; wait $! || status=$?; echo $status >"$0/status.$!"'
        if $dry_run; then
            echo "$(quoted env "${settings[@]}" nohup bash -c "$stay" "$run" "$@") >>$run/log 2>&1 </dev/null &"
            exit
        fi
        # What is left of one that failed: it holds the TPU.
        ! alive || kill -KILL "$(<"$run/pid")"
        mkdir -p "$run"
        rm -f "$run/pid" "$run"/status.*
        env "${settings[@]}" nohup bash -c "$stay" "$run" "$@" >>"$run/log" 2>&1 </dev/null &
        until [[ -s $run/pid ]]; do sleep 0.1; done
        ;;
    status:1)
        if $dry_run; then
            echo "cat $(quoted "$run/status.")\$(cat $(quoted "$run/pid"))"
            exit
        fi
        # Between its end and its status there is a moment.
        [[ ! -s $run/pid ]] || ended || alive || sleep 1
        if ended; then
            echo "program $(<"$run/status.$(<"$run/pid")")"
        elif alive; then
            echo "program running"
        elif [[ -d $run ]]; then
            echo "program gone"
        else
            echo "program none"
        fi
        ;;
    stop:1)
        if $dry_run; then
            echo "kill -TERM \$(cat $(quoted "$run/pid"))"
        elif alive; then
            kill -TERM "$(<"$run/pid")"
        fi
        ;;
    *) fail "what to do is install, start COMMAND, status or stop" ;;
esac
