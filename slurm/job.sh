#!/usr/bin/env bash
# One job: a run under srun. Told of the time limit it lets the run checkpoint and queues again.
#
# `study launch` (and its --dry-run) writes a job.sh into every run directory, which holds SLURM's
# options and the variables below and sources this file. By hand:
#
#     sbatch <store>/<run>/job.sh
#
#     STUDY_RUN              the run directory
#     STUDY_CODE             the code that was submitted
#     STUDY_EXECUTION        how to execute: a JSON file
#     STUDY_PYTHON           the interpreter; before it stand the arguments STUDY_PREFIX=(...)
#     STUDY_RANKS_PER_NODE   processes of a node
#     STUDY_CPUS             cores of a process
#     STUDY_THREADS          threads of a process
#     STUDY_GRACE            seconds from SLURM's warning until this script stops waiting
#     STUDY_SCRATCH          a directory of the node for caches; empty: TMPDIR
#     STUDY_CACHE            downloads, seen by every node
#     STUDY_OFFLINE          not empty: nothing is downloaded
#     study_setup            a function: what must be done before python
#
# Exit codes: the run's own, see `study --help`. After USR1 (SLURM's warning, --signal=B:USR1@N) the
# job queues itself again unless the run is done or has failed. After TERM (preemption, scancel) it
# does not: whoever sent that knows better. A failure never queues again, nor does a run whose last
# three attempts left no new checkpoint: its time limit is too short (requeues.txt counts them).
#
# shellcheck disable=SC2317  # traps call these functions

set -uo pipefail
: "${SLURM_JOB_ID:?submit this with sbatch}"
: "${STUDY_RUN:?}" "${STUDY_CODE:?}" "${STUDY_EXECUTION:?}" "${STUDY_PYTHON:?}" "${STUDY_GRACE:?}"

signalled=${signalled:-} # USR1 or TERM; TERM stays
heard=''                 # a trap ran, so that `wait` may have returned for it
late=''                  # the ranks did not end in time
step=''                  # srun
watch=''                 # what reminds the ranks, and then this shell
resend=15

say() { echo "$(date +%FT%T) job ${SLURM_JOB_ID}: $*" >&2; }

on_signal() {
    heard=yes
    say "$1 received"
    if [[ $signalled != TERM ]]; then signalled=$1; fi
    if [[ -n $step ]]; then pass_on; fi
}

# srun passes USR1 on to the ranks; it takes TERM as an order to kill them.
pass_on() {
    kill -s USR1 "$step" 2>/dev/null
    if [[ -z $watch ]]; then
        remind >/dev/null 2>&1 &
        watch=$!
    fi
}

study_check() {
    if (($1 != 0)); then say "exit code $1 of the profile's line: $2"; fi
    return "$1"
}

# USR1 is lost on a rank that is only being started, so it is said again until the time is over.
remind() {
    trap - USR1 ALRM EXIT
    trap 'kill "$!"; exit' TERM
    local left=$STUDY_GRACE pause
    while ((left > 0)); do
        pause=$((left < resend ? left : resend))
        sleep "$pause" &
        wait "$!"
        left=$((left - pause))
        if ((left > 0)); then kill -s USR1 "$step" 2>/dev/null; fi
    done
    kill -s ALRM "$$"
}

