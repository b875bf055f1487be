"""Whether an encoder's name can mean one, known without loading torch or timm: a mistyped name is refused at once."""

import difflib
import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from fae.encoders.specs import PRESETS, EncoderError, is_hook

REGISTERED = re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
RENAMED = re.compile(r"^\s+'(\w+)':\s*'[\w.]+'", re.MULTILINE)  # timm's tables of models that were called otherwise


def check_encoder_name(name: str) -> None:
    """Refuse a name that is neither a preset's nor that of any model in timm's sources.

    A name that passes may still be no ViT, or have weights of another tag: `find_architecture` says so.

    Raises:
        EncoderError: no encoder is called so; the message names those that are called nearly so.
    """
    if name in PRESETS or is_hook(name):
        return
    known = timm_names()
    if known and name.partition(".")[0] not in known:
        close = difflib.get_close_matches(name, [*PRESETS, *sorted(known)], n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"presets: {', '.join(PRESETS)}"
        raise EncoderError(f"encoder: expected a preset or a timm name; received {name!r}; {advice}")


@lru_cache
def timm_names() -> frozenset[str]:
    """The names of all models in the installed timm's sources; none where these are not plain files."""
    found = importlib.util.find_spec("timm")
    folders = (found.submodule_search_locations or []) if found else []
    texts = [file.read_text(encoding="utf-8") for folder in folders for file in Path(folder, "models").glob("*.py")]
    return frozenset(name for text in texts for pattern in (REGISTERED, RENAMED) for name in pattern.findall(text))
