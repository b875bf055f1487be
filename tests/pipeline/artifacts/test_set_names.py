"""What a name means where plain stores and bucket sets lie: the rule of every artifact, exact names first."""

import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.artifacts.bucket_sets import find_bucket_set, find_data
from pipeline.artifacts.resolver import ArtifactError
from pipeline.cli import main
from stores import ArraySpec, Store, StoreWriter, new_index, open_bucket_set
from stores.care import gc
from stores.core.bucket_set import bucket_set_ingredients, write_bucket_set
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
        with pytest.raises(ArtifactError, match=f"expected a bucket set named '{text}'; received mixed"):
            find_bucket_set(tmp_path, text)
    with pytest.raises(ArtifactError, match="did you mean 'mixed'"):
        find_data(tmp_path, "features", "mixd")


def test_the_beginning_of_several_folders_is_refused(tmp_path: Path) -> None:
    make_set(tmp_path, "mixed-0123456789ab")
    newer = make_set(tmp_path, "mixed-0133456789ab")
    assert find_data(tmp_path, "features", "mixed").url == newer
    for find in (find_data, lambda root, _, text: find_bucket_set(root, text)):
        with pytest.raises(ArtifactError, match="received that of mixed-0123456789ab, mixed-0133456789ab"):
            find(tmp_path, "features", "mixed-01")
    exact = make_store(tmp_path, "mixed-01")
    assert find_data(tmp_path, "features", "mixed-01").url == exact.url


def test_a_set_at_a_url_is_copied_to_a_folder_first(s3_url: str, tmp_path: Path) -> None:
    url = copy_bucket_set(make_set(tmp_path, "mixed-0123456789ab"), s3_url).url
    for where, text in ((s3_url, "mixed"), (s3_url, "mixed-01"), (s3_url, "buckets/mixed"), (tmp_path, url)):
        with pytest.raises(ArtifactError, match=f"received a bucket set at a URL; .* `fae-pipe stores copy {url} fae"):
            find_data(where, "features", text)
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
