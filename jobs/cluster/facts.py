"""What a host runs; sent to hosts by value, so that one without this project can answer: it imports nothing of it."""

import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Mapping
from pathlib import Path

HOST = "host"
PYTHON = "Python"
DISTRIBUTIONS = ("ray", "torch")
PACKAGES = ("fae", "jobs", "stores")
CODE = "fae-pipe's code"


def host_facts() -> dict[str, str | None]:
    """The host's name, the versions that decide what it makes, and a digest of this project's code; None: absent."""
    versions = {name: _version(name) for name in DISTRIBUTIONS}
    return {HOST: platform.node(), PYTHON: platform.python_version(), **versions, CODE: code_digest()}


def code_digest() -> str | None:
    """The first 12 digits of the sha256 of all modules that workers import; None where a package is absent."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:  # a folder without __init__.py is no package of ours
            return None
        folder = Path(spec.origin).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def difference(expected: Mapping[str, str | None], received: Mapping[str, str | None]) -> str | None:
    """What another host lacks, or runs another version of, than the driver's; None when it is all the same.

    Args:
        expected: `host_facts()` of the driver.
        received: Those of the other host.
    """
    other = [name for name in expected if expected[name] != received[name]]
    if HOST not in other or other == [HOST]:  # on the driver's host only an edit meanwhile makes a difference
        return None
    other.remove(HOST)
    wanted = ", ".join(f"{name} {expected[name]}" for name in other)
    there = ", ".join(f"{name} {received[name] or 'none'}" for name in other)
    return f"expected {wanted}, as on {expected[HOST]}; received {there}; {_advice(expected, other)}"


def lacks_code(expected: Mapping[str, str | None], received: Mapping[str, str | None]) -> bool:
    """Whether another host has other code of this project than the driver, or none."""
    return received[HOST] != expected[HOST] and received[CODE] != expected[CODE]


def _advice(expected: Mapping[str, str | None], other: list[str]) -> str:
    if PYTHON in other:
        return "start its Ray with the same Python"
    packages = [f"{name}=={expected[name]}" for name in other if name != CODE]
    if packages:
        return f"install there: {' '.join(packages)}"
    return "install the same fae-pipe there, or start its Ray with PYTHONPATH of a checkout that all hosts see"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
