"""Some steps of a training, timed and then traced: what a step waits for, and which operations its time goes to."""

import re
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from jobs.executors import device_name
from jobs.loop.parallel import LossFunction, with_loss
from jobs.loop.train_loop import speed_of
from jobs.loop.trainer import Trainer
from jobs.runs import Interval
from stores import JointLoader, Loader

PRODUCTS, ATTENTION, CONVOLUTIONS = "matrix products", "attention", "convolutions"
COMPILED, ELEMENTWISE, NORMS = "compiled kernels", "elementwise and sums", "norms and softmax"
OPTIMIZER, RANDOM, COPIES, ROWS = "optimizer and averages", "random numbers", "copies and casts", "rows gathered"
COMMUNICATION = "communication"
# Kinds of operations by parts of their names, those of CUDA's kernels and of torch's own; the first that fits counts.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (ATTENTION, ("flash", "fmha", "attention", "sdpa", "flex_")),
    (COMMUNICATION, ("nccl", "c10d", "all_reduce", "allreduce")),
    (OPTIMIZER, ("multi_tensor", "fused_adam", "foreach", "lerp")),
    (CONVOLUTIONS, ("convolution", "conv2d", "dgrad", "wgrad", "fprop", "winograd")),
    (PRODUCTS, ("gemm", "gemv", "::mm", "addmm", "bmm", "cutlass", "nvjet", "xmma", "s16816", "splitk", "triton_tem")),
    (COMPILED, ("triton_", "cpp_fused", "compiledfunction", "compiledfxgraph", "torch-compiled")),
    (RANDOM, ("normal_", "uniform_", "random", "distribution", "bernoulli")),
    (NORMS, ("norm", "softmax", "welford")),
    (COPIES, ("copy", "memcpy", "memset", "::cat", "clone", "fill", "zero")),
    (ROWS, ("index", "gather", "scatter", "embedding")),
    (ELEMENTWISE, ("aten::", "elementwise", "reduce", "at::native")),
)

# Functions of the autograd engine, whose own time is Python's; what they compute has operators of its own.
BOOKKEEPING = re.compile(r"_?\w+(function|backward\d*)")


@dataclass(frozen=True)
class StepProfile:
    """A step of a training on one device, in seconds; means over the steps that were timed or traced.

    Attributes:
        device: Its name.
        device_type: cuda, cpu, mps.
        steps: Steps that were timed.
        step_seconds: Of a step, without tracing.
        data_seconds: Of these the device waited for a batch.
        host_seconds: Of these the device had nothing to do because the host had not asked for it yet.
        kernel_seconds: Of these by kind of operation.
        top: The operations that take longest, with their seconds in a step.
        speed: The metrics of speed, as a training logs them.
        settings: What a remedy may change: batch_rows, residency, precision, compile, gradient_checkpointing, threads.
        memory_share: The most of the device's memory that was in use; None where it is the machine's own.
    """

    device: str
    device_type: str
    steps: int
    step_seconds: float
    data_seconds: float
    host_seconds: float
    kernel_seconds: dict[str, float]
    top: dict[str, float]
    speed: dict[str, float]
    settings: dict[str, Any]
    memory_share: float | None

    def shares(self) -> dict[str, float]:
        """Data, host and each kind of operation as shares of a step, the largest kind first; they add up to 1."""
        kinds = dict(sorted(self.kernel_seconds.items(), key=lambda part: -part[1]))
        parts = {"data": self.data_seconds, "host": self.host_seconds, **kinds}
        return {name: seconds / self.step_seconds for name, seconds in parts.items()}