newest_checkpoint() {
    local path newest=none
    for path in "$STUDY_RUN"/checkpoints/step-*; do
        if [[ -d $path ]]; then newest=${path##*/}; fi
    done
    echo "$newest"
}

queue_again() {
    # A task's own id may be the whole array's (the last task has it): array.sh names the task.
    local job=${study_task:-$SLURM_JOB_ID} attempt line
    line="$SLURM_JOB_ID $(newest_checkpoint)"
    echo "$line" >>"$STUDY_RUN/requeues.txt"
    if (($(tail -n 3 "$STUDY_RUN/requeues.txt" | grep -cxF "$line") == 3)); then
        say "not queued again: three attempts left no new checkpoint (${line#* }); this run needs" \
            "a longer time limit"
        exit 75
    fi
    if [[ -z $late ]]; then remove_caches; fi # the job's last chance: requeueing ends it
    for attempt in 1 2 3 4 5 6; do
        if scontrol requeue "$job"; then
            say "queued again"
            exit 75
        fi
        say "SLURM did not take the job back (attempt $attempt)"
        sleep 5
    done
    say "not queued again: launching the study again goes on from the last checkpoint"
    exit 75
}

remove_caches() {
    rm -rf "$STUDY_RENDEZVOUS" "$local_cache"
    if ((${SLURM_JOB_NUM_NODES:-1} > 1)); then
        timeout 10 srun --overlap --ntasks-per-node=1 --ntasks="$SLURM_JOB_NUM_NODES" \
            rm -rf "$local_cache" 2>/dev/null
    fi
    trap end_watch EXIT
}

end_watch() {
    if [[ -n $watch ]]; then kill "$watch" 2>/dev/null; fi
}

clean_up() {
    trap '' USR1 TERM ALRM
    end_watch
    remove_caches
}

trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM
trap 'heard=yes; late=yes' ALRM

attempt_name=$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
scratch=${STUDY_SCRATCH:-${TMPDIR:-/tmp}}
local_cache=$scratch/archstudy-$(id -u)-$attempt_name
export STUDY_RENDEZVOUS=$STUDY_RUN/rendezvous/$attempt_name
trap clean_up EXIT
mkdir -p "$STUDY_RENDEZVOUS" "$local_cache" || exit 1

# Compilers' caches on a shared file system are slow and have mixed up nodes of several kinds.
export TRITON_CACHE_DIR=$local_cache/triton
export TORCHINDUCTOR_CACHE_DIR=$local_cache/inductor
export TORCH_EXTENSIONS_DIR=$local_cache/extensions
export CUDA_CACHE_PATH=$local_cache/cuda
export HF_HOME=$STUDY_CACHE/huggingface
if [[ -n ${STUDY_OFFLINE:-} ]]; then
    export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1
fi
export OMP_NUM_THREADS=$STUDY_THREADS MKL_NUM_THREADS=$STUDY_THREADS
export OPENBLAS_NUM_THREADS=$STUDY_THREADS RAYON_NUM_THREADS=$STUDY_THREADS

set +u # what a site's files do with unset variables is theirs
study_setup || exit
set -u
export PYTHONPATH=$STUDY_CODE${PYTHONPATH:+:$PYTHONPATH}

case $signalled in
USR1) queue_again ;;
TERM) exit 143 ;;
esac

say "started on ${SLURM_JOB_NODELIST:-this node}, attempt $((${SLURM_RESTART_COUNT:-0} + 1))"
srun --kill-on-bad-exit=1 --wait=0 --nodes="${SLURM_JOB_NUM_NODES:-1}" \
    --ntasks-per-node="$STUDY_RANKS_PER_NODE" --cpus-per-task="$STUDY_CPUS" \
    "${STUDY_PREFIX[@]}" "$STUDY_PYTHON" -P -m study.cli job "$STUDY_RUN" \
    --execution "$STUDY_EXECUTION" --code "$STUDY_CODE" &
step=$!
# A signal since the last look at it found no process to pass it on to.
if [[ -n $signalled ]]; then pass_on; fi

code=0
while :; do
    heard=''
    wait "$step"
    code=$?
    if [[ -n $late && $signalled == USR1 ]]; then
        say "the ranks are still at work: the last checkpoint stands"
        queue_again
    fi
    if [[ -z $heard ]]; then break; fi
done
say "ended with exit code $code"
if [[ $signalled == USR1 ]]; then
    case $code in
    0 | 2 | 3) ;;
    1) if [[ ! -e $STUDY_RUN/failed.json ]]; then queue_again; fi ;;
    *) queue_again ;;
    esac
fi
exit "$code"
