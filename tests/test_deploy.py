"""What deploy/ ships: manifests of KubeRay's shape that name commands there are, and a Slurm script that runs."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from pipeline.cli import main
from pipeline.config.recipe import builtin_recipes

DEPLOY = Path(__file__).parent.parent / "deploy"
SCRIPT = DEPLOY / "slurm.sh"
PATIENCE = 600.0  # seconds; a busy machine is no failure


def exactly(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    properties = {**required, **optional}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def several(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


TEXT, COUNT, FLAG = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
MOUNT = exactly({"name": TEXT, "mountPath": {"type": "string", "pattern": "^/"}}, readOnly=FLAG)
QUANTITIES = {
    "type": "object",
    "properties": {
        name: {"type": "string", "pattern": "^[0-9]+(Gi|Mi)?$"} for name in ("cpu", "memory", "nvidia.com/gpu")
    },
    "required": ["cpu", "memory"],
    "additionalProperties": False,
}
CONTAINER = exactly(
    {
        "name": TEXT,
        "image": {"type": "string", "pattern": "^[a-z0-9./-]+:[0-9a-z.-]+$"},
        "resources": exactly({"requests": QUANTITIES, "limits": QUANTITIES}),
        "volumeMounts": several(MOUNT),
    }
)
CLAIM = exactly({"claimName": TEXT}, readOnly=FLAG)
POD = exactly(
    {"containers": several(CONTAINER), "volumes": several(exactly({"name": TEXT, "persistentVolumeClaim": CLAIM}))}
)
TEMPLATE = exactly({"spec": POD})
WORKERS = exactly(
    {
        "groupName": TEXT,
        "replicas": COUNT,
        "minReplicas": COUNT,
        "maxReplicas": COUNT,
        "rayStartParams": TEXTS,
        "template": TEMPLATE,
    }
)
# The part of ray.io/v1 that the manifests use; the operator refuses what it does not know.
CLUSTER = exactly(
    {
        "rayVersion": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
        "headGroupSpec": exactly({"rayStartParams": TEXTS, "template": TEMPLATE}),
        "workerGroupSpecs": several(WORKERS),
    },
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=exactly({"idleTimeoutSeconds": COUNT}),
)
JOB = exactly(
    {"entrypoint": TEXT, "rayClusterSpec": CLUSTER},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
)


def manifest(name: str) -> dict[str, Any]:
    documents = list(yaml.safe_load_all((DEPLOY / name).read_text()))
    assert len(documents) == 1
    return documents[0]


def cluster_of(found: dict[str, Any]) -> dict[str, Any]:
    return found["spec"]["rayClusterSpec"] if found["kind"] == "RayJob" else found["spec"]


@pytest.mark.parametrize(
    ("name", "kind", "spec"), [("rayjob.yaml", "RayJob", JOB), ("raycluster.yaml", "RayCluster", CLUSTER)]
)
def test_the_manifests_have_kuberays_shape(name, kind, spec):
    schema = exactly(
        {
            "apiVersion": {"const": "ray.io/v1"},
            "kind": {"const": kind},
            "metadata": exactly({"name": {"type": "string", "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$"}}),
            "spec": spec,
        }
    )
    jsonschema.Draft202012Validator(schema).validate(manifest(name))


def test_a_misspelt_field_does_not_pass():
    found = manifest("raycluster.yaml")["spec"]
    found["headGroupSpec"]["rayStartParam"] = found["headGroupSpec"].pop("rayStartParams")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(CLUSTER).validate(found)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_pods_mount_what_they_have_and_head_and_workers_the_same(name):
    cluster = cluster_of(manifest(name))
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    mounted = []
    for pod in pods:
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {
            mount["name"]: mount["mountPath"] for container in pod["containers"] for mount in container["volumeMounts"]
        }
        assert set(mounts) == volumes
        mounted.append(mounts)
    assert all(mounts == mounted[0] for mounts in mounted)
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def options_of_run() -> set[str]:
    return {flag for option in main.commands["run"].params for flag in option.opts}


def test_the_job_runs_a_recipe_with_options_that_there_are_on_the_gpus_that_it_asks_for():
    found = manifest("rayjob.yaml")
    words = shlex.split(found["spec"]["entrypoint"])
    assert words[:2] == ["fae-pipe", "run"]
    assert words[2] in builtin_recipes()
    assert {word for word in words if word.startswith("--")} <= options_of_run()
    workers = cluster_of(found)["workerGroupSpecs"][0]
    assert words.pop() == "--take-over"
    given = dict(zip(words[3::2], words[4::2], strict=True))
    gpus, cpus = asked_for(cluster_of(found), replicas="maxReplicas")
    assert int(given["--gpus"]) == gpus
    assert float(given["--cpus-per-worker"]) <= cpus / workers["maxReplicas"]


def asked_for(cluster: dict[str, Any], replicas: str) -> tuple[int, int]:
    """GPUs of all pods, and processors of the pods that have some."""
    pods = [(1, cluster["headGroupSpec"]), *((group[replicas], group) for group in cluster["workerGroupSpecs"])]
    limits = [(count, pod["template"]["spec"]["containers"][0]["resources"]["limits"]) for count, pod in pods]
    gpus = sum(count * int(one.get("nvidia.com/gpu", 0)) for count, one in limits)
    return gpus, sum(count * int(one["cpu"]) for count, one in limits if "nvidia.com/gpu" in one)


def test_the_commands_named_for_the_standing_cluster_use_all_of_its_gpus():
    text = (DEPLOY / "raycluster.yaml").read_text()
    (gpus,) = re.findall(r"--gpus (\d+)", text)
    assert int(gpus) == asked_for(cluster_of(manifest("raycluster.yaml")), replicas="maxReplicas")[0]


def test_images_and_manifests_name_one_ray_that_the_package_was_tested_with():
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    (wanted,) = (one for one in map(Requirement, project["dependencies"]) if one.name == "ray")
    versions = {cluster_of(manifest(name))["rayVersion"] for name in ("rayjob.yaml", "raycluster.yaml")}
    readme = (DEPLOY / "README.md").read_text()
    assert {*re.findall(r"rayproject/ray:([0-9.]+)-", readme)} == versions
    (version,) = versions
    assert version in wanted.specifier
    images = {
        container["image"].rpartition(":")[2]
        for name in ("rayjob.yaml", "raycluster.yaml")
        for container in cluster_of(manifest(name))["headGroupSpec"]["template"]["spec"]["containers"]
    }
    assert images == {project["version"]}


def test_the_script_is_bash_and_its_options_are_those_of_run():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    command = text[text.index("workers=(--gpus") : text.index("run=$!")].replace("${workers[@]}", "")
    assert set(re.findall(r"--[a-z-]+", command)) <= options_of_run()
    assert os.access(SCRIPT, os.X_OK)


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


STEP = "srun --overlap --ntasks-per-node=1 --cpus-per-task=16"


def test_head_workers_and_run_agree_on_address_nodes_and_gpus(slurm, tmp_path):
    process, log = slurm("digits", "--root", "/runs")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    lines = log.read_text().splitlines()
    port = 20000 + 123456 % 20000
    (head,) = (line for line in lines if "--head" in line)
    assert head.startswith(f"{STEP} --nodes=1 --ntasks=1 --nodelist=a : ray start --head --block")
    assert f"--node-ip-address=127.0.0.1 --port={port}" in head
    assert "--num-cpus=16 --num-gpus=2" in head
    (others,) = (line for line in lines if line.startswith("srun") and "--head" not in line)
    assert others.startswith(f"{STEP} --nodes=2 --ntasks=2 --exclude=a : ray start --block")
    assert f"--address=127.0.0.1:{port}" in others
    (run,) = (line for line in lines if line.startswith("fae-pipe"))
    assert run == (
        f"fae-pipe run digits --root /runs --address 127.0.0.1:{port} --gpus 6 --cpus-per-worker 8 --take-over"
    )
    processes = [int(number) for number in (tmp_path / "log.processes").read_text().split()]
    assert len(processes) == 2
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_one_node_without_gpus_needs_no_workers_beside_the_head(slurm):
    process, log = slurm("digits", nodes="a", SLURM_GPUS_ON_NODE="0", FAE_RAY_PORT="7777")
    process.communicate(timeout=PATIENCE)
    lines = log.read_text().splitlines()
    assert len([line for line in lines if line.startswith("srun")]) == 1
    (run,) = (line for line in lines if line.startswith("fae-pipe"))
    assert run.startswith(
        "fae-pipe run digits --address 127.0.0.1:7777 --workers 1 --train-workers 0 --cpus-per-worker 16 --take-over"
    )


def test_nodes_without_gpus_train_together(slurm):
    process, log = slurm("digits", SLURM_GPUS_ON_NODE="0")
    process.communicate(timeout=PATIENCE)
    (run,) = (line for line in log.read_text().splitlines() if line.startswith("fae-pipe"))
    assert run.endswith("--workers 3 --train-workers 3 --cpus-per-worker 16 --take-over")


def test_the_nodes_meet_on_the_interface_that_is_named(slurm):
    process, log = slurm("digits", FAE_INTERFACE="ib0")
    process.communicate(timeout=PATIENCE)
    (head,) = (line for line in log.read_text().splitlines() if "--head" in line)
    assert "--node-ip-address=10.1.2.3 " in head


def test_an_interface_without_an_address_ends_the_job(slurm):
    process, log = slurm("digits", FAE_INTERFACE="eth9")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "a has no address on eth9" in output
    assert not log.exists()


def test_the_runs_failure_is_the_jobs(slurm):
    process, log = slurm("digits", FAKE_CODE="2")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "requeue" not in log.read_text()


def test_a_head_that_does_not_come_up_ends_the_job(slurm):
    process, log = slurm("digits", FAKE_BROKEN="yes")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Ray's head did not come up at 127.0.0.1" in output
    assert "fae-pipe" not in log.read_text()


def test_a_warning_of_the_end_lets_the_run_save_and_queues_the_job_again(slurm):
    process, log = slurm("digits", FAKE_HANGS="yes")
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or "fae-pipe run" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    lines = log.read_text().splitlines()
    assert lines.index("fae-pipe saved") < lines.index("requeue 123456")


def test_a_warning_while_the_run_starts_is_passed_on_to_it(slurm):
    process, log = slurm("digits", FAKE_HANGS="early")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert log.read_text().splitlines()[-2:] == ["fae-pipe saved", "requeue 123456"]


def test_without_a_recipe_it_says_how_it_is_used(slurm):
    process, _ = slurm()
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "expected a recipe" in output


COUNT_NODES = """
import sys, time
import ray

