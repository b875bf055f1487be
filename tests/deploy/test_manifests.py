"""What deploy/ ships for Kubernetes: manifests of KubeRay's shape that name options and GPUs there are."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from pipeline.cli import main
from pipeline.config.recipe import builtin_recipes

DEPLOY = Path(__file__).parents[2] / "deploy"


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


# When KubeRay got what the job's spec uses; older operators know nothing of it and ignore or refuse it.
SINCE = {"backoffLimit": (1, 2)}


def test_the_kuberay_that_is_asked_for_knows_every_field_of_the_job():
    wanted = max(SINCE[name] for name in SINCE.keys() & manifest("rayjob.yaml")["spec"].keys())
    for name in ("README.md", "rayjob.yaml"):
        (version,) = re.findall(r"KubeRay[^ ]* (\d+\.\d+) or newer", (DEPLOY / name).read_text())
        assert tuple(map(int, version.split("."))) >= wanted


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
