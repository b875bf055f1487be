"""Protocols of evaluation by name: what samples must be made with so that their metrics compare with published ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.config.sampling import SampleConfig


@dataclass(frozen=True)
class Protocol:
    """Settings of SampleConfig that samples must have, and what to compare them with, in words."""

    sample: Mapping[str, Any]
    reference: str


ADM_REFERENCE = "statistics of the training set: VIRTUAL_imagenet256_labeled.npz of ADM's suite"
PROTOCOLS: dict[str, Protocol] = {
    "adm-50k": Protocol({"num": 50_000, "labels": "random", "steps": 250}, ADM_REFERENCE),
    "balanced-50": Protocol({"num": 50_000, "labels": "balanced"}, f"{ADM_REFERENCE}; 50 images a class"),
    "rae": Protocol({"num": 50_000, "labels": "balanced", "steps": 50, "solver": "euler"}, ADM_REFERENCE),
    # The paper states steps and guidance, not the labels.
    "fae": Protocol(
        {"num": 50_000, "labels": "random", "steps": 250, "solver": "euler", "guidance_interval": "paper"},
        ADM_REFERENCE,
    ),
    "quick": Protocol({"num": 1000, "labels": "balanced", "steps": 50}, "training images of the same store"),
}


def with_protocol(config: SampleConfig) -> SampleConfig:
    """The settings as their protocol fixes them.

    Raises:
        ValueError: a setting was given that the protocol has otherwise.
    """
    if config.protocol is None:
        return config
    fixed = PROTOCOLS[config.protocol].sample
    given = {name: getattr(config, name) for name in fixed}
    contrary = [name for name in fixed if given[name] not in (fixed[name], getattr(SampleConfig(), name))]
    if contrary:
        expected = ", ".join(f"{name} {fixed[name]}" for name in contrary)
        received = ", ".join(f"{name} {given[name]}" for name in contrary)
        raise ValueError(f"sample.protocol {config.protocol}: expected {expected}; received {received}; leave it out")
    return replace(config, **fixed)


def check_protocol(name: str, sample: Mapping[str, Any], what: str) -> None:
    """Raise ValueError unless samples, whose recorded settings these are, were made as the protocol wants them.

    Args:
        name: of the protocol.
        sample: settings by name; empty for images that are no samples.
        what: the images, for the message.
    """
    fixed = PROTOCOLS[name].sample
    wrong = [key for key, value in fixed.items() if sample.get(key) != value]
    if wrong:
        expected = ", ".join(f"{key} {fixed[key]}" for key in wrong)
        received = ", ".join(f"{key} {sample.get(key, 'not recorded')}" for key in wrong)
        raise ValueError(
            f"eval.protocol {name}: expected samples with {expected}; received {what} with {received}; make them with "
            f"`fae-pipe sample --protocol {name}`"
        )
