"""Prompts as a generator's conditions: what its text encoder makes of them."""

import logging
from collections.abc import Sequence
from functools import reduce

import torch

from fae.encoders import TextEncoder, find_text_encoder, text_encoder_sha256
from fae.generators import Generator
from fae.sampling import Captions
from jobs.runs import RunFolder

LOG = logging.getLogger(__name__)
BATCH_TEXTS = 64


def recorded_text_encoder(name: str, sha256: str, user: str, remedy: str, device: torch.device) -> TextEncoder:
    """The text encoder of this name and digest, loaded; the message says who used it (`user`) and what else to do.

    Raises:
        ValueError: what lies at its place now is another one.
        WeightsError: it is not there.
    """
    folder = find_text_encoder(name)
    found = text_encoder_sha256(folder)
    if found != sha256:
        raise ValueError(
            f"text_encoder {name}: expected the one that {user} (digest {sha256[:12]}); received another in {folder} "
            f"(digest {found[:12]}); put the former there, or {remedy}"
        )
    return TextEncoder.load(folder, device)


def numbered(captions: Sequence[str]) -> tuple[list[str], torch.Tensor]:
    """The different captions, in the order in which they come, and which of them each one is, int64."""
    different = {text: number for number, text in enumerate(dict.fromkeys(captions))}
    return list(different), torch.tensor([different[text] for text in captions])


class PromptEncoder:
    """The frozen text encoder that a generator was trained with, for prompts; in float32.

    Raises:
        ValueError: what lies at its place now is another one.
        WeightsError: it is not there.
    """

    def __init__(self, run: RunFolder, generator: Generator, device: torch.device) -> None:
        name, sha256, max_tokens = run.record.text_encoder, run.record.text_encoder_sha256, run.record.max_tokens
        if name is None or sha256 is None or max_tokens is None:
            raise ValueError(
                f"{run.path}: expected a generator whose text encoder is known, which encodes prompts; received one of "
                "imported states; import them with their text encoder and train anew"
            )
        self.generator, self.max_tokens = generator, max_tokens
        self.encoder = recorded_text_encoder(name, sha256, f"{run.path} was trained with", "train anew", device)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Captions:
        """Conditions of texts; what is longer than the trained captions is cut, with a warning."""
        cut = sum(length > self.max_tokens for length in self.encoder.lengths(texts))
        if cut:
            LOG.warning("%d of %d prompts are cut after %d tokens", cut, len(texts), self.max_tokens)
        parts = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]
        encoded = [self.encoder(part, self.max_tokens) for part in parts]
        return reduce(Captions.cat, [self.generator.captions(one.states, one.lengths, one.pooled) for one in encoded])
