"""The table of costs says what the models themselves say."""

from dataclasses import replace

import pytest

from jobs.config.stages import ExtractConfig
from pipeline.config.recipe import builtin_recipes, load_recipe
from pipeline.plan.cost_table import CostTable, encoder_costs, recipe_costs, shipped_table
from pipeline.plan.count_table import IMAGES, count_table
from pipeline.plan.estimate import CAPTION_TOKENS, CLASSES, generator_needs, settled


@pytest.mark.slow
def test_the_shipped_table_is_what_is_counted():
    assert shipped_table().entries == count_table().entries, "run python -m pipeline.plan.count_table"


@pytest.mark.heavy
def test_an_entry_of_the_table_is_what_is_counted():
    counted = CostTable()
    recipe_costs(settled(load_recipe("digits"), IMAGES), CLASSES, CAPTION_TOKENS, counted)
    assert counted.entries
    assert counted.entries.items() <= shipped_table().entries.items(), "run python -m pipeline.plan.count_table"


def test_recipes_that_come_along_and_the_papers_sizes_are_in_the_table():
    known = dict(shipped_table().entries)
    for name in builtin_recipes():
        recipe_costs(settled(load_recipe(name), IMAGES), CLASSES, CAPTION_TOKENS)
    generator_needs(1)
    assert shipped_table().entries == known


def test_what_is_not_in_the_table_is_counted_and_kept():
    table, config = CostTable(), ExtractConfig(encoder="dinov2-s", layer=3)
    first = encoder_costs(config, table)
    assert len(table.entries) == 1
    assert encoder_costs(config, table) == first
    assert encoder_costs(replace(config, layer=7), table)[0].flops > first[0].flops
