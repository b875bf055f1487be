"""Which images to make: a class, a caption or no condition, and a seed, for each."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fae.sampling import parse_guidance
from jobs.config import GeneratorConfig, SampleConfig, parse_classes, parse_ids
from jobs.runs import Models, RunFolder
from jobs.sampling.conditioning import condition_of, is_unconditional, prompt_texts, takes_text


@dataclass(frozen=True)
class SamplePlan:
    """What to make: a label (-1 = none) and a seed for each image, and its caption where it is conditioned on one."""

    labels: np.ndarray
    seeds: list[int]
    captions: list[str] | None = None

    @property
    def unconditional(self) -> bool:
        """Whether no image has a class or a caption."""
        return self.captions is None and bool((self.labels < 0).all())

    def name(self, number: int) -> str:
        """What an image is called: `000012-class3-seed12`, or `000012-seed12` of a caption or no condition."""
        label = f"class{self.labels[number]}-" if self.labels[number] >= 0 else ""
        return f"{number:06d}-{label}seed{self.seeds[number]}"

    def condition_names(self, class_names: list[str] | None) -> list[str]:
        """What each image is to show, in words; of no condition its seed."""
        if self.captions is not None:
            return self.captions
        if self.unconditional:
            return [f"seed {seed}" for seed in self.seeds]
        return [class_names[label] if class_names else str(label) for label in self.labels]


def plan_samples(config: SampleConfig, models: Models) -> SamplePlan:
    """`config.num` images of the generator's conditions.

    Raises:
        ValueError: a class that the generator does not know, prompts for one that knows classes, classes for one that
            knows captions, or a weaker generator that takes other conditions.
    """
    generator, guide_model = models.generator, models.guide_model
    if guide_model is not None and _condition(guide_model) != _condition(generator):
        raise ValueError(
            f"autoguidance: expected a generator that takes classes, captions or nothing just as {generator.path} "
            f"does; {guide_model.path} does not"
        )
    if config.internal_guidance_scale != 1 and generator.model_config().get("internal_guidance_depth") is None:
        raise ValueError(
            f"internal_guidance_scale: expected a generator with a head for it; {generator.path} has none; train it "
            "with generator.internal_guidance_weight above 0"
        )
    if is_unconditional(generator):
        return _plan_unconditional(config, generator)
    if takes_text(generator):
        if config.classes is not None:
            raise ValueError(
                f"classes: {generator.path} takes captions and knows no classes; give --prompt TEXT or --prompts FILE"
            )
        return plan_prompts(config, prompt_texts(config, generator))
    num_classes = generator.model_config()["num_classes"]
    if config.prompt or config.prompts is not None:
        known = ", ".join(models.class_names[:10]) if models.class_names else f"0 to {num_classes - 1}"
        raise ValueError(
            f"prompts: {generator.path} takes classes and knows no captions; give --classes "
            f"({num_classes} of them: {known})"
        )
    return plan_classes(config, num_classes, models.class_names, trained_ids(generator))


def with_fitting_guidance(config: SampleConfig, models: Models) -> SampleConfig:
    """The settings with guidance off where nothing can guide: an unconditional generator and no weaker one."""
    if models.guide_model is not None or not is_unconditional(models.generator):
        return config
    return replace(config, guidance_scale=1.0, guidance_interval=SampleConfig.guidance_interval)


def guidance_notes(config: SampleConfig, generator: RunFolder, guide_model: bool = False) -> list[str]:
    """What a person should know before guiding: that the generator never learned the condition it is guided away from.

    Args:
        config: The samples' settings.
        generator: The generator that makes them, or made them.
        guide_model: Whether a weaker generator guides instead of the empty condition.
    """
    spans = parse_guidance(config.guidance_interval, config.guidance_scale)
    learned = float(generator.record.config.get("label_dropout", GeneratorConfig.label_dropout)) > 0
    if learned or guide_model or is_unconditional(generator) or all(span.scale == 1.0 for span in spans):
        return []
    empty = "caption" if takes_text(generator) else "class"
    return [
        f"{generator.path.name} was trained with label dropout 0: its empty {empty}, from which guidance leads away, "
        "is untrained: take guidance scale 1, a weaker generator to guide by (autoguidance), or train it with label "
        "dropout above 0"
    ]


def trained_ids(generator: RunFolder) -> list[int] | None:
    """Ids of the classes that a generator had training rows of; None in records that do not say."""
    text = generator.record.class_ids
    return None if text is None else parse_ids(text)


def plan_classes(
    config: SampleConfig, num_classes: int, class_names: list[str] | None, trained: list[int] | None = None
) -> SamplePlan:
    """`config.num` images: the classes in turn, or each drawn by the seed.

    Where `config` names no classes these are the `trained` ones, all when absent: ids without images make nothing.

    Raises:
        ValueError: a class that the generator does not know.
    """
    whole = trained if config.classes is None and trained else None
    classes = np.array(whole or parse_classes(config.classes, num_classes, class_names), np.int64)
    return SamplePlan(classes[_numbers(config, len(classes))], _seeds(config))


def plan_prompts(config: SampleConfig, texts: list[str]) -> SamplePlan:
    """`config.num` images: the prompts in turn, or each drawn by the seed."""
    captions = [texts[number] for number in _numbers(config, len(texts))]
    return SamplePlan(np.full(config.num, -1, np.int64), _seeds(config), captions)


def _plan_unconditional(config: SampleConfig, generator: RunFolder) -> SamplePlan:
    if config.classes is not None or config.prompt or config.prompts is not None:
        raise ValueError(
            f"classes, prompts: {generator.path} is unconditional; expected neither; leave them out, its images differ "
            "by their seeds"
        )
    return SamplePlan(np.full(config.num, -1, np.int64), _seeds(config))


def _condition(generator: RunFolder) -> tuple[str, Any]:
    return condition_of(generator), generator.record.text_encoder_sha256


def _numbers(config: SampleConfig, count: int) -> np.ndarray:
    """Which of `count` classes or prompts each image has."""
    if config.labels == "random":
        return np.random.Generator(np.random.Philox(config.seed)).integers(count, size=config.num)
    return np.arange(config.num) % count


def _seeds(config: SampleConfig) -> list[int]:
    return [config.seed + number for number in range(config.num)]
