"""What imported latents are: the files hold numbers, and say neither what these mean nor who decodes them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stores.exchange.latent_files import LatentFiles
from stores.exchange.pieces import ORIGIN_FILE

MAX_ORIGIN_BYTES = 64 * 1024 * 1024
CONTENTS = ("mean", "sample", "moments")
# What exports said before for "sample".
_OLD_CONTENTS = {"draw": "sample"}


@dataclass(frozen=True)
class LatentMeaning:
    """What imported numbers are, which the files themselves do not say.

    Attributes:
        content: "mean" or "sample" of an autoencoder's posterior, or "moments" (means, then log variances, as
            channels); by default what an export of ours says, else "moments" of files with deviations, else "mean".
        class_names: names of the classes, in the order of the ids.
        holdout: the share of rows that become the split "val"; none where an export of ours gives the splits.
        autoencoder: reference to the run of the autoencoder that decodes them, and its weights' sha256.
        channels: channels of its latents.
        layout: "nchw" or "nhwc", where the format does not say it.
    """

    content: str | None = None
    class_names: list[str] | None = None
    holdout: float = 0.0
    autoencoder: tuple[str, str] | None = None
    channels: int | None = None
    layout: str | None = None

    def ingredients(self) -> dict[str, Any]:
        """What tells stores of the same files apart; a plain import keeps the fingerprint that it always had."""
        return {
            **({} if self.content == "mean" else {"latents": self.content}),
            **({"class_names": self.class_names} if self.class_names else {}),
            **({"autoencoder_sha256": self.autoencoder[1]} if self.autoencoder else {}),
        }

    def attributes(self) -> dict[str, Any]:
        """What a manifest keeps of it, under the names that encoded stores have."""
        named = {"autoencoder": self.autoencoder[0]} if self.autoencoder else {}
        return {"latents": self.content, "class_names": self.class_names, **named}


AS_EXPORTED = LatentMeaning()


def read_origin(source: Path) -> dict[str, Any]:
    """What an export of ours says of its numbers, {} where there is no such file."""
    path = source / ORIGIN_FILE
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > MAX_ORIGIN_BYTES:
            raise ValueError("something else than a small file")
        origin = json.loads(path.read_bytes())
        names = origin.get("class_names")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError("class names that are no list of texts")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: expected what an export writes; received: {error}; remove it") from error
    return dict(origin)


def settle_meaning(files: LatentFiles, meaning: LatentMeaning, channels: int) -> LatentMeaning:
    """What the numbers are, with what an export of ours says in the place of what was not given.

    Args:
        files: the rows.
        meaning: what is known of them.
        channels: channels that the files hold.

    Raises:
        ValueError: files that cannot hold what they are said to hold.
    """
    source = files.source
    origin = read_origin(source)
    said = str(origin.get("latents") or ("moments" if files.holds_std else "mean"))
    content = meaning.content or _OLD_CONTENTS.get(said, said)
    names = meaning.class_names or origin.get("class_names")
    if content not in CONTENTS:
        raise ValueError(f"content: expected one of {', '.join(CONTENTS)}; received {content!r}; choose one of these")
    if files.holds_std and meaning.content == "sample":
        raise ValueError(f"{source}: content: expected mean or moments of files with deviations; received 'sample'")
    halves = content == "moments" or files.holds_std
    if halves and channels % 2:
        raise ValueError(f"{source}: expected moments of an even number of channels; received {channels}")
    if names is not None and files.largest_label >= len(names):
        raise ValueError(
            f"{source}: expected a class name for each label up to {files.largest_label}; received {len(names)}; "
            "add them"
        )
    if not 0 <= meaning.holdout < 1:
        raise ValueError(f"holdout: expected a share from 0 to below 1; received {meaning.holdout}")
    if meaning.holdout and "split" in files.columns:
        raise ValueError(f"{source}: expected no holdout beside files that give the splits; leave it out")
    decoded = channels // 2 if halves else channels
    if meaning.channels is not None and decoded != meaning.channels:
        raise ValueError(
            f"{source}: expected latents of {meaning.channels} channels, as the autoencoder decodes; received {decoded}"
        )
    known = origin.get("autoencoder_sha256")
    if meaning.autoencoder and known not in (None, meaning.autoencoder[1]):
        raise ValueError(
            f"{source}: expected the autoencoder {known} that made the exported latents; received "
            f"{meaning.autoencoder[1]}; name that one"
        )
    return replace(meaning, content=content, class_names=names)
