"""Count the models of the recipes that come along and of the paper: `python -m pipeline.plan.count_table`."""

import json

from jobs.config import PIXEL_VAE
from pipeline.config import builtin_recipes, load_recipe, override
from pipeline.plan.cost_table import FILE, CostTable, recipe_costs
from pipeline.plan.estimate import CAPTION_TOKENS, CLASSES, generator_needs, settled

IMAGES = 1_281_167  # ImageNet's, for recipes that leave their sizes open


def count_table() -> CostTable:
    """The table of all that is known by name, counted from the models."""
    table = CostTable()
    recipes = [load_recipe(name) for name in builtin_recipes()]
    recipes += [override(recipe, values) for recipe in recipes for values in recipe.variants.values()]
    for recipe in recipes:
        if recipe.autoencoder.encoder == PIXEL_VAE:  # its costs cannot be counted
            continue
        recipe_costs(settled(recipe, IMAGES), CLASSES, CAPTION_TOKENS, table)
    generator_needs(8, table)
    return table


if __name__ == "__main__":
    entries = dict(sorted(count_table().entries.items()))
    FILE.write_text(
        "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items()) + "\n}\n"
    )
