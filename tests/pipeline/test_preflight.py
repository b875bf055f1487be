"""What is refused before the first stage begins."""

import socket

import pytest

from pipeline.config.recipe import load_recipe, override
from pipeline.stages.preflight import check_recipe


def test_a_cluster_that_is_not_there_is_refused_where_ray_is_used(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    recipe = override(load_recipe("digits"), {"runtime.address": address, "runtime.executor": "ray"})
    with pytest.raises(ValueError, match=f"expected a Ray cluster at {address}"):
        check_recipe(tmp_path, recipe, [])
    check_recipe(tmp_path, recipe, [], dry_run=True)
    check_recipe(tmp_path, override(recipe, {"runtime.executor": "local"}), [])
