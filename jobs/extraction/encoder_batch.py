"""What is tried with a frozen encoder before it is run: the largest batch, and the number format of its features."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.encoders import EncoderSpec, load_encoder, token_shape
from fae.images import ImageError, decode_image
from jobs.config import ExtractConfig, RuntimeConfig, height_width
from jobs.executors import batch_on_cpu, batch_on_gpu, call_on_worker, pick_device, pick_dtype
from jobs.extraction.data_summary import spread
from jobs.extraction.encoder_facts import EncoderFacts, encoder_spec
from stores import fingerprint
from stores.backends import make_folder, replace_file
from stores.format import choose_dtype
from stores.sources import Source, SourceError, SourceItem

# Images whose features are looked at for --dtype auto.
DTYPE_IMAGES = 16
# Of a block, per token and channel: residual, normed input, q, k, v, attended, and four of the MLP's hidden layer.
VALUES_PER_TOKEN = 10


def encoder_batch_size(spec: EncoderSpec, config: ExtractConfig, runtime: RuntimeConfig) -> int:
    """Images in a pass: on a GPU the most that fit, tried on a worker; on a processor a fixed metric by memory."""
    device = pick_device(runtime.device)
    if device.type == "cuda" or runtime.gpus_per_worker > 0:
        return call_on_worker(_try_on_gpu, (spec, config, runtime.device), runtime)
    height, width, dim = token_shape(spec)
    views = 1 + config.flip
    return batch_on_cpu(views * height * width * dim * 4 * VALUES_PER_TOKEN, runtime.threads or torch.get_num_threads())


def _try_on_gpu(spec: EncoderSpec, config: ExtractConfig, device_name: str) -> int:
    device = pick_device(device_name)
    encoder = load_encoder(spec, device, pick_dtype(config.precision, device))
    size, views = height_width(config.image_size), 1 + config.flip
    return batch_on_gpu(lambda rows: encoder(torch.zeros(rows * views, *size, 3, dtype=torch.uint8)), device)


def chosen_dtype(
    source: Source, config: ExtractConfig, facts: EncoderFacts, images: Sequence[SourceItem], cache: Path
) -> dict[str, Any]:
    """The number format for features, by those of some images; kept in `cache`, so that it is found once.

    Raises:
        ValueError: none of the images can be decoded, or the sizes are those of buckets, which have one format.
    """
    if config.buckets is not None:
        raise ValueError("extract.dtype: expected a number format for buckets; received auto; choose one of the others")
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
