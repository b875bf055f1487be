"""A hundred inputs that ask for much or lead astray, each given to a real command: it ends soon, in little memory."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from hostile import Hostile, all_inputs
from processes import ProcessServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SECONDS, BYTES = 10.0, 10**9
PATIENCE = 6 * SECONDS  # by the clock, of which others may have a part
# What the process took of processors, and of memory beyond what it had when it was forked, goes into a file.
COMMAND = """
import json, resource, sys
from pathlib import Path
measured, base = sys.argv.pop(1), int(Path("/proc/self/statm").read_text().split()[1]) * 4096
from pipeline.cli import main
sys.argv[0] = "fae-pipe"
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path(measured).write_text(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 - base]))
"""
CONTROL = set(map(chr, range(32))) - {"\n", "\t", "\r"} | {"\x7f", "\u202e"}


def test_every_one_ends_in_time_and_in_little_memory_with_a_word(
    world: Any, tmp_path: Path, processes: ProcessServer
) -> None:
    found = {}
    for one in all_inputs():
        found[one.name] = look(one, world.root, tmp_path, processes)
        print(f"{one}: {found[one.name]}")
    assert len(found) >= 100
    slowest, largest = max(found.values()), max(found.values(), key=lambda one: one[1])
    print(f"{len(found)} hostile inputs: longest {slowest[0]:.1f} processor s, most memory {largest[1] / 1e6:.0f} MB")
    assert {name: one for name, one in found.items() if one[0] > SECONDS or one[1] > BYTES or one[2]} == {}


def look(one: Hostile, stores: Path, tmp_path: Path, processes: ProcessServer) -> tuple[float, float, str]:
    """Processor seconds, bytes of memory, and what was wrong with its end."""
    folder, measured = tmp_path / "input", tmp_path / "measured.json"
    folder.mkdir()
    words = one.make(folder, stores)
    process = processes.start(COMMAND, measured, *words)
    began = time.monotonic()
    try:
        code = process.wait(PATIENCE)
    except TimeoutError:
        processes.end_all()
        shutil.rmtree(folder)
        return time.monotonic() - began, 0.0, "it hangs"
    seconds, grown = json.loads(measured.read_text())
    text = process.stdout + process.stderr
    shutil.rmtree(folder)
    measured.unlink()
    return seconds, grown, mistake(code, text)


def mistake(code: int, text: str) -> str:
    if code not in (0, 1, 2):
        return f"exit code {code}: {text[-300:]}"
    if "Traceback" in text:
        return text[-600:]
    return "control characters are printed" if CONTROL & set(text) else ""
