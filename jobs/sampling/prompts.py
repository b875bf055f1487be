"""Prompts of a generator that takes captions: where they come from, and what its text encoder makes of them."""

import json
import logging
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import torch

from fae.encoders import TextEncoder, find_text_encoder, text_encoder_sha256
from fae.generators import Generator
from fae.sampling import Captions
from jobs.config import SampleConfig
from jobs.loop import evaluation_rows
from jobs.runs import RunFolder
from stores import Store, StoreError, open_store

LOG = logging.getLogger(__name__)
HELD_OUT = "held-out"
BATCH_TEXTS = 64


def condition_of(generator: RunFolder) -> str:
    """What a generator was trained on: class, text, or none."""
    return str(generator.record.config.get("condition", "class"))


def takes_text(generator: RunFolder) -> bool:
    """Whether a generator was trained on captions."""
    return condition_of(generator) == "text"


def is_unconditional(generator: RunFolder) -> bool:
    """Whether a generator was trained without classes and captions."""
    return condition_of(generator) == "none"


def prompt_texts(config: SampleConfig, generator: RunFolder) -> list[str]:
    """The prompts that the settings ask for, each at least once.

    Raises:
        ValueError: there is none, or the file cannot be read.
    """
    if config.prompt:
        return list(config.prompt)
    if config.prompts == HELD_OUT:
        return held_out_prompts(text_of(generator), config.num)
    if config.prompts is not None:
        return read_prompts(Path(config.prompts))
    raise ValueError(
        f"prompts: {generator.path} takes captions; expected some of them; give --prompt TEXT, --prompts FILE, or "
        f"--prompts {HELD_OUT} for those of held-out images"
    )


def read_prompts(file: Path) -> list[str]:
    """Prompts of a file: its lines, or of a .jsonl file the `caption` of each (the first when it is a list).

    Raises:
        ValueError: no such file, no prompts in it, or a line of JSON without a caption.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompts: {file}: expected a text file, or the word {HELD_OUT}; {error}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"prompts: {file}: expected one prompt a line; received none")
    return [_caption(line, file) for line in lines] if file.suffix == ".jsonl" else lines


def held_out_prompts(text: Store, most: int) -> list[str]:
    """The first caption of each of the first held-out rows of a text store (training rows when none are held out).

    Raises:
        ValueError: none of these rows has a caption.
    """
    _, rows = evaluation_rows(text, most)
    captions = text.index["caption"].take(rows).to_pylist()
    found = [row[0] for row in captions if row]
    if not found:
        raise ValueError(
            f"prompts: {text.path}: expected held-out rows with captions; received none; give --prompt TEXT"
        )
    return found


def text_of(generator: RunFolder) -> Store:
    """The text store that a generator was trained on, unchanged since.

    Raises:
        StoreError: it is gone or another one lies in its place.
    """
    store = open_store(generator.input("text"))
    if store.content_id != generator.record.ingredients["text_content_id"]:
        raise StoreError(
            f"{store.url}: expected the captions that {generator.path} was trained on; they have changed since"
        )
    return store


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
        assert name is not None
        assert sha256 is not None
        assert max_tokens is not None
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


def _caption(line: str, file: Path) -> str:
    try:
        found = json.loads(line)["caption"]
        text = found[0] if isinstance(found, list) else found
    except (ValueError, KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        raise ValueError(f'prompts: {file}: expected lines such as {{"caption": "a dog"}}; received {line[:80]!r}')
    return text
