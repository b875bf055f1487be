"""What a recipe will take on many images and GPUs: shards, time, disk, bandwidth and cost."""

from collections.abc import Mapping

from fae.models import PAPER_CAPTION, PAPER_GENERATORS, PaperGenerator
from jobs.config import GeneratorConfig
from jobs.extraction import feature_arrays, latent_array
from pipeline.config import EXTRACT_TEXT, Recipe
from pipeline.plan.model_costs import (
    TRAINING_PASSES,
    Cost,
    TextNeeds,
    autoencoder_costs,
    blank_caption,
    decoder_cost,
    encoder_cost,
    generator_cost,
    meta_encoder,
    num_function_evaluations,
    text_needs,
)
from pipeline.plan.records import GeneratorNeed, Machines, ModelNeed, Plan, StageNeed, StoreNeed
from stores.format import ArraySpec, ShardFormat, default_rows_per_shard, num_shards

HOUR_SECONDS = 3600.0
LATENTS, TEXT_ENCODER = "latents", "text encoder"


def make_plan(recipe: Recipe, images: int, machines: Machines) -> Plan:
    """Reckon from the encoder's measured rate: rate × its operations an image is what a GPU gets done in a second.

    The other models are held to get as much done on every GPU; the networks of the decoder's losses are not counted.

    Raises:
        ValueError: settings that do not fit the encoder.
    """
    encoder, shape = meta_encoder(recipe.extract)
    latent_shape = (*shape[:2], recipe.autoencoder.latent_channels)
    text = text_needs(recipe.text, machines.caption_tokens) if EXTRACT_TEXT in recipe.stages else None
    caption = text.caption if text else None
    costs = {
        "frozen encoder": encoder_cost(encoder),
        **({TEXT_ENCODER: text.cost} if text else {}),
        **autoencoder_costs(shape, recipe.autoencoder),
        "pixel decoder": decoder_cost(shape, recipe.extract.image_size, recipe.decoder),
        "generator": generator_cost(latent_shape, machines.classes, recipe.generator, caption),
    }
    views = 1 + recipe.extract.flip
    features, latents = feature_arrays(recipe.extract, shape), [latent_array(recipe.encode, latent_shape)]
    stores = [
        *_store("features", features, images, views, recipe.extract.rows_per_shard),
        *_store(LATENTS, latents, images, views, recipe.encode.rows_per_shard),
    ]
    texts = _store("text", text.arrays, images, recipe.text.captions, recipe.text.rows_per_shard) if text else []
    work = _Work(machines, machines.rate * costs["frozen encoder"].flops)
    row_bytes = {spec.name: spec.record_bytes for spec in [*features, *latents]}
    runs = num_function_evaluations(recipe.sample, latent_shape, machines.classes, recipe.generator, caption)
    stages = _stages(recipe, images * views, images, work, costs, runs, row_bytes, stores)
    if text:
        stages = _with_text(stages, work, recipe, images, text, sum(store.num_bytes for store in texts))
    return Plan(images, machines, [*stores, *texts], _models(costs, machines.gpus), stages)


def generator_needs(gpus: int) -> list[GeneratorNeed]:
    """The paper's generators on so many GPUs, of 1,000 classes or of flan-T5-XL's captions."""
    return [_generator(one, gpus) for one in PAPER_GENERATORS]


def _generator(one: PaperGenerator, gpus: int) -> GeneratorNeed:
    config = GeneratorConfig(model=one.model, size=one.size, condition=one.condition)
    caption = blank_caption(*PAPER_CAPTION) if one.condition == "text" else None
    cost = generator_cost(one.latents, 1000, config, caption)
    memory = (cost.ddp_bytes(gpus), cost.fsdp_bytes(gpus))
    return GeneratorNeed(one.name, one.latents, one.condition, cost.parameters, one.published, cost.flops, *memory)


def _store(kind: str, arrays: list[ArraySpec], images: int, views: int, rows_per_shard: int | None) -> list[StoreNeed]:
    rows = rows_per_shard or default_rows_per_shard(kind, images, views, tuple(arrays))
    return [_array(spec, images, views, rows) for spec in arrays]


