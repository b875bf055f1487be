"""What a name means where plain stores and bucket sets lie: the rule of every artifact, exact names first."""

import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.artifacts.bucket_sets import find_data
from pipeline.artifacts.resolver import ArtifactError
from pipeline.artifacts.status import status_of
from pipeline.cli import main
from stores import ArraySpec, Store, StoreWriter, new_index, open_bucket_set
from stores.care import gc
from stores.core.bucket_set import bucket_set_ingredients, reference_store, write_bucket_set
from stores.exchange import copy_bucket_set, copy_store


def make_store(root: Path, name: str, number: int = 1) -> Store:
    spec = ArraySpec("features", (2,))
    writer = StoreWriter.create(root / "features", "features", name, [spec], new_index(["a"]), {"a": number})
    writer.write_shard(0, {"features": np.zeros((1, 1, 2), np.float16)})
    time.sleep(0.002)  # stores are as old as their clock's milliseconds say
    return writer.finalize()


def make_set(root: Path, folder: str) -> str:
    name = folder[:-13]
    stores = {"1x2": make_store(root, f"{name}-1x2-{folder[-12:]}")}
    made = bucket_set_ingredients("rule", {size: store.fingerprint for size, store in stores.items()})
    return write_bucket_set(root / "buckets" / folder, name, made, stores, new_index(["a"])).url


def test_an_exact_name_goes_before_the_beginning_of_another(tmp_path: Path) -> None:
    plain = make_store(tmp_path, "mix")
    mixed = make_set(tmp_path, "mixed-0123456789ab")
    assert find_data(tmp_path, "features", "mix").url == plain.url
    for text in ("mixed", "mixed-0123", "buckets/mixed", mixed):
        assert find_data(tmp_path, "features", text).url == mixed
    for text in ("mi", "m", ""):
        with pytest.raises(ArtifactError, match=f"expected a complete store named '{text}'; received none"):
            find_data(tmp_path, "features", text)
    with pytest.raises(ArtifactError, match="did you mean 'mixed'"):
        find_data(tmp_path, "features", "mixd")


def test_the_beginning_of_several_folders_is_refused(tmp_path: Path) -> None:
    make_set(tmp_path, "mixed-0123456789ab")
    newer = make_set(tmp_path, "mixed-0133456789ab")
    assert find_data(tmp_path, "features", "mixed").url == newer
    with pytest.raises(ArtifactError, match="received that of mixed-0123456789ab, mixed-0133456789ab"):
        find_data(tmp_path, "features", "mixed-01")
    exact = make_store(tmp_path, "mixed-01")
    assert find_data(tmp_path, "features", "mixed-01").url == exact.url


def test_a_set_at_a_url_is_opened_and_copied_by_its_names(s3_url: str, tmp_path: Path) -> None:
    url = copy_bucket_set(make_set(tmp_path, "mixed-0123456789ab"), s3_url).url
    for where, text in ((s3_url, "mixed"), (s3_url, "mixed-01"), (s3_url, "buckets/mixed"), (tmp_path, url)):
        assert find_data(where, "features", text).url == url
        with pytest.raises(ValueError, match="latents"):
            find_data(where, "latents", text)
        done = CliRunner().invoke(main, ["stores", "copy", text, str(tmp_path / "copy"), "--root", str(where)])
        assert done.exit_code == 0, done.output
    assert find_data(tmp_path / "copy", "features", "mixed").num_rows == 1
    copy_store(make_store(tmp_path, "mixed"), f"{s3_url}/features")
    assert find_data(s3_url, "features", "mixed").kind == "features", "a store's exact name goes first"


def test_the_stores_of_a_set_at_a_url_are_no_garbage(s3_url: str, tmp_path: Path) -> None:
    made = copy_bucket_set(make_set(tmp_path, "mixed-0123456789ab"), s3_url)
    copy_store(make_store(tmp_path, made.members[0].name, number=2), f"{s3_url}/features")
    assert gc(s3_url, dry_run=False) == []
    assert open_bucket_set(made.url).content_id == made.content_id


def test_a_store_of_a_set_without_a_row_is_passed_over(tmp_path: Path) -> None:
    spec = ArraySpec("features", (2,))
    empty = StoreWriter.create(tmp_path / "features", "features", "mixed-2x1", [spec], new_index(["b", "c"]), {})
    empty.write_shard(0, {"features": np.zeros((2, 1, 2), np.float16)}, rejected={0: "torn", 1: "torn"})
    stores = {"1x2": make_store(tmp_path, "mixed-1x2"), "2x1": empty.finalize(1.0, may_be_empty=True)}
    made = bucket_set_ingredients("rule", {size: store.fingerprint for size, store in stores.items()})
    mixed = write_bucket_set(tmp_path / "buckets/mixed-0123456789ab", "mixed", made, stores, new_index(["a", "b", "c"]))
    assert reference_store(mixed) is stores["1x2"], "although it has fewer rows"
    assert mixed.statistics("features").count == 1
    done = CliRunner().invoke(main, ["stores", "stats", "mixed", "--root", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2x1: all 2 rows are rejected" in done.output
    done = CliRunner().invoke(main, ["verify", "mixed", "--root", str(tmp_path)])
    assert "3 images in 2 stores, all sound" in done.output


@pytest.mark.parametrize("words", ["diff SET SET", "pack SET --out OUT", "add SET SET --name tokens"])
def test_commands_for_one_store_name_those_of_a_set_however_it_is_named(tmp_path: Path, words: str) -> None:
    made = make_set(tmp_path, "mixed-0123456789ab")
    for text in ("mixed", "buckets/mixed", "buckets/mixed-0123456789ab", made):
        given = words.replace("SET", text).replace("OUT", str(tmp_path / "out")).split()
        done = CliRunner().invoke(main, ["stores", *given, "--root", str(tmp_path)])
        assert done.exit_code == 2, done.output
        assert "name one of its stores, features/mixed-1x2-0123456789ab-" in done.output
    assert not (tmp_path / "out").exists()


def test_the_status_of_a_set_that_is_being_made_is_that_of_its_stores(tmp_path: Path) -> None:
    make_set(tmp_path, "mixed-0123456789ab")
    make_store(tmp_path, "mixed-2x1", number=5)
    spec, index = ArraySpec("features", (2,)), new_index(["a", "b", "c"])
    StoreWriter.create(tmp_path / "features", "features", "mixed-3x1", [spec], index, {}, rows_per_shard=2)
    for text in ("mixed", "features/mixed"):
        status = status_of(text, tmp_path)
        assert (status.done, status.total, status.shards_done, status.shards) == (1, 4, 1, 3)
        assert (status.state, status.kind) == (
            "stopped",
            "bucket set of features, recorded once its stores are complete",
        )
    make_store(tmp_path, "mixed")
    assert status_of("mixed", tmp_path).state == "complete", "an exact name goes before"
