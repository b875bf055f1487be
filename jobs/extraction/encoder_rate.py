"""How many images a second the frozen encoder does on this machine, measured before anything is made."""

import time

import torch

from fae.encoders import FrozenEncoder, build_skeleton, find_architecture, tapped_layers
from jobs.config import ExtractConfig, RuntimeConfig, height_width
from jobs.executors import pick_device, pick_dtype, use_threads
from jobs.extraction.encoder_facts import encoder_spec

SECONDS, MOST_PASSES, ROWS = 1.5, 8, 16


def measure_rate(config: ExtractConfig, runtime: RuntimeConfig) -> float:
    """Images a second of the encoder's forward pass, the fastest of some passes; its weights are not needed.

    Weights and images are zeros: the time of dense arithmetic does not depend on the values. On processors one thread
    is timed by what it got of its processor, times the threads: the rate of a machine on which nothing else runs.

    Raises:
        EncoderError: Settings that do not fit the encoder.
        ValueError: An unknown or absent device.
    """
    threads, device = use_threads(runtime.threads), pick_device(runtime.device)
    on_cpu, encoder = device.type == "cpu", _zero_encoder(config, device)
    if on_cpu:
        use_threads(1)
    images = torch.zeros(ROWS, *height_width(config.image_size), 3, dtype=torch.uint8)
    encoder(images)  # the first pass allocates and compiles kernels
    seconds: list[float] = []
    while sum(seconds) < SECONDS and len(seconds) < MOST_PASSES:
        started, worked = time.perf_counter(), time.process_time()
        encoder(images).cpu()
        passed, used = time.perf_counter() - started, time.process_time() - worked
        seconds.append(used / threads if on_cpu else passed)
    use_threads(runtime.threads)
    return ROWS / min(seconds)


def _zero_encoder(config: ExtractConfig, device: torch.device) -> FrozenEncoder:
    spec = encoder_spec(config)
    architecture = find_architecture(spec)
    skeleton = build_skeleton(spec, architecture)
    layers = tapped_layers(spec, skeleton)
    model = skeleton.to_empty(device=device)
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.zero_()
    mean, std = architecture.mean_std
    dtype = pick_dtype(config.precision, device)
    return FrozenEncoder(
        *(model,), layers=layers, combine=spec.combine, norm=spec.norm, mean=mean, std=std, device=device, dtype=dtype
    )
