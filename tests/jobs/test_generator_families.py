"""Each family of generators trains, is saved and comes back as what it was."""

import numpy as np
import pytest
import torch

from jobs.config import GeneratorConfig, RuntimeConfig
from jobs.train_gen import family, load_generator, train_generator
from stores import ArraySpec, StoreWriter, new_index

ROWS, GRID, CHANNELS = 16, 4, 8
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    index = new_index([f"{row:02d}" for row in range(ROWS)], label=[row % 3 for row in range(ROWS)])
    writer = StoreWriter.create(
        tmp_path_factory.mktemp("latents"),
        kind="latents",
        name="noise",
        arrays=[ArraySpec("latents", (GRID, GRID, CHANNELS))],
        index=index,
        ingredients={},
        attributes={"latents": "mean"},
    )
    rng = np.random.default_rng(0)
    for shard in range(writer.num_shards):
        shape = (len(writer.shard_rows(shard)), 1, GRID, GRID, CHANNELS)
        writer.write_shard(shard, {"latents": rng.standard_normal(shape, np.float32)})
    return writer.finalise()


@pytest.mark.parametrize("model", ["dit", "lightning-dit"])
def test_a_family_trains_and_loads(model, latents, tmp_path):
    config = GeneratorConfig(model=model, size="tiny", steps=2, batch_size=4, warmup_steps=0, precision="fp32")
    run = train_generator(tmp_path, "g", latents, config, RuntimeConfig(threads=1, device="cpu"), lambda *_: None)
    generator = load_generator(run, CPU)
    assert isinstance(generator.model, family(model))
    assert generator.num_classes == 3
    made = generator.sample(torch.tensor([0, 2]), [1, 2], steps=2)
    assert made.shape == (2, GRID, GRID, CHANNELS)
    assert torch.equal(made, load_generator(run, CPU).sample(torch.tensor([0, 2]), [1, 2], steps=2))
