#!/usr/bin/env bash
# One task of an array: the run directory in line SLURM_ARRAY_TASK_ID (from 0) of a list, and the
# job.sh that lies there.
#
# `study launch` writes <store>/cluster/arrays/<token>/array.sh, which holds the options and
# variables and sources this file. By hand, for three tasks of which two may run at once:
#
#     sbatch --array=0-2%2 <store>/cluster/arrays/<token>/array.sh
#
#     STUDY_TASKS   the list, one run directory a line

: "${SLURM_ARRAY_TASK_ID:?this is a task of an array: submit it with sbatch --array}"
: "${SLURM_ARRAY_JOB_ID:?}"
: "${STUDY_TASKS:?}"

# shellcheck disable=SC2034  # job.sh queues itself again by it
study_task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
mapfile -t -s "$SLURM_ARRAY_TASK_ID" -n 1 study_line <"$STUDY_TASKS"
if [[ ! -f "${study_line[0]:-}/job.sh" ]]; then
    echo "line $SLURM_ARRAY_TASK_ID of $STUDY_TASKS: no job.sh in '${study_line[0]:-}'" >&2
    exit 2
fi
# Sourced, not started: SLURM warns the shell that it started, and that one must not go away.
# shellcheck source=/dev/null
source "${study_line[0]}/job.sh"
