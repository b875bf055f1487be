"""What a worker encodes images with: the frozen encoders as the driver planned them, their device, decoding threads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fae.encoders import EncoderSpec, FrozenEncoder, HookEncoder, build_encoders, is_hook, resolve_weights
from jobs.config import ExtractConfig
from jobs.executors import DeviceStages, HostError, InferencePool, pick_device, pick_dtype
from jobs.extraction.decoders import Decoders
from jobs.extraction.indexed_images import open_on_host

Encoder = FrozenEncoder | HookEncoder


@dataclass(frozen=True)
class Target:
    """A store to fill (path or URL), its encoder, and settings, which all targets share but for encoder and block."""

    store: str
    spec: EncoderSpec
    config: ExtractConfig


@dataclass(frozen=True)
class EncodingTools:
    """What the stores of a set have in common on a worker: threads that decode, the device's passes, and encoders."""

    device: torch.device
    decoders: Decoders
    inference_pool: InferencePool
    stages: DeviceStages
    encoders: Mapping[Target, Encoder]

    @classmethod
    def load(cls, targets: Sequence[Target], device: str) -> "EncodingTools":
        """The tools for these targets, whose encoders share weights where they differ in the size of images alone.

        Raises:
            HostError: what is on this host is not what the driver planned with.
        """
        # As many as the process has threads: the share of the processors that belongs to this worker.
        place, threads = pick_device(device), torch.get_num_threads()
        decoders = Decoders(max(2, threads), targets[0].config.decode_seconds)
        encoders = _encoders_as_planned(targets, place)
        return cls(place, decoders, InferencePool(place, threads), DeviceStages(place), encoders)


def load_encoders(specs: Sequence[EncoderSpec], device: torch.device, dtype: torch.dtype) -> list[Encoder]:
    """An encoder for each spec; those of one network for images of several sizes share its weights."""
    found: dict[int, Encoder] = {}
    for numbers in by_network(specs):
        some = [specs[number] for number in numbers]
        hooks = is_hook(some[0].name)
        made = [HookEncoder(spec, device, dtype) for spec in some] if hooks else build_encoders(some, device, dtype)
        found |= dict(zip(numbers, made, strict=True))
    return [found[number] for number in range(len(specs))]


def by_network(specs: Iterable[EncoderSpec]) -> list[list[int]]:
    """The numbers of the specs that differ in the size of images alone, together; each hook by itself."""
    found: dict[object, list[int]] = {}
    for number, spec in enumerate(specs):
        network = number if is_hook(spec.name) else replace(spec, input_size=None, grid=None)
        found.setdefault(network, []).append(number)
    return list(found.values())


def _encoders_as_planned(targets: Sequence[Target], device: torch.device) -> dict[Target, Encoder]:
    """The encoder of each target, when what is on this host is what the driver planned with.

    Raises:
        HostError: other weights, or another source of a hook.
    """
    found: dict[Target, Encoder] = {}
    for numbers in by_network(target.spec for target in targets):
        some = [targets[number] for number in numbers]
        planned = open_on_host(some[0].store).manifest.ingredients["encoder"]
        dtype = pick_dtype(some[0].config.precision, device)
        if is_hook(some[0].spec.name):
            found[some[0]] = _hook_as_planned(some[0].spec, planned, device, dtype)
            continue
        weights = resolve_weights(some[0].spec)
        if weights.sha256 != planned["weights_sha256"]:
            raise HostError(
                f"{weights.path}: expected weights of sha256 {planned['weights_sha256']}; received {weights.sha256}; "
                "copy the driver's"
            )
        encoders = build_encoders([target.spec for target in some], device, dtype, weights)
        found |= dict(zip(some, encoders, strict=True))
    return found


def _hook_as_planned(
    spec: EncoderSpec, planned: dict[str, Any], device: torch.device, dtype: torch.dtype
) -> HookEncoder:
    hook = HookEncoder(spec, device, dtype)
    if hook.describe() != planned:
        raise HostError(f"{spec.name}: expected {planned}; received {hook.describe()}; copy the driver's files")
    return hook
