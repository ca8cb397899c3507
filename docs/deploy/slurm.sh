#!/usr/bin/env bash
# A training on nodes of a Slurm cluster: a rank for each GPU, a data server on each node.
#
#   sbatch docs/deploy/slurm.sh CONFIG [options of python -m trainer]
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 docs/deploy/slurm.sh CONFIG      8 ranks
#
# Submit it in the clone, which has a .venv with the extras data-server, trainer and mpi and which all nodes see at the
# same path, as well as the data. Five minutes before its time is up the training writes a checkpoint, and the job goes
# back into the queue. A node that dies costs what was done since the last one.
#SBATCH --job-name=unidetector
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

config=${1:?sbatch docs/deploy/slurm.sh CONFIG}
# shellcheck source=/dev/null
. .venv/bin/activate

# At SIGTERM mpirun would kill the ranks before there is a checkpoint.
heard='' ranks=''
pass_on() {
  heard=$1
  [ -z "$ranks" ] || kill -USR1 "$ranks" || true
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

# mpirun and not srun: it takes the nodes from Slurm's variables. The log's lines are rank 0's.
mpirun -np "$SLURM_NTASKS" --bind-to none -x PATH \
  python -m trainer --config "$config" --resume --workers "$((SLURM_CPUS_PER_TASK - 1))" "${@:2}" &
ranks=$!
[ -z "$heard" ] || kill -USR1 "$ranks" || true
while kill -0 "$ranks" 2>/dev/null; do
  wait "$ranks" || true # a signal ends the waiting, too
done
code=0
wait "$ranks" || code=$?
if [ "$heard" = USR1 ] && [ "$code" -eq 0 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
