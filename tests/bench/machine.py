"""The machine's facts under the name that benchmarks, which run as scripts in this folder, import."""

from pipeline.console.machine import machine_facts

__all__ = ["machine_facts"]
