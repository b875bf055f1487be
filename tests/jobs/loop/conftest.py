"""Trainers of a toy model on a toy store."""

from dataclasses import replace

import numpy as np
import pytest
from toy_training import CONFIG, CPU, Toy

from jobs.loop.trainer import Trainer
from jobs.runs.run_folder import RunFolder
from stores import ArraySpec, Loader, StoreWriter, new_index


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    index = new_index([f"{row:02d}" for row in range(30)])
    spec = ArraySpec("latents", (1, 1, 3), "float32")
    writer = StoreWriter.create(tmp_path_factory.mktemp("toy"), "latents", "toy", [spec], index, {}, rows_per_shard=10)
    values = np.random.default_rng(0).standard_normal((30, 1, 1, 1, 3)).astype(np.float32)
    for shard in range(writer.num_shards):
        rows = writer.shard_rows(shard)
        writer.write_shard(shard, {"latents": values[rows.start : rows.stop]})
    return writer.finalize()


@pytest.fixture
def trainer_at(tmp_path, store):
    """(name, **settings) -> a trainer of the run of that name: a fresh process would build the same."""

    def make(name, **settings):
        run = RunFolder.create(tmp_path, "generators", name, {"toy": 1}, {}, {})
        config = replace(CONFIG, **settings)
        return Trainer(run, config, Toy(), Loader(store, batch_size=config.batch_size, seed=config.seed), CPU)

    return make
