"""Which images to make: a class or a caption, and a seed, for each."""

import re
from dataclasses import dataclass

import numpy as np

from jobs.config import SampleConfig
from jobs.runs import Models
from jobs.sampling.prompts import prompt_texts, takes_text

ENCODER = "text_encoder_sha256"


@dataclass(frozen=True)
class SamplePlan:
    """What to make: a label (-1 = none) and a seed for each image, and its caption where captions are told."""

    labels: np.ndarray
    seeds: list[int]
    captions: list[str] | None = None

    def name(self, number: int) -> str:
        """What an image is called: `000012-class3-seed12`, or `000012-seed12` of a caption."""
        told = f"class{self.labels[number]}-" if self.captions is None else ""
        return f"{number:06d}-{told}seed{self.seeds[number]}"

    def told(self, class_names: list[str] | None) -> list[str]:
        """What each image is to show, in words."""
        if self.captions is not None:
            return self.captions
        return [class_names[label] if class_names else str(label) for label in self.labels]


def plan_samples(config: SampleConfig, models: Models) -> SamplePlan:
    """`config.num` images of what the generator is told.

    Raises:
        ValueError: a class that the generator does not know, prompts for one that knows classes, classes for one that
            knows captions, or a weaker generator that is told something else.
    """
    generator, weak = models.generator, models.weak
    if weak is not None and weak.record.get(ENCODER) != generator.record.get(ENCODER):
        raise ValueError(
            f"autoguidance: expected a generator that is told classes or captions just as {generator.path} is; "
            f"{weak.path} is not"
        )
    if takes_text(generator):
        if config.classes is not None:
            raise ValueError(
                f"classes: {generator.path} is told captions and knows no classes; give --prompt TEXT or --prompts FILE"
            )
        return plan_prompts(config, prompt_texts(config, generator))
    num_classes = generator.model_config()["num_classes"]
    if config.prompt or config.prompts is not None:
        known = ", ".join(models.class_names[:10]) if models.class_names else f"0 to {num_classes - 1}"
        raise ValueError(
            f"prompts: {generator.path} is told classes and knows no captions; give --classes "
            f"({num_classes} of them: {known})"
        )
    return plan_classes(config, num_classes, models.class_names)


def plan_classes(config: SampleConfig, num_classes: int, class_names: list[str] | None) -> SamplePlan:
    """`config.num` images: the classes in turn, or each drawn by the seed.

    Raises:
        ValueError: a class that the generator does not know.
    """
    classes = np.array(parse_classes(config.classes, num_classes, class_names), np.int64)
    return SamplePlan(classes[_numbers(config, len(classes))], _seeds(config))


def plan_prompts(config: SampleConfig, texts: list[str]) -> SamplePlan:
    """`config.num` images: the prompts in turn, or each drawn by the seed."""
    captions = [texts[number] for number in _numbers(config, len(texts))]
    return SamplePlan(np.full(config.num, -1, np.int64), _seeds(config), captions)


def parse_classes(text: str | None, num_classes: int, class_names: list[str] | None) -> list[int]:
    """Class ids from `0,3,7`, `0-9`, names, or all of them when absent."""
    if text is None:
        return list(range(num_classes))
    names = {name: number for number, name in enumerate(class_names or [])}
    classes: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        span = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part)
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if part in names:
            first = last = names[part]
        if first > last:
            raise ValueError(f"classes: expected ids such as 0,3,7 or 0-9, or class names; received {part!r}")
        if last >= num_classes:
            raise ValueError(f"classes: expected ids below {num_classes}; received {last}")
        classes.extend(range(first, last + 1))
    return classes


def _numbers(config: SampleConfig, count: int) -> np.ndarray:
    """Which of `count` classes or prompts each image has."""
    if config.labels == "random":
        return np.random.Generator(np.random.Philox(config.seed)).integers(count, size=config.num)
    return np.arange(config.num) % count


def _seeds(config: SampleConfig) -> list[int]:
    return [config.seed + number for number in range(config.num)]
