"""deploy/slurm.sh on a Slurm of shell scripts."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm.sh"
FAKES = {
    "scontrol": """
        case $1 in
            show) printf '%s\\n' ${FAKE_NODES//,/ } ;;
            requeue) echo "requeue $2" >>"$FAKE_LOG" ;;
        esac
    """,
    # Runs the command here instead of there, and notes the options by which it was sent there.
    "srun": """
        options=()
        while [[ $1 == --* ]]; do options+=("$1"); shift; done
        [[ $1 == hostname || $1 == ip ]] || echo "srun ${options[*]} : $*" >>"$FAKE_LOG"
        exec "$@"
    """,
    "hostname": "echo 127.0.0.1 10.0.0.7",
    "ip": '[[ $6 != ib0 ]] || echo "4: ib0    inet 10.1.2.3/16 brd 10.1.255.255 scope global ib0"',
    "ray": """
        case $1 in
            status) echo "status $3" >>"$FAKE_LOG"; [[ -e $FAKE_LOG.head ]] ;;
            start)
                [[ $2 != --head ]] || { [[ ! $FAKE_BROKEN ]] || exit 1; touch "$FAKE_LOG.head"; }
                echo $$ >>"$FAKE_LOG.processes"
                while :; do sleep 0.05; done ;;
        esac
    """,
    # Ends only when Ray runs on all nodes.
    "fae-pipe": """
        [[ ! $FAKE_HANGS ]] || trap 'echo "fae-pipe saved" >>"$FAKE_LOG"; exit 130' TERM
        [[ $FAKE_HANGS != early ]] || kill -TERM "$PPID"
        until (($(wc -l <"$FAKE_LOG.processes") == FAKE_STEPS)); do sleep 0.05; done
        echo "fae-pipe $*" >>"$FAKE_LOG"
        while [[ $FAKE_HANGS ]]; do sleep 0.05; done
        exit "${FAKE_CODE:-0}"
    """,
    "sleep": "exec /bin/sleep 0.05",
}


@pytest.fixture
def slurm(tmp_path):
    """(*words, nodes, **environment) -> the script as a process on a Slurm of shell scripts, and its log file."""

    def start(*words, nodes="a,b,c", fakes=tuple(FAKES), **environment):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in fakes:
            (folder / name).write_text(f"#!/usr/bin/env bash\n{FAKES[name]}")
            (folder / name).chmod(0o755)
        facts = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NODELIST": nodes,
            "SLURM_JOB_NUM_NODES": str(len(nodes.split(","))),
            "SLURM_GPUS_ON_NODE": "2",
            "SLURM_CPUS_PER_TASK": "16",
            "FAKE_NODES": nodes,
            "FAKE_STEPS": str(min(2, len(nodes.split(",")))),
            "FAKE_LOG": str(tmp_path / "log"),
            "FAKE_BROKEN": "",
            "FAKE_HANGS": "",
        }
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **facts, **environment},
        )  # fmt: skip
        return process, tmp_path / "log"

    return start
