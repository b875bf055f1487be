"""What a loader refuses: options, places and states that fit nothing."""

from typing import Any

import numpy as np
import pytest

from stores import Loader, Store


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((-1,), "epoch: expected at least 0; received -1"),
        ((0, -1), "step: expected at least 0; received -1"),
        ((0, 7), "step: expected at most 6, the batches of an epoch; received 7"),
        ((0, 0, 0), "stride: expected at least 1; received 0"),
    ],
)
def test_places_outside_an_epoch_are_refused(loader_of: Any, place: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of().epoch(*place)


@pytest.mark.parametrize("change", [{"step": 7}, {"step": 10**6}, {"step": -1}, {"epoch": -1}, None, {}])
def test_a_state_without_a_place_is_refused(loader_of: Any, change: Any) -> None:
    loader = loader_of()
    state = loader.state_dict() | change if change else change
    with pytest.raises(
        ValueError, match=r"step: expected|epoch: expected|loader state: expected epoch, step and order"
    ):
        loader.load_state_dict(state)
    assert loader.position == (0, 0)
    loader.load_state_dict(loader.state_at(2, 6))
    assert loader.position == (3, 0), "the end of an epoch is the beginning of the next"
    epoch = loader_of().epoch(0)
    next(epoch)
    epoch.close()
    assert (len(epoch), list(epoch)) == (0, [])


def test_a_state_of_another_order_is_refused(loader_of: Any) -> None:
    state = loader_of().state_dict()
    for options in ({"seed": 1}, {"batch_size": 4}, {"rows": np.arange(4, 14)}, {"view": 0}):
        with pytest.raises(ValueError, match=rf"changed: .*{next(iter(options))[:4]}"):
            loader_of(**options).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrays": ["latents"]}, r"arrays: expected some of \['features'\]"),
        ({"batch_size": 49}, r"at most the number of rows, 48"),
        ({"batch_size": 7, "rank": 0, "world_size": 2}, r"multiple of world_size 2; received 7"),
        ({"rank": 2, "world_size": 2}, r"rank: expected 0 to 1; received 2"),
        ({"rows": np.array([3, 4])}, r"rows that are ok.*received 3"),
        ({"rows": np.array([], int)}, r"one row number or more"),
        ({"split": "test"}, r"expected one that has rows, of \{'train': 43, 'val': 5\} or 'all'; received 'test'"),
        ({"split": "none"}, r"split: expected one of train, val, test, all; received 'none'"),
        ({"split": "val", "rows": np.array([1])}, r"split: expected none beside rows"),
        ({"view": 2}, r"view: .*below 2; received 2"),
        ({"residency": "disk"}, r"residency: expected one of"),
        ({"world_size": 2}, r"rank: expected the number of this process beside world_size 2; received none; give rank"),
        ({"world_size": 0, "rank": 0}, r"world_size: expected at least 1; received 0"),
        ({"rank": -1, "world_size": 2}, r"rank: expected at least 0; received -1"),
        ({"batch_size": 0}, r"batch_size: expected at least 1; received 0"),
        ({"stream_shards": 0}, r"stream_shards: expected at least 1; received 0"),
        ({"shard_rows": 0}, r"shard_rows: expected at least 1; received 0"),
        ({"shard_rows": -1}, r"shard_rows: expected at least 1; received -1"),
        ({"prefetch": -1}, r"prefetch: expected at least 0; received -1"),
        ({"arrays": ["features", "features"]}, r"arrays: expected each name once; received 'features' 2 times"),
    ],
)
def test_wrong_options_are_named(loader_of: Any, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader_of(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": np.ones(50, bool)}, r"rows: expected row numbers; received bool \(50,\); use np.flatnonzero\(mask\)"),
        ({"rows": [1.5, 2.7]}, r"rows: expected row numbers; received float64 \(2,\); give integers"),
        ({"rows": 3}, r"rows: expected a list; received 3"),
        ({"weights": 3}, r"weights: expected a list; received 3"),
        ({"batch_size": "8"}, r"batch_size: expected an integer; received '8'"),
        ({"batch_size": True}, r"batch_size: expected an integer; received True"),
        ({"seed": None}, r"seed: expected an integer; received None"),
        ({"seed": 1.5}, r"seed: expected an integer; received 1.5"),
        ({"drop_last": "no"}, r"drop_last: expected True or False; received 'no'"),
        ({"arrays": "features"}, r"arrays: expected a list of names; received 'features'; give such as"),
        ({"options": {"seed": 1}}, r"options: expected LoaderOptions; received dict .*; give settings as keywords"),
        ({"options": {}}, r"options: expected LoaderOptions; received dict"),
    ],
)
def test_options_of_another_type_are_named(loader_of: Any, options: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        loader_of(**options)


def test_what_is_no_store_is_named(store: Store) -> None:
    for wrong in ("a/path", [store, "a/path"], 5):
        with pytest.raises(TypeError, match=r"store: expected a Store or a list of them; received .*; open it with"):
            Loader(wrong)  # type: ignore[arg-type]
