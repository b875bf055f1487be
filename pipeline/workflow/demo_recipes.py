"""The recipes of the demo: handwritten digits, or a person's own images."""

from dataclasses import replace

from pipeline.config import Recipe, load_recipe

# Of each family of generators for the digits, and the folder of the demo's metrics.
DEMOS = {"lightning-dit": ("digits", "demo"), "starflow": ("digits-starflow", "demo-starflow")}
PHOTOS = ("photos", "demo-photos")


def demo_recipe(model: str, images: str | None) -> tuple[Recipe, str]:
    """The recipe of the digits with a family of generators, or that of `images`; and the folder of its metrics."""
    name, folder = DEMOS[model] if images is None else PHOTOS
    recipe = load_recipe(name)
    return (recipe if images is None else replace(recipe, data=replace(recipe.data, path=images))), folder
