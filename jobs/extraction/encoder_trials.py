"""What is tried with a frozen encoder before it is run: the largest batch, the features' number format, the rate."""

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.encoders import (
    EncoderSpec,
    FrozenEncoder,
    build_skeleton,
    find_architecture,
    load_encoder,
    tapped_layers,
    token_shape,
)
from fae.images import ImageError, decode_image
from jobs.config import ExtractConfig, RuntimeConfig, height_width
from jobs.executors import batch_on_cpu, batch_on_gpu, call_on_worker, pick_device, pick_dtype, use_threads
from jobs.extraction.data_summary import spread
from jobs.extraction.encoder_facts import EncoderFacts, encoder_spec
from jobs.extraction.encoding_tools import Encoder, load_encoders
from stores import fingerprint
from stores.backends import make_folder, replace_file
from stores.format import choose_dtype
from stores.sources import Source, SourceError, SourceItem

# Images whose features are looked at for --dtype auto.
DTYPE_IMAGES = 16
# Of a block, per token and channel: residual, normed input, q, k, v, attended, and four of the MLP's hidden layer.
VALUES_PER_TOKEN = 10
# Of the passes that are timed.
SECONDS, MOST_PASSES, ROWS = 1.5, 8, 16


Planned = tuple[EncoderSpec, ExtractConfig]


def encoder_batch_sizes(planned: Sequence[Planned], runtime: RuntimeConfig) -> list[int]:
    """Images in a pass of each encoder: on a GPU the most that fit, tried on a worker; on a processor by its memory."""
    device = pick_device(runtime.device)
    if device.type == "cuda" or runtime.gpus_per_worker > 0:
        return call_on_worker(_try_on_gpu, (planned, runtime.device), runtime)
    return [_rows_on_cpu(*one, runtime) for one in planned]


def _rows_on_cpu(spec: EncoderSpec, config: ExtractConfig, runtime: RuntimeConfig) -> int:
    height, width, dim = token_shape(spec)
    views = 1 + config.flip
    return batch_on_cpu(views * height * width * dim * 4 * VALUES_PER_TOKEN, runtime.threads or torch.get_num_threads())


def _try_on_gpu(planned: Sequence[Planned], device_name: str) -> list[int]:
    device = pick_device(device_name)
    dtype = pick_dtype(planned[0][1].precision, device)
    found = []
    for (_, config), encoder in zip(planned, load_encoders([spec for spec, _ in planned], device, dtype), strict=True):
        shape = ((1 + config.flip), *height_width(config.image_size), 3)
        found.append(batch_on_gpu(partial(_pass, encoder, shape), device))
    return found


def _pass(encoder: Encoder, shape: tuple[int, ...], rows: int) -> torch.Tensor:
    """Encode black images, `shape` (V, H, W, 3) for each row."""
    tokens: torch.Tensor = encoder(torch.zeros(rows * shape[0], *shape[1:], dtype=torch.uint8))
    return tokens


def chosen_dtype(
    source: Source, config: ExtractConfig, facts: EncoderFacts, images: Sequence[SourceItem], cache: Path
) -> dict[str, Any]:
    """The number format for features, by those of some images; kept in `cache`, so that it is found once.

    Raises:
        ValueError: none of the images can be decoded.
    """
    some = [images[number] for number in spread(len(images), DTYPE_IMAGES)]
    where = [[item.source, item.offset, item.num_bytes] for item in some]
    made_from = {"encoder": facts.encoder, "shape": list(facts.shape), "precision": facts.precision, "images": where}
    file = cache / f"dtype-{fingerprint({**made_from, 'device': facts.device})}.json"
    try:
        kept: dict[str, Any] = json.loads(file.read_text())
        return kept
    except (OSError, ValueError):
        found = choose_dtype(_features_of(source, config, facts, some)).to_json()
    make_folder(file.parent)
    replace_file(file, json.dumps(found).encode())
    return found


def _features_of(
    source: Source, config: ExtractConfig, facts: EncoderFacts, images: Sequence[SourceItem]
) -> np.ndarray:
    """Tokens (n, C) of those images that can be decoded."""
    pixels = []
    for item in images:
        try:
            data = source.read(item.source, item.offset, item.num_bytes)
            pixels.append(decode_image(data, height_width(config.image_size)))
        except (ImageError, SourceError, OSError):
            continue  # extraction rejects it and says why
    if not pixels:
        raise ValueError(f"extract.dtype auto: expected images to look at; received {len(images)} that none decodes")
    device = pick_device(facts.device)
    encoder = load_encoder(encoder_spec(config), device, pick_dtype(config.precision, device))
    with torch.inference_mode():
        tokens = [encoder(torch.from_numpy(image)[None]).float().cpu() for image in pixels]
    return torch.cat(tokens).flatten(0, -2).numpy()  # (N, h, w, C) -> (N·h·w, C)


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
