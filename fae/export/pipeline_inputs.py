"""What a caller of the pipeline may give: classes, prompts, seeds and guidance, checked and made ready."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from fae.encoders import TextEncoder
from fae.nn import Grid
from fae.sampling import (
    Captions,
    Conditions,
    EmptyCaption,
    Guidance,
    Sized,
    make_guidance,
    parse_guidance,
    size_numbers,
)

OUTPUT_TYPES = ("pil", "np", "pt", "latent")
Generators = torch.Generator | Sequence[torch.Generator] | None
AnyConditions = TypeVar("AnyConditions", bound=Conditions)
Labels = int | str | Sequence[int] | Sequence[str] | torch.Tensor


def class_ids(class_labels: Labels, names: Mapping[str, int], num_classes: int) -> list[int]:
    """Ids of classes given by id, by name, or as a tensor; -1 = without a class.

    Raises:
        ValueError: a name or an id that the model does not know, or none at all.
    """
    listed = [class_labels] if isinstance(class_labels, int | str) else list(class_labels)
    unknown = [label for label in listed if isinstance(label, str) and label not in names]
    if unknown:
        known = ", ".join(list(names)[:10]) or "no names at all"
        raise ValueError(f"class_labels: expected a name of this model ({known}, …); received {unknown[0]!r}")
    ids = [names[label] if isinstance(label, str) else int(label) for label in listed]
    if not ids or not all(-1 <= number < num_classes for number in ids):
        raise ValueError(f"class_labels: expected ids from 0 to {num_classes - 1}, or -1 for none; received {ids}")
    return ids


def image_count(
    batch_size: int | None, generator: Generators, seeds: Sequence[int] | None, latents: torch.Tensor | None
) -> int:
    """Images of an unconditional model: `batch_size`, else the number of seeds, latents or generators, else 1."""
    if batch_size is not None:
        return batch_size
    known = next((given for given in (seeds, latents) if given is not None), generator)
    return 1 if known is None or isinstance(known, torch.Generator) else len(known)


def prompt_captions(encoder: TextEncoder, prompts: Sequence[str], max_tokens: int) -> Captions:
    """Prompts as a generator takes them, beside the empty caption; longer ones are cut after `max_tokens` tokens.

    Raises:
        ValueError: no prompt, or one that is no text.
    """
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError(f"prompt: expected a text or several; received {prompts!r:.80}")
    found, empty = encoder(prompts, max_tokens), encoder([""], max_tokens)
    # (N, L, D) -> (N, max_tokens, D)
    states, empty_caption = (F.pad(one.states, (0, 0, 0, max_tokens - one.states.shape[1])) for one in (found, empty))
    return Captions(states, found.lengths, found.pooled, EmptyCaption(empty_caption[0], empty.lengths, empty.pooled[0]))


def negative_prompts(given: str | Sequence[str], count: int, guidance: Guidance) -> list[str]:
    """A negative prompt for each of `count` prompts; warns where there is no guidance that it would change.

    Raises:
        ValueError: another number of them.
    """
    prompts = [given] * count if isinstance(given, str) else list(given)
    if len(prompts) != count:
        raise ValueError(f"negative_prompt: expected one, or one for each of {count} prompts; received {len(prompts)}")
    if all(span.scale == 1 for span in guidance):
        warnings.warn("negative_prompt is not used: guidance_scale is 1; give another scale", stacklevel=4)
    return prompts


def repeated(conditions: AnyConditions, each: int) -> AnyConditions:
    """Every condition `each` times, one after the other.

    Raises:
        ValueError: less than once.
    """
    if each < 1:
        raise ValueError(f"num_images_per_prompt: expected at least 1; received {each}")
    if each == 1:
        return conditions
    return conditions.index_select(torch.arange(len(conditions)).repeat_interleave(each))


def check_unconditional(
    class_labels: Labels | None, prompt: str | Sequence[str] | None, each: int, guidance: Guidance
) -> None:
    """Raise ValueError where a model of no condition is given one, guidance, or images of each."""
    if class_labels is not None or prompt is not None:
        raise ValueError("class_labels, prompt: expected neither: this model is unconditional; give batch_size")
    if each != 1:
        raise ValueError(f"num_images_per_prompt: expected 1: this model is unconditional; give batch_size={each}")
    scales = [span.scale for span in guidance if span.scale != 1]
    if scales:
        raise ValueError(f"guidance_scale: expected 1, since this model is unconditional; received {scales[0]:g}")


def token_grid(height: int | None, width: int | None, trained: Grid, patch_size: int) -> Grid:
    """(h, w) of the latents of images of so many pixels; the trained one where none are given.

    Raises:
        ValueError: pixels that are no whole number of patches.
    """
    sides = []
    for name, pixels, cells in (("height", height, trained[0]), ("width", width, trained[1])):
        wanted = cells * patch_size if pixels is None else pixels
        if wanted < patch_size or wanted % patch_size:
            raise ValueError(f"{name}: expected a multiple of {patch_size} pixels; received {wanted}")
        sides.append(wanted // patch_size)
    return sides[0], sides[1]


def image_sizes(
    transformer: Any, grid: Grid, patch_size: int, original: tuple[int, int] | None, crop: tuple[int, int] | None
) -> torch.Tensor | None:
    """The size and crop (1, 6) that a transformer is conditioned on, None where it is not.

    Raises:
        ValueError: they are given to one that is not.
    """
    if getattr(transformer, "size_embedder", None) is None:
        if original is not None or crop is not None:
            raise ValueError(
                "original_size, crops_coords_top_left: expected neither, since this model is not conditioned on size"
            )
        return None
    return size_numbers(1, (grid[0] * patch_size, grid[1] * patch_size), original, crop or (0, 0))


def with_sizes(conditions: Conditions, sizes: torch.Tensor | None) -> Conditions:
    """Conditions with one size and crop for all, where there is one."""
    if sizes is None:
        return conditions
    found: Any = conditions.inputs
    device = found.device if isinstance(found, torch.Tensor) else found.lengths.device
    return Sized(conditions, sizes.repeat(len(conditions), 1).to(device))


def checked_latents(latents: torch.Tensor, shape: tuple[int, ...], seeds: Sequence[int] | None = None) -> torch.Tensor:
    """The given noise.

    Raises:
        ValueError: another shape than (images, h, w, c), or seeds beside it.
    """
    if tuple(latents.shape) != shape:
        raise ValueError(f"latents: expected the shape {shape}, one for each image; received {tuple(latents.shape)}")
    if seeds is not None:
        raise ValueError("seeds: expected none beside latents, which are the noise that they would give")
    return latents


def guidance_intervals(scale: float, interval: str | Sequence[Sequence[float]]) -> Guidance:
    """Intervals of t with their scale, from text as on the command line or from tuples (t_hi, t_lo[, scale]).

    Raises:
        ValueError: intervals that overlap, or ends the wrong way round.
    """
    return parse_guidance(interval, scale) if isinstance(interval, str) else make_guidance(interval, scale)


def check_guide_head(transformer: Any, guidance: Guidance) -> None:
    """Raise ValueError where guidance by its own head is asked of a transformer without one."""
    if any(span.scale != 1 for span in guidance) and getattr(transformer, "internal_guidance_depth", None) is None:
        raise ValueError("internal_guidance_scale: expected 1, since this model has no head for internal guidance")


def image_seeds(count: int, generator: Generators, seeds: Sequence[int] | None) -> list[int]:
    """A seed for each image: those given, or drawn from the generator or generators.

    Raises:
        ValueError: another number of them.
    """
    found = _draw_seeds(count, generator) if seeds is None else list(seeds)
    if len(found) != count:
        raise ValueError(f"seeds: expected one for each of {count} images; received {len(found)}")
    return found


def _draw_seeds(count: int, generator: Generators) -> list[int]:
    """One seed an image: the k-th draw of one generator, or the first of the k-th."""
    if isinstance(generator, torch.Generator) or generator is None:
        device = generator.device if generator else "cpu"
        return [int(torch.randint(2**62, (), generator=generator, device=device)) for _ in range(count)]
    return [int(torch.randint(2**62, (), generator=one, device=one.device)) for one in generator]


def check_choices(output_type: str, callback_inputs: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError when an output type or a callback's input is unknown."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type: expected one of {', '.join(OUTPUT_TYPES)}; received {output_type!r}")
    unknown = sorted(set(callback_inputs) - set(known))
    if unknown:
        raise ValueError(f"callback_on_step_end_tensor_inputs: expected latents alone; received {', '.join(unknown)}")
