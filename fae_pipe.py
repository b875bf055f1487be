"""The entry of the `fae-pipe` command: our packages have plain names, so it first looks that they are ours."""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("pipeline", "jobs", "stores", "fae")


def shadowing_packages() -> dict[str, str]:
    """For each of our packages that Python would not take from beside this file: where it finds another one."""
    home = Path(__file__).resolve().parent
    found = {}
    for name in PACKAGES:
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or Path(origin).resolve() != home / name / "__init__.py":
            namespace = next(iter(spec.submodule_search_locations or ()), None) if spec else None
            found[name] = origin or namespace or "nowhere"
    return found


def main() -> None:
    """Run the command, or name the packages that stand in its way."""
    home = Path(__file__).resolve().parent
    for name, place in shadowing_packages().items():
        sys.exit(
            f"fae-pipe: package {name}: expected the one in {home}; received {place}, which Python finds first; remove "
            "or rename that one, take its folder out of PYTHONPATH, or use an environment of its own"
        )
    from pipeline.cli import main as command

    command()


if __name__ == "__main__":
    main()
