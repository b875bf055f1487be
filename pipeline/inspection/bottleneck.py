"""What limits a training, by a profile of some steps, and what to try, as one page."""

from typing import Any

from jobs.loop import StepProfile
from pipeline.console import format_number

# Shares of a step from which on a part is worth a word.
DATA_SHARE, HOST_SHARE, SMALL_KERNELS, OPTIMIZER_SHARE, COPY_SHARE = 0.03, 0.15, 0.3, 0.1, 0.15
# A batch, and memory in use, below which there is room for more.
SMALL_BATCH, FREE_MEMORY = 64, 0.5
GOOD_MFU = 0.4


def limit_of(profile: StepProfile) -> str:
    """The part of a step that takes most of it."""
    shares = profile.shares()
    part = max(shares, key=lambda name: shares[name])
    return part if part in ("data", "host") else f"{profile.device_type}, {part}"


def advice_on(profile: StepProfile, has_fast_bf16: bool) -> list[str]:
    """What to try, most promising first; each line names the option."""
    shares, settings = profile.shares(), profile.settings
    small = shares.get("elementwise and sums", 0.0) + shares.get("norms and softmax", 0.0)
    rules = [
        (shares["data"] > DATA_SHARE, _data_advice(settings["residency"])),
        (
            has_fast_bf16 and settings["precision"] == "float32",
            "--precision bf16: this device multiplies bf16 several times as fast as float32",
        ),
        (
            shares["host"] > HOST_SHARE and profile.device_type == "cuda" and not settings["compile"],
            "--compile on: the device waits for the host to launch its operations, and compiled ones are fewer",
        ),
        (
            shares["host"] > HOST_SHARE and settings["batch_rows"] < SMALL_BATCH,
            "a larger --batch-size: a step costs the host the same whatever its rows (raise --learning-rate with it)",
        ),
        (
            small > SMALL_KERNELS and not settings["compile"],
            f"--compile on: {small:.0%} of a step are small operations that the compiler joins",
        ),
        (
            shares.get("optimizer and averages", 0.0) > OPTIMIZER_SHARE,
            "a larger --batch-size: optimizer and averages cost the same whatever its rows; fewer averages in ema_bank",
        ),
        (
            shares.get("copies and casts", 0.0) > COPY_SHARE,
            "--precision fp32 to compare: copies and casts between dtypes are a good part of a step",
        ),
        (
            settings["gradient_checkpointing"] and (profile.memory_share or 1.0) < FREE_MEMORY,
            "--no-gradient-checkpointing: it computes activations twice, and half of the memory is free",
        ),
        (
            settings["accumulate"] > 1 and (profile.memory_share or 1.0) < FREE_MEMORY,
            "--accumulate 1: smaller parts fill a device less, and half of the memory is free",
        ),
    ]
    found = [line for applies, line in rules if applies]
    return found or [_nothing_to_try(profile)]


def profile_lines(profile: StepProfile, stage: str) -> list[str]:
    """What stands above the table of a step's parts."""
    settings, speed = profile.settings, profile.speed
    rates = [f"{format_number(speed['rows_per_second'])} images/s"]
    if "tflops_per_device" in speed:
        rates.append(f"{format_number(speed['tflops_per_device'])} TFLOP/s of the model")
        unknown = "mfu unknown: the peak of this device is not in the table; state it by --peak-tflops"
        rates.append(f"mfu {speed['mfu']:.1%}" if "mfu" in speed else unknown)
    how = [f"{settings['batch_rows']} rows", settings["precision"], "compiled" if settings["compile"] else "eager"]
    return [
        f"{stage} on {profile.device}: {', '.join(how)}, residency {settings['residency']}",
        f"a step takes {profile.step_seconds * 1e3:,.1f} ms: {', '.join(rates)}",
        f"limited by: {limit_of(profile)}",
    ]


def part_rows(profile: StepProfile) -> list[dict[str, Any]]:
    """The parts of a step as rows of a table."""
    return [
        {"part": name, "ms": profile.step_seconds * share * 1e3, "share": f"{share:.1%}"}
        for name, share in profile.shares().items()
        if share >= 0.001 or name in ("data", "host")
    ]


def operation_rows(profile: StepProfile) -> list[dict[str, Any]]:
    """The operations that take longest as rows of a table."""
    return [
        {"operation": name if len(name) < 80 else name[:79] + "…", "ms": seconds * 1e3}
        for name, seconds in profile.top.items()
    ]


def _data_advice(residency: str) -> str:
    if residency == "stream":
        return "--residency ram, where the rows fit: they are read from the disk in every epoch; or a faster disk"
    return "more --threads, or fewer programs beside this one: rows lie in memory, and yet the device waits for them"


def _nothing_to_try(profile: StepProfile) -> str:
    mfu = profile.speed.get("mfu")
    if mfu is not None and mfu >= GOOD_MFU:
        return f"nothing: {mfu:.0%} of the device's peak is what good trainings reach"
    return "nothing stands out: the device computes all the time; a larger model or batch fills it better"
