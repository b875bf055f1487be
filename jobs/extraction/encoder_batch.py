"""The largest batch of images that a frozen encoder takes on the device where it will run."""

import torch

from fae.encoders import EncoderSpec, load_encoder, token_shape
from jobs.config import ExtractConfig, RuntimeConfig, height_width
from jobs.executors import batch_on_cpu, batch_on_gpu, call_on_worker, pick_device, pick_dtype

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
