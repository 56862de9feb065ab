#!/usr/bin/env bash
# The agents of a run file as one Slurm job, a task each:
#
#   sbatch --ntasks=8 deploy/slurm.sh topologies/ring.yaml runs/ring
#
# The run's folder lies where all nodes see it. Agents find each other by files in it, and the links between nodes are
# encrypted: make keys first (parse-agent keys --topology topologies/ring.yaml), also where all nodes see them.
# The task's number names the agent by its place in the file. When the job's time is nearly up, or it is requeued, the
# agents leave checkpoints. Requeued, or with the same command again, it goes on from them.
#SBATCH --job-name=parse
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@60
##SBATCH --gpus-per-task=1        # or --gres=shard:1, for several agents on one GPU
set -euo pipefail
topology=$1 out=$2
shift 2  # the rest goes to parse-agent, as --method=dsgd-hybrid

# an agent that dies does not take the others with it
# shellcheck disable=SC2016
srun --kill-on-bad-exit=0 bash -c 'exec parse-agent --id "$SLURM_PROCID" "$@"' agent \
  --topology "$topology" --out "$out" --start-or-resume \
  --set discovery.kind=shared-folder --set discovery.bind=0.0.0.0 "$@" || code=$?
parse-agent summary "$out" --no-alone || true
exit "${code:-0}"
