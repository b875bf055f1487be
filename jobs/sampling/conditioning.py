"""What a generator takes (classes, captions or nothing) and which prompts the settings name; read without torch."""

import json
from pathlib import Path

from jobs.config import SampleConfig
from jobs.runs import RunFolder
from stores import AnyStore, StoreError
from stores.core import open_any

HELD_OUT = "held-out"


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


def held_out_prompts(text: AnyStore, most: int) -> list[str]:
    """The first caption of each of the first held-out rows of a text store (training rows when none are held out).

    Of a bucket set as many of each store as its share of the rows gives.

    Raises:
        ValueError: none of these rows has a caption.
    """
    from jobs.loop import evaluation_parts  # loads torch, which nothing else here needs

    parts = evaluation_parts(text, most).parts
    found = [row[0] for store, rows in parts for row in store.index["caption"].take(rows).to_pylist() if row][:most]
    if not found:
        raise ValueError(
            f"prompts: {text.url}: expected held-out rows with captions; received none; give --prompt TEXT"
        )
    return found


def text_of(generator: RunFolder) -> AnyStore:
    """The text store, or the bucket set of them, that a generator was trained on, unchanged since.

    Raises:
        StoreError: it is gone or another one lies in its place.
    """
    store = open_any(generator.input("text"))
    if store.content_id != generator.record.ingredients["text_content_id"]:
        raise StoreError(
            f"{store.url}: expected the captions that {generator.path} was trained on; they have changed since"
        )
    return store


def _caption(line: str, file: Path) -> str:
    try:
        found = json.loads(line)["caption"]
        text = found[0] if isinstance(found, list) else found
    except (ValueError, KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        raise ValueError(f'prompts: {file}: expected lines such as {{"caption": "a dog"}}; received {line[:80]!r}')
    return text