def _array(spec: ArraySpec, images: int, views: int, rows_per_shard: int) -> StoreNeed:
    """Shards with their checksums and indexes, to the byte."""
    shards = num_shards(images, rows_per_shard)
    last = images - (shards - 1) * rows_per_shard
    forms = [ShardFormat(part, views, rows_per_shard) for part in spec.parts]
    num_bytes = sum((shards - 1) * form.num_bytes(rows_per_shard) + form.num_bytes(last) for form in forms)
    row = f"{views} × {'×'.join(map(str, spec.row_shape))} {spec.dtype}"
    return StoreNeed(spec.name, row, rows_per_shard, shards, num_bytes)


def _models(costs: Mapping[str, Cost], gpus: int) -> list[ModelNeed]:
    names = {"frozen encoder": "frozen encoder", "autoencoder": "whole", "pixel decoder": "pixel decoder"}
    names |= {TEXT_ENCODER: TEXT_ENCODER} if TEXT_ENCODER in costs else {}
    needs = []
    for name, key in {**names, "generator": "generator"}.items():
        cost, frozen = costs[key], key in ("frozen encoder", TEXT_ENCODER)
        held = (None, None) if frozen else (cost.ddp_bytes(gpus), cost.fsdp_bytes(gpus))
        needs.append(ModelNeed(name, cost.parameters, cost.flops, *held))
    return needs


class _Work:
    """Makes stages of operations and bytes; `speed` is what a GPU gets done, operations a second."""

    def __init__(self, machines: Machines, speed: float) -> None:
        self.machines, self.speed = machines, speed

    def stage(self, name: str, flops: float, read: float, written: float = 0.0) -> StageNeed:
        arithmetic = flops / (self.speed * self.machines.gpus)
        moving = (read + written) / self.machines.storage_rate
        seconds = max(arithmetic, moving)
        hours = seconds * self.machines.gpus / HOUR_SECONDS
        bound = "arithmetic" if arithmetic >= moving else "storage"
        return StageNeed(name, flops, read, written, seconds, hours, bound)


def _stages(
    recipe: Recipe,
    passes: int,
    images: int,
    work: _Work,
    costs: Mapping[str, Cost],
    runs: float,
    row_bytes: Mapping[str, int],
    stores: list[StoreNeed],
) -> list[StageNeed]:
    """`passes` counts views, `runs` the generator's for an image; a training reads every batch from storage."""
    flops = {name: cost.flops for name, cost in costs.items()}
    sizes = {store.array: store.num_bytes for store in stores}
    feature_bytes = sum(size for array, size in sizes.items() if array != LATENTS)
    autoencoder, decoder, generator, sample = recipe.autoencoder, recipe.decoder, recipe.generator, recipe.sample
    pixel_row = row_bytes["features"] + row_bytes.get("pixels", 0)
    noised = decoder.steps * decoder.batch_size
    tuned = decoder.finetune_steps * decoder.batch_size
    painting = TRAINING_PASSES * flops["pixel decoder"]
    one = runs * flops["generator"] + flops["decode"] + flops["pixel decoder"]
    learnt, generated = autoencoder.steps * autoencoder.batch_size, generator.steps * generator.batch_size
    return [
        work.stage("extract", passes * flops["frozen encoder"], images * work.machines.image_bytes, feature_bytes),
        work.stage("train-ae", learnt * TRAINING_PASSES * flops["whole"], learnt * row_bytes["features"]),
        work.stage(
            "train-decoder", noised * painting + tuned * (painting + flops["whole"]), (noised + tuned) * pixel_row
        ),
        work.stage("encode", passes * flops["encode"], sizes["features"], sizes[LATENTS]),
        work.stage("train-gen", generated * TRAINING_PASSES * flops["generator"], generated * row_bytes[LATENTS]),
        work.stage("sample", sample.num * one, 0.0, sample.num * float(recipe.extract.image_size**2 * 3)),
    ]


def _with_text(
    stages: list[StageNeed], work: _Work, recipe: Recipe, images: int, text: TextNeeds, written: int
) -> list[StageNeed]:
    """The stages with extract-text before train-gen, which reads a caption with each latent.

    What sample takes for its prompts is left out: each is encoded once.
    """
    encoded = work.stage(EXTRACT_TEXT, images * recipe.text.captions * text.cost.flops, 0.0, written)
    text_bytes = recipe.generator.steps * recipe.generator.batch_size * sum(spec.record_bytes for spec in text.arrays)
    made = []
    for stage in stages:
        if stage.stage == "train-gen":
            stage = work.stage(stage.stage, stage.flops, stage.bytes_read + text_bytes)
            made.append(encoded)
        made.append(stage)
    return made
