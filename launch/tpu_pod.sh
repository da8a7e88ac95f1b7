#!/usr/bin/env bash
# A Cloud TPU pod slice: made, installed, started on all workers, followed, made anew when it is lost.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: launch/tpu_pod.sh run --name NAME --zone ZONE --type TYPE --version VERSION [OPTIONS] [--] COMMAND...
       launch/tpu_pod.sh stop|delete --name NAME --zone ZONE [--project P] [--queued] [--dry-run]

run     makes the TPU VM unless it exists, installs this tree's last commit on all workers, starts
        COMMAND on all of them, shows the output of worker 0 and keeps all outputs in runs/tpu/NAME,
        until COMMAND is done. Ctrl-C ends the watching only; the same command watches again.
stop    SIGTERM to the program: it saves and ends
delete  deletes the TPU VM

  --project P        the project (that of gcloud's configuration)
  --type TYPE        such as v4-32
  --version VERSION  of the TPU software, such as tpu-ubuntu2204-base
  --spot             a TPU that may be taken away; then it is made again and COMMAND goes on
  --queued           asks by a queued resource of the same name and waits until it is granted
  --bucket B         mounts the Cloud Storage bucket B at /mnt/bert_jax on all workers
  --restarts R       at most so many new starts after failures, status 2 excepted (3)
  --poll SECONDS     between two looks (30)
  --dry-run          prints the commands and runs nothing

example:
  launch/tpu_pod.sh run --name bert --zone us-central2-b --type v4-32 --version tpu-ubuntu2204-base --spot \
      --bucket my-bucket -- python -m bert_jax.train --config configs/base.py --workdir /mnt/bert_jax/runs/base
TEXT
}

fail() { echo "error: $1" >&2; exit "${2:-2}"; }

# The words of a command as a shell takes them; quoted only where they must be.
quoted() {
    local word line=
    for word; do
        [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=${word@Q}
        line+=" $word"
    done
    printf '%s\n' "${line# }"
}

action='' name='' zone='' project='' type='' version='' bucket='' restarts=3 poll=30
spot=false queued=false dry_run=false help='see launch/tpu_pod.sh --help'
case ${1-} in
    --help | -h) usage; exit ;;
    run | stop | delete) action=$1; shift ;;
    *) fail "the first word is run, stop or delete; $help" ;;
esac
while (($#)); do
    case $1 in
        --help | -h) usage; exit ;;
        --name | --zone | --project | --type | --version | --bucket | --restarts | --poll)
            [[ -n ${2-} && $2 != --* ]] || fail "$1 takes a value; $help"
            printf -v "${1#--}" %s "$2"; shift 2 ;;
        --spot | --queued) printf -v "${1#--}" true; shift ;;
        --dry-run) dry_run=true; shift ;;
        --) shift; break ;;
        -*) fail "unknown option $1; $help" ;;
        *) break ;;
    esac
done
[[ -n $name && -n $zone ]] || fail "--name and --zone are needed; $help"
[[ $action != run || (-n $type && -n $version && $# -gt 0) ]] || fail "run needs --type, --version and COMMAND; $help"
[[ $action == run || $# == 0 ]] || fail "$action takes no COMMAND; $help"
[[ -z $bucket || "$*" == */mnt/bert_jax* ]] || fail "the bucket is mounted at /mnt/bert_jax; name a --workdir there"
[[ $restarts =~ ^[0-9]+$ && $poll =~ ^[0-9.]+$ ]] || fail "--restarts and --poll take numbers; $help"
logs=$PWD/runs/tpu/$name
where=("--zone=$zone" ${project:+"--project=$project"})
archive=$logs/bert_jax.tar.gz

call() { if $dry_run; then quoted "$@"; else "$@"; fi; }
vm() { call gcloud compute tpus tpu-vm "$1" "$name" "${where[@]}" "${@:2}"; }
request() { call gcloud compute tpus queued-resources "$1" "$name" "${where[@]}" "${@:2}"; }
on() { vm ssh --quiet "--worker=$1" "--command=$2"; }

create() {
    local kind=("--accelerator-type=$type")
    ! $spot || kind+=(--spot)
    if $queued; then
        request create "--node-id=$name" "--runtime-version=$version" "${kind[@]}"
    else
        vm create "--version=$version" "${kind[@]}"
    fi
}
delete() { if $queued; then request delete --force --quiet; else vm delete --quiet; fi; }

# A field of what gcloud says of "vm" or "request"; "missing", or "unknown" if it could not be asked.
state() {
    "$1" describe "--format=value($2)" 2>"$logs/gcloud.txt" && return
    if grep -q NOT_FOUND "$logs/gcloud.txt"; then echo missing; else echo unknown; fi
}

# Returns when the TPU VM is there. What cannot be asked or made is an error the first time only:
# later it is a bad connection, or no spot capacity for now.
once=false
ready() {
    local granted=ACTIVE node='' said=''
    while true; do
        ! $queued || granted=$(state request state.state)
        [[ $granted != ACTIVE ]] || node=$(state vm state)
        case $granted:$node in
            ACTIVE:READY) once=true; return ;;
            ACTIVE:STOPPED) fail "$name is stopped; start it (gcloud compute tpus tpu-vm start $name) or delete it" ;;
            FAILED:*) fail "the request $name failed; see gcloud compute tpus queued-resources describe $name ${where[*]}" 1 ;;
            missing:*) create || $once || exit 1 ;;
            ACTIVE:missing) { if $queued; then delete; else create; fi } || $once || exit 1 ;;
            ACTIVE:PREEMPTED | ACTIVE:TERMINATED | SUSPENDED:*) delete || $once || exit 1 ;;
            *unknown*) $once || { cat "$logs/gcloud.txt" >&2; exit 1; } ;;
        esac
        [[ $granted:$node == "$said" ]] || echo "$name: ${granted,,} ${node,,}" >&2
        said=$granted:$node node=''
        sleep "$poll"
    done
}