ray.init(address=sys.argv[sys.argv.index("--address") + 1], logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 120
while len([node for node in ray.nodes() if node["Alive"]]) < 2 and time.monotonic() < deadline:
    time.sleep(0.5)
print("nodes", len([node for node in ray.nodes() if node["Alive"]]), "cpus", ray.cluster_resources()["CPU"])
"""


@pytest.mark.slow
def test_on_loopback_a_real_ray_of_two_nodes_comes_up_and_goes(slurm, tmp_path, monkeypatch, request):
    program = tmp_path / "count.py"
    program.write_text(COUNT_NODES)
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "fae-pipe").write_text(f'#!/usr/bin/env bash\nexec {sys.executable} {program} "$@"\n')
    (folder / "ray").write_text(
        f'#!/usr/bin/env bash\nexec {sys.executable} -c "from ray.scripts.scripts import main; main()" "$@"\n'
    )
    for file in folder.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    # In a folder of its own, so that no other Ray of this machine takes it for its cluster; short, for the sockets.
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    request.addfinalizer(lambda: shutil.rmtree(place, ignore_errors=True))
    monkeypatch.setenv("RAY_TMPDIR", place)
    process, _ = slurm(
        "digits",
        nodes="a,b",
        fakes=("scontrol", "srun", "hostname"),
        SLURM_GPUS_ON_NODE="0",
        SLURM_CPUS_PER_TASK="1",
        FAE_RAY_PORT="26379",
    )
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "nodes 2 cpus 2.0" in output


@pytest.mark.slow
def test_a_rehearsal_extracts_on_a_ray_of_two_nodes(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    words = ["digits", "--root", str(tmp_path / "runs"), "--until", "extract", "--json"]
    done = subprocess.run(
        ["bash", str(DEPLOY / "rehearse.sh"), *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "features").iterdir())) == 1
    assert done.stdout.count("Local node IP") == 2


def test_a_rehearsal_without_a_recipe_says_how_it_is_used():
    done = subprocess.run(["bash", str(DEPLOY / "rehearse.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a recipe" in done.stderr
