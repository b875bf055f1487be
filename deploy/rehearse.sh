#!/usr/bin/env bash
# What slurm.sh does on a cluster, on this machine without Slurm and GPUs: a Ray of several "hosts" (default 2), each with
# one processor, and a recipe run on it. Words after the recipe are options of `fae-pipe run`:
#   deploy/rehearse.sh digits --root fae-runs/rehearsal --until extract
#   HOSTS=4 deploy/rehearse.sh my-recipe.yaml
set -euo pipefail

if (($# == 0)); then
    echo "error: expected a recipe: $0 RECIPE [OPTION...]" >&2
    exit 2
fi

hosts=${HOSTS:-2}
folder=$(mktemp -d /tmp/rehearse-XXXXXX) # short: the path of a socket has at most 107 bytes
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/bin"

# Slurm's own commands, for one machine: a step runs here, and there is nothing to put in a queue again.
cat >"$folder/bin/srun" <<'STUB'
#!/usr/bin/env bash
while [[ $1 == --* ]]; do
    [[ $1 != --ntasks=* ]] || tasks=${1#*=}
    shift
done
for ((task = 1; task < ${tasks:-1}; task++)); do "$@" & done
exec "$@"
STUB
cat >"$folder/bin/scontrol" <<'STUB'
#!/usr/bin/env bash
if [[ $1 == show ]]; then printf '%s\n' ${3//,/ }; fi
STUB
printf '#!/usr/bin/env bash\necho 127.0.0.1\n' >"$folder/bin/hostname"
chmod +x "$folder"/bin/*

export PATH="$folder/bin:$PATH" RAY_TMPDIR="$folder"
export SLURM_JOB_ID=$$ SLURM_JOB_NUM_NODES=$hosts SLURM_GPUS_ON_NODE=0 SLURM_CPUS_PER_TASK=1
SLURM_JOB_NODELIST=$(seq -s, -f 'host%g' "$hosts")
export SLURM_JOB_NODELIST
code=0
bash "$(dirname "$0")/slurm.sh" "$@" || code=$?
exit "$code"
