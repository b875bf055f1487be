"""What a benchmark found, as JSON with the machine's facts: ratios, which other machines can be compared by."""

import json
from pathlib import Path

from pipeline.console.machine import machine_facts


def write_results(file: Path | None, bench: str, ratios: dict[str, float]) -> None:
    """Write the ratios of a benchmark; does nothing without a file."""
    if file is not None:
        file.write_text(json.dumps({"bench": bench, "machine": machine_facts(), "ratios": ratios}, indent=2) + "\n")
