#!/usr/bin/env bash
# A Ray cluster over the nodes of a Slurm job, and a recipe run on it; options of `fae-pipe run` may follow:
#   sbatch deploy/slurm.sh imagenet256-dinov2-g --data /data/imagenet/train --root /scratch/fae-runs
# The folders must be the same on every node. FAE_INTERFACE=ib0 chooses the network by which the nodes meet.
# Preempted or out of time, the job is queued again and goes on.
#SBATCH --job-name=fae-pipe
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=3-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@180
set -euo pipefail

if (($# == 0)); then
    echo "error: expected a recipe: sbatch $0 RECIPE [OPTION...]" >&2
    exit 2
fi

gpus=${SLURM_GPUS_ON_NODE:-0}
cpus=${SLURM_CPUS_PER_TASK:-1}
nodes=${SLURM_JOB_NUM_NODES:?expected to run in a Slurm job}
# Several jobs may share a node: each has a port of its own.
port=${FAE_RAY_PORT:-$((20000 + SLURM_JOB_ID % 20000))}
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
# A host's own name stands for 127.0.1.1 on some systems, where no other host finds it: its addresses are asked for.
if [[ ${FAE_INTERFACE:-} ]]; then
    read -r _ _ _ ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="$head" ip -4 -o address show dev "$FAE_INTERFACE") || true
    ip=${ip%/*}
    export GLOO_SOCKET_IFNAME=$FAE_INTERFACE NCCL_SOCKET_IFNAME=$FAE_INTERFACE
else
    read -r ip _ < <(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --all-ip-addresses) || true
fi
if [[ ! $ip ]]; then
    echo "failed: $head has no address${FAE_INTERFACE:+ on $FAE_INTERFACE}" >&2
    exit 1
fi
address="$ip:$port"
export RAY_USAGE_STATS_ENABLED=0
# Ray takes commands from whoever knows the job's token; releases that know of none pass over it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}

# Since Slurm 22.05 a step gets one processor unless it is told the job's number.
step=(srun --overlap --ntasks-per-node=1 --cpus-per-task="$cpus")

# Ray runs as job steps in the background, and ends with this script, however that ends.
steps=()
stop() {
    for step in "${steps[@]}"; do kill -TERM "$step" 2>/dev/null || true; done
    wait
}
trap stop EXIT

"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --block --node-ip-address="$ip" --port="$port" --include-dashboard=false \
    --num-cpus="$cpus" --num-gpus="$gpus" &
steps+=($!)

# The others cannot join before the head answers.
for ((try = 0; ; try++)); do
    if ray status --address "$address" >/dev/null 2>&1; then break; fi
    if ! kill -0 "${steps[0]}" 2>/dev/null || ((try == ${FAE_RAY_TRIES:-60})); then
        echo "failed: Ray's head did not come up at $address" >&2
        exit 1
    fi
    sleep 2
done

if ((nodes > 1)); then
    "${step[@]}" --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" \
        ray start --block --address="$address" --num-cpus="$cpus" --num-gpus="$gpus" &
    steps+=($!)
fi

# A worker for each GPU in every stage, or for each node without any; the processors are shared out among them.
if ((gpus > 0)); then
    workers=(--gpus $((nodes * gpus)) --cpus-per-worker $((cpus > gpus ? cpus / gpus : 1)))
else
    workers=(--workers "$nodes" --train-workers $((nodes > 1 ? nodes : 0)) --cpus-per-worker "$cpus")
fi
# Slurm warns before it ends the job: a training saves its state and stops, and what is left is queued again.
requeue='' run=''
trap 'requeue=yes; [[ ! $run ]] || kill -TERM "$run" 2>/dev/null || true' TERM
# A job that is queued again after a node was lost goes on where that node's was.
fae-pipe run "$@" --address "$address" "${workers[@]}" --take-over &
run=$!
if [[ $requeue ]]; then kill -TERM "$run" 2>/dev/null || true; fi  # the warning came before the run had its number
code=0
wait "$run" || code=$?
if [[ $requeue ]]; then
    wait "$run" || code=$?
    ((code == 0)) || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
