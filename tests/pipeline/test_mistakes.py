"""Likely mistakes are answered at once, by a message that says what to do, and cheap commands load nothing heavy.

Which packages a command loads does not depend on the machine's load, as seconds do: torch alone is seconds.
"""

import importlib.util
import json
import socket
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "pandas",
    "torchvision",
    "timm",
    "diffusers",
    "transformers",
    "ray",
    "dask",
    "zarr",
    "sklearn",
    "bokeh",
}
# Reads [{"args", "out"}] from stdin and runs each command in a fork of one process that has the command line loaded.
RUNNER = """
import json, os, sys, traceback
from pipeline.cli import main
def run(case):
    out = os.open(case["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1); os.dup2(out, 2)
    try:
        main.main(case["args"], prog_name="fae-pipe")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc(); code = 99
    sys.stdout.flush(); sys.stderr.flush()
    with open(case["out"] + ".json", "w") as file:
        json.dump({"code": code, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}, file)
    os._exit(0)
for case in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        run(case)
    os.waitpid(child, 0)
"""
ANSWERED = {
    "version": "--version",
    "help": "--help",
    "help of a stage": "train-gen --help",
    "completion": "completion bash",
    "stores ls": "stores ls",
    "stores ls as JSON": "stores ls --json",
    "stores show": "stores show features/tiny",
    "stores show as JSON": "stores show latents/tiny --json",
    "status": "status generators/tiny",
    "status of a store": "status features/tiny",
    "plan": "plan imagenette64 --images 9469 --gpus 1 --rate 500",
    "sizes": "sizes",
    "doctor": "doctor",
    "encoders": "encoders",
}
# The command, and what its message must say.
MISTAKES = {
    "wrong path": ("extract --data nowhere", "holds no 'nowhere'"),
    "path with a slip": ("extract --data imges", "did you mean"),
    "missing label table": ("extract --data images --labels labels.csv", "data.labels: expected a file"),
    "misspelt option": ("train-ae --stepz 3", "--steps"),
    "misspelt command": ("tran-ae", "No such command 'tran-ae'"),
    "option before its command": ("--root empty status tiny", "`fae-pipe status --root …`"),
    "misspelt recipe": ("run digitz", "did you mean 'digits'?"),
    "comparison": ("compare nothere", "expected a complete run named 'nothere'"),
    "eval of no generator": (
        "eval nothere --averages all --reference nowhere",
        "expected a complete run named 'nothere'",
    ),
    "recipe key": ("run digits --set generator.stepz=3", "did you mean 'steps'?"),
    "encoder": ("extract --data images --encoder dinov2-bb", "did you mean dinov2-b "),
    "weights": ("extract --data images --weights nowhere.safetensors", "extract.weights: expected a file"),
    "unwritable folder": ("run digits --root /proc/here", "expected a folder that can be written"),
    "port in use": ("view features/tiny --port PORT", "take another"),
    "metrics port in use": ("train-ae --name tiny --metrics-port PORT", "PORT"),
    "class out of range": ("sample --name tiny --classes 99", "expected ids below 10; received 99"),
    "class by another name": ("sample --name tiny --classes ten", "class names; received 'ten'"),
    "guidance interval": ("sample --name tiny --guidance-interval 0.1,0.9", "expected 1 >= t_hi >= t_lo >= 0"),
    "guidance interval in a recipe": ("run digits --set sample.guidance_interval=0.1,0.9", "t_hi >= t_lo"),
    "prompts of a generator of classes": ("sample --name tiny --prompt cat", "takes classes and knows no captions"),
    "stage missing": ("extract-text --name tiny --root empty", "run `fae-pipe extract` first"),
    "stage missing, generator": ("sample --name tiny --root empty", "run `fae-pipe train-gen` first"),
    "misspelt name": ("train-ae --name tinny", "did you mean 'tiny'?"),
    "misspelt store": ("stores show tinny", "did you mean 'tiny'?"),
    "name of several stores": ("stores show tiny", "features/tiny-"),
    "misspelt samples": ("eval tinny --reference tiny", "did you mean 'tiny'?"),
    "misspelt reference": ("eval tiny --reference tinny", "did you mean 'tiny'?"),
    "misspelt features": ("probe tinny", "did you mean 'tiny'?"),
    "misspelt generator": ("export --name tinny --out exported", "did you mean 'tiny'?"),
    "folder in the way": ("export --name tiny --out images", "expected a new or empty folder"),
    "misspelt run": ("report tinny", "did you mean 'tiny'?"),
}
if importlib.util.find_spec("mlflow") is None:
    MISTAKES["tracker"] = ("train-ae --name tiny --logger mlflow --steps 7", "run: pip install 'fae-pipe[mlflow]'")


@pytest.fixture(scope="module")
def answers(world, tmp_path_factory):
    """Name -> (exit code, output, loaded packages) of every command above, run in a folder with images."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "images").mkdir()
    (folder / "images" / "one.png").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        commands = ANSWERED | {name: line for name, (line, _) in MISTAKES.items()}
        cases = [
            {"args": line.replace("PORT", port).split(), "out": str(folder / f"{number}.txt")}
            for number, line in enumerate(commands.values())
        ]
        environment = {"FAE_PIPE_ROOT": str(world.root), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
        environment["HF_HUB_OFFLINE"] = "1"
        subprocess.run(
            [sys.executable, "-c", RUNNER], input=json.dumps(cases), cwd=folder, env=environment, text=True, check=True
        )
    found = {}
    for name, case in zip(commands, cases, strict=True):
        with open(case["out"]) as out, open(case["out"] + ".json") as record:
            result = json.load(record)
            found[name] = (result["code"], out.read().replace(port, "PORT"), set(result["loaded"]))
    return found


@pytest.mark.parametrize("name", ANSWERED)
def test_cheap_commands_load_nothing_heavy(answers, name):
    code, output, loaded = answers[name]
    assert code == 0, output
    assert output
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_answered_at_once_with_the_way_out(answers, name):
    code, output, loaded = answers[name]
    assert code == 2, output
    assert MISTAKES[name][1] in output
    assert len(output.strip().splitlines()) == 1
    assert not loaded & HEAVY