def profile_steps(trainer: Trainer, loss_function: LossFunction, steps: int, trace: Path | None = None) -> StepProfile:
    """Run `steps` steps: a sixth to warm up, half of them timed, the others traced; nothing is saved.

    Args:
        trainer: Of a fresh model; it is trained on, and not to be used any more.
        loss_function: Of the training.
        steps: At least 6.
        trace: File for the trace, which chrome://tracing and Perfetto open.
    """
    if steps < 6:
        raise ValueError(f"steps: expected at least 6, to warm up, time and trace; received {steps}")
    warm, timed = max(1, steps // 6), steps // 2
    module = with_loss(trainer.model, loss_function, trainer.ranks)
    with closing(cast(Generator[Any, None, None], iter(trainer.loader))) as batches:
        _run(trainer, module, batches, warm)
        interval = _run(trainer, module, batches, timed)
        on_gpu = trainer.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as profiler:
            traced = _run(trainer, module, batches, steps - warm - timed)
    if trace is not None:
        profiler.export_chrome_trace(str(trace))
    seconds = _operation_seconds(profiler, on_gpu, traced.steps)
    # Tracing slows the host down, not the kernels of a GPU.
    slower = 1.0 if on_gpu else traced.seconds / traced.steps / (interval.seconds / interval.steps)
    return _as_profile(trainer, interval, {name: one / slower for name, one in seconds.items()})


def kind_of(name: str) -> str | None:
    """The kind of an operation by its name; None of the framework's own bookkeeping."""
    lower = name.lower()
    if lower.startswith("autograd::") or (BOOKKEEPING.fullmatch(lower) and "compiled" not in lower):
        return None
    return next((kind for kind, parts in KINDS if any(part in lower for part in parts)), None)


def _run(trainer: Trainer, module: nn.Module, batches: Iterator[Any], steps: int) -> Interval:
    trainer.clock.take()
    started, worked, waited = time.perf_counter(), time.process_time(), 0.0
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        with trainer.clock.step():
            trainer.optimizer_step(trainer.forward_backward(module, batch))
    device_seconds = trainer.clock.take()  # waits for the device
    return Interval(steps, time.perf_counter() - started, waited, device_seconds, time.process_time() - worked)


def _operation_seconds(profiler: Any, on_gpu: bool, steps: int) -> dict[str, float]:
    """Seconds in a step of each operation by itself: of a GPU's kernels, or of torch's operators on a processor."""
    found: defaultdict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        if (event.device_type.name != "CPU") == on_gpu:
            microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            found[event.key] += microseconds / 1e6 / steps
    return dict(found)


def _as_profile(trainer: Trainer, interval: Interval, operations: Mapping[str, float]) -> StepProfile:
    step_seconds, speed = interval.seconds / interval.steps, speed_of(trainer).metrics(interval)
    kinds: defaultdict[str, float] = defaultdict(float)
    for name, seconds in operations.items():
        kind = kind_of(name)
        if kind is not None:
            kinds[kind] += seconds
    data_seconds = speed["wait_share"] * step_seconds
    busy = sum(kinds.values())
    fits = min(1.0, (step_seconds - data_seconds) / busy) if busy else 1.0  # kernels of several streams overlap
    top = sorted(((one, name) for name, one in operations.items() if kind_of(name)), reverse=True)[:8]
    return StepProfile(
        device=device_name(trainer.device),
        device_type=trainer.device.type,
        steps=interval.steps,
        step_seconds=step_seconds,
        data_seconds=data_seconds,
        host_seconds=max(0.0, step_seconds - data_seconds - busy * fits),
        kernel_seconds={kind: seconds * fits for kind, seconds in kinds.items()},
        top={name: seconds for seconds, name in top},
        speed=speed,
        settings=_settings(trainer),
        memory_share=_memory_share(trainer.device),
    )


def _settings(trainer: Trainer) -> dict[str, Any]:
    config, loader = trainer.config, trainer.loader
    first = loader.first if isinstance(loader, JointLoader) else loader
    assert isinstance(first, Loader)
    return {
        "batch_rows": config.batch_rows,
        "accumulate": config.accumulate,
        "residency": first.residency,
        "precision": str(trainer.dtype).removeprefix("torch."),
        "compile": trainer.compiled,
        "gradient_checkpointing": config.gradient_checkpointing,
        "threads": torch.get_num_threads(),
    }


def _memory_share(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_reserved(device) / torch.cuda.get_device_properties(device).total_memory
