"""What a recipe will take on many images and GPUs: shards, time, disk, bandwidth and cost."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fae.models import PAPER_CAPTION, PAPER_GENERATORS, PaperGenerator
from jobs.config import AUTO_GRID, GeneratorConfig, parse_size
from jobs.extraction import bucket_rule, feature_arrays, latent_array, text_arrays, token_grid
from jobs.loop import settle
from pipeline.config import Recipe
from pipeline.plan.cost import Cost
from pipeline.plan.cost_table import (
    CostTable,
    TextSize,
    generator_costs,
    recipe_costs,
    shipped_table,
)
from pipeline.plan.records import GeneratorNeed, Machines, ModelNeed, Plan, StageNeed, StoreNeed
from pipeline.stages import STAGES, PlanInputs, Stage, Work
from stores.format import ArraySpec, ShardFormat, default_rows_per_shard, num_shards

HOUR_SECONDS = 3600.0
CLASSES, CAPTION_TOKENS, PAPER_GRID = 1000, 32, (16, 16)
LATENTS, TEXT_ENCODER = "latents", "text encoder"


def make_plan(recipe: Recipe, images: int, machines: Machines) -> Plan:
    """Estimate from the encoder's measured rate: rate × its operations an image is what a GPU gets done in a second.

    The other models are held to get as much done on every GPU, unless the machines say what was measured of each stage;
    the networks of the decoder's losses are not counted.

    Raises:
        ValueError: settings that do not fit the encoder.
    """
    recipe = settled(recipe, images)
    counted = recipe_costs(recipe, machines.classes, machines.caption_tokens)
    costs, shape, latent_shape, text = counted.costs, counted.shape, counted.latent_shape, counted.text
    text_specs = text_arrays(text.tokens, text.width, text.pooled_width, recipe.text) if text else []
    views = 1 + recipe.extract.flip
    features, latents = feature_arrays(recipe.extract, shape), [latent_array(recipe.encode, latent_shape)]
    stores = [
        *_store("features", features, images, views, recipe.extract.rows_per_shard),
        *_store(LATENTS, latents, images, views, recipe.encode.rows_per_shard),
    ]
    texts = _store("text", text_specs, images, recipe.text.captions, recipe.text.rows_per_shard) if text else []
    inputs = PlanInputs(
        images,
        views,
        machines.image_bytes,
        flops={name: cost.flops for name, cost in costs.items()},
        row_bytes={spec.name: spec.record_bytes for spec in [*features, *latents, *text_specs]},
        store_bytes={store.array: store.num_bytes for store in [*stores, *texts]},
        function_evaluations=counted.function_evaluations,
    )
    encoder_flops = costs["frozen encoder"].flops
    wanted = [stage for stage in STAGES if stage.name in recipe.stages]
    stages = [
        _need(stage, stage.work(recipe, inputs), machines, machines.speed(stage.name, encoder_flops))
        for stage in wanted
    ]
    return Plan(images, machines, [*stores, *texts], _models(costs, machines.gpus), stages)


def settled(recipe: Recipe, images: int) -> Recipe:
    """What the recipe leaves open, as it is picked for so many images on GPUs; of buckets the largest counts."""
    recipe = _with_largest_bucket(recipe)
    parts = {name: _settled(getattr(recipe, name), recipe, images) for name in ("autoencoder", "decoder", "generator")}
    return replace(recipe, **parts)


def _settled(config: Any, recipe: Recipe, images: int) -> Any:
    if config.batch_tokens is not None:
        height, width = token_grid(recipe.extract) or PAPER_GRID
        config = replace(config, batch_size=max(1, config.batch_tokens // (height * width)))
    return settle(config, images, "cuda")


def _with_largest_bucket(recipe: Recipe) -> Recipe:
    """The recipe with the largest of its sizes, the nearest to a square, in the place of the rule."""
    if recipe.extract.buckets is None:
        return recipe
    height, width = max(bucket_rule(recipe.extract).shapes(), key=lambda shape: (shape[0] * shape[1], -max(shape)))
    size = parse_size(f"{height}x{width}")
    return replace(recipe, extract=replace(recipe.extract, buckets=None, image_size=size, grid=AUTO_GRID))


def generator_needs(gpus: int, table: CostTable | None = None) -> list[GeneratorNeed]:
    """The paper's generators on so many GPUs, of 1,000 classes or of flan-T5-XL's captions."""
    return [_generator(one, gpus, table or shipped_table()) for one in PAPER_GENERATORS]


def _generator(one: PaperGenerator, gpus: int, table: CostTable) -> GeneratorNeed:
    config = GeneratorConfig(model=one.model, size=one.size, condition=one.condition)
    caption = TextSize(*PAPER_CAPTION, Cost(0, 0, 0)) if one.condition == "text" else None
    cost = generator_costs(config, one.latents, CLASSES, caption, table)
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
    num_bytes = sum((shards - 1) * form.rows_num_bytes(rows_per_shard) + form.rows_num_bytes(last) for form in forms)
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


def _need(stage: Stage[Any], work: Work, machines: Machines, speed: float) -> StageNeed:
    """`speed` is what a GPU gets done, operations a second; what takes longer bounds the stage."""
    arithmetic = work.flops / (speed * machines.gpus)
    moving = (work.bytes_read + work.bytes_written) / machines.storage_rate
    seconds = max(arithmetic, moving)
    hours = seconds * machines.gpus / HOUR_SECONDS
    bound = "arithmetic" if arithmetic >= moving else "storage"
    return StageNeed(stage.name, *work, seconds, hours, bound)