worker=bert_jax/launch/tpu_worker.sh
install() {  # without the modules of an earlier commit, which could still be imported
    call gcloud compute tpus tpu-vm scp --quiet "$archive" "$name:" "${where[@]}" --worker=all &&
        on all "mkdir -p bert_jax && rm -rf bert_jax/bert_jax && tar -xzf bert_jax.tar.gz -C bert_jax && $worker install${bucket:+ ${bucket@Q}}"
}
start() { on all "$worker start $(quoted "$@")"; }
# A line for each worker: "program" and its status, or running, gone or none.
probe() { on all "$worker status"; }
tell() { on all "$worker stop"; }

if [[ $action == stop ]]; then tell; exit; fi
if [[ $action == delete ]]; then delete; exit; fi
pack=(git -C "$(dirname "$0")/.." archive --format=tar.gz "--output=$archive" HEAD)
if $dry_run; then
    echo "# unless it exists; then until it is READY:"; create; vm describe "--format=value(state)"
    quoted mkdir -p "$logs"; quoted "${pack[@]}"; install; start "$@"
    echo "# every $poll s:"; probe; on 0 "tail -c +1 bert_jax_run/log"
    echo "# if it was taken away, before all of this again:"; delete
    echo "# at the end, from each worker:"; on 0 "cat bert_jax_run/log"
    exit
fi

# Watches until the program has ended on all workers; `outcome`: over, failed, 2 or lost.
watch() {
    local words now=unknown seen=false
    while sleep "$poll"; do
        if ! words=$(probe 2>"$logs/gcloud.txt" | grep '^program '); then
            [[ $(state vm state) == @(READY|unknown) ]] && continue  # the connection's fault, then
            outcome=lost; return
        fi
        if on 0 "tail -c +$shown bert_jax_run/log" >"$logs/new.txt" 2>"$logs/gcloud.txt"; then
            cat "$logs/new.txt"
            shown=$((shown + $(wc -c <"$logs/new.txt")))
        fi
        workers=$(wc -l <<<"$words") outcome=failed
        case $words$'\n' in
            *" 2"$'\n'*) outcome=2; return ;;
            *gone* | *none* | *" "[1-9]*)
                # The others learn of it through JAX; one look later they should have ended.
                ! $seen && [[ $words == *running* ]] || break
                seen=true ;;
            *running*) ;;
            *) outcome=over; break ;;
        esac
    done
    # Or did it end because the machine is about to be taken away? Asked until there is an answer.
    while [[ $now == unknown ]]; do sleep "$poll"; now=$(state vm state); done
    [[ $now == READY ]] || outcome=lost
}
fetch() {
    local i
    for ((i = 0; i < workers; i++)); do
        on "$i" "cat bert_jax_run/log" >"$logs/$i.log" 2>"$logs/gcloud.txt" || true
    done
    echo "outputs of all workers: $logs; $name is still there and costs (launch/tpu_pod.sh delete)" >&2
}

mkdir -p "$logs"
git -C "$(dirname "$0")/.." diff --quiet HEAD || echo "warning: what is not committed is not sent" >&2
"${pack[@]}"  # once, so that a run made anew is of the same code
trap 'echo "it runs on; the same command watches again, launch/tpu_pod.sh stop ends it" >&2; exit 130' INT
shown=1
ready
if [[ $(probe 2>/dev/null) == *running* ]]; then
    echo "$name runs a program already; watching that" >&2
else
    install; start "$@"
fi
while true; do
    watch
    case $outcome in
        over) fetch; exit ;;
        2) tell || true; fetch; fail "the program ended with status 2, which is yours to fix" ;;
        lost)
            $spot || [[ $(state vm state) != missing ]] || fail "$name was deleted" 1
            echo "$name was lost; making it again" >&2
            shown=1; until ready && install; do sleep "$poll"; done ;;
        failed)
            ((restarts-- > 0)) || { fetch; fail "the program failed too often" 1; }
            echo "the program failed; starting it again" >&2 ;;
    esac
    start "$@" || true  # what fails here is seen by `watch`
done
