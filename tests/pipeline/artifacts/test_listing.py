"""What lies below a root: every artifact below the one it was made from."""

import json

import numpy as np
import pytest

from pipeline.artifacts.descriptions import describe_store
from pipeline.artifacts.listing import folder_bytes, inventory
from pipeline.console.formats import format_bytes
from stores import ArraySpec, StoreError, StoreWriter, new_index


def test_artefacts_hang_below_what_they_were_made_from(world):
    rows = inventory(world.root)
    made = world.made
    names = {row.path.name: (row.kind, row.depth, row.status) for row in rows}
    noised = next(name for name in names if name.startswith("tiny-noised-"))
    assert names == {
        made.features.path.name: ("features", 0, "complete"),
        made.autoencoder.path.name: ("autoencoders", 1, "complete"),
        noised: ("decoders", 1, "complete"),
        made.decoder.path.name: ("decoders", 2, "complete"),
        made.latents.path.name: ("latents", 2, "complete"),
        made.models.generator.path.name: ("generators", 3, "complete"),
        made.samples.path.name: ("samples", 4, "10 images"),
    }
    assert all(row.num_bytes == folder_bytes(row.path) > 0 for row in rows)
    assert all(row.created_unix_seconds for row in rows)
    assert rows[0].path == made.features.path
    assert [row.as_cells()["artifact"].partition("tiny")[0] for row in rows] == [
        "",  # features
        "├─ ",  # autoencoder
        "│  └─ ",  # latents
        "│     └─ ",
        "│        └─ ",
        "└─ ",  # the shared decoder, and the one that was made from it
        "   └─ ",
    ]


def test_evaluations_hang_below_what_they_measured(world_copy):
    root = world_copy("samples")
    (folder,) = (root / "samples").iterdir()
    record = {"fingerprint": "0" * 64, "ingredients": {}, "created_unix_seconds": 0.0}
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": [record, record]}))
    samples, evaluation = inventory(root)
    assert (samples.path, samples.depth, evaluation.depth) == (folder, 0, 1)
    cells = evaluation.as_cells()
    assert (cells["artifact"], cells["kind"], cells["status"]) == ("└─ evaluation.json", "evaluations", "2 comparisons")
    assert cells["made"].startswith(("1970-01-01", "1969-12-31"))


def test_an_unfinished_store_shows_its_shards(tmp_path):
    index, spec = new_index([f"{row}" for row in range(10)]), ArraySpec("features", (1, 1, 2))
    writer = StoreWriter.create(tmp_path / "features", "features", "mine", [spec], index, {}, rows_per_shard=4)
    writer.write_shard(1, {"features": np.zeros((4, 1, 1, 1, 2), np.float16)})
    assert [(row.path, row.status) for row in inventory(tmp_path)] == [(writer.path, "1/3 shards")]


def test_nothing_there_is_an_empty_list(tmp_path):
    assert inventory(tmp_path / "runs") == []


def test_a_stores_facts(world):
    record = describe_store(world.made.features.path)
    facts = record["facts"]
    assert (facts["rows"], facts["views"], facts["rejected"]) == (64, 1, 0)
    assert facts["content id"] == world.made.features.content_id
    train, val = (int(part.split()[1]) for part in facts["splits"].split(", "))
    assert train + val == 64
    assert min(train, val) > 16
    assert record["arrays"] == {"features": "float16 (64, 1, 4, 4, 384)", "pixels": "uint8 (64, 1, 32, 32, 3)"}
    assert record["ingredients"]["encoder"]["layer"] == 8
    assert record["rejected"] == []


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError):
        describe_store(tmp_path)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_536_000, "1.5 MB"),
        (2 * 10**9, "2.0 GB"),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_sizes_for_people(num_bytes, text):
    assert format_bytes(num_bytes) == text
