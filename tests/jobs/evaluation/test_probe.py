"""Probes over stores whose answers are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fae.models.autoencoder import FeatureAutoencoder
from fae.probes import LinearClassifier
from jobs.config.probing import ProbeConfig
from jobs.config.stages import EncodeConfig, RuntimeConfig
from jobs.evaluation.probe import (
    apply_head,
    classify,
    draw_pairs,
    labeled_rows,
    match_pairs,
    pool_split,
    why_no_classes,
)
from jobs.evaluation.representations import KINDS, Representations
from jobs.extraction.latents import encode, latent_writer
from jobs.runs.models import load_model
from jobs.runs.run_folder import RunFolder
from stores import ArraySpec, Store, StoreWriter, new_index

CLASSES, CHANNELS, GRID = 4, 8, 4
ROWS = 96


def silent(*_: object) -> None:
    """Nobody watches."""


def tokens(labels: np.ndarray, noise: float) -> np.ndarray:
    """(N, 1, 4, 4, 8): each class has its own direction; the inner patches of an image differ from its border."""
    generator = np.random.default_rng(0)
    directions = np.eye(CHANNELS)[labels % CLASSES]
    values = generator.normal(size=(len(labels), 1, GRID, GRID, CHANNELS)) * noise
    values += directions[:, None, None, None]
    values[:, :, 1:3, 1:3, 4:] += 4
    return values.astype(np.float32)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    """(labels=None, split=None, name, noise) -> a feature store of `tokens`, every fourth row held out."""

    def make(labels: Any = None, split: Any = None, name: str = "made", noise: float = 0.3) -> Store:
        known = np.arange(ROWS) // 4 % CLASSES
        split = split or ["val" if row % 4 == 0 else "train" for row in range(ROWS)]
        index = new_index(
            [f"p{row:03d}" for row in range(ROWS)], label=list(known) if labels is None else labels, split=split
        )
        arrays = [ArraySpec("features", (GRID, GRID, CHANNELS), "float32")]
        writer = StoreWriter.create(tmp_path / "features", "features", name, arrays, index, {}, permute=False)
        values = tokens(known, noise)
        for shard in writer.missing_shards():
            writer.write_shard(shard, {"features": values[list(writer.shard_rows(shard))]})
        return writer.finalize()

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """(**settings) -> a finished run of an untrained autoencoder; with encoder="none" z is x."""

    def make(**settings: Any) -> RunFolder:
        torch.manual_seed(0)
        config = {"feature_dim": CHANNELS, "latent_channels": 4, "grid": (GRID, GRID), "heads": 1, "head_dim": 8}
        config |= {"decoder_depth": 1, "decoder_head_dim": 8, **settings}
        run = RunFolder.create(tmp_path, "autoencoders", "made", config, config, {})
        FeatureAutoencoder(**config).save_pretrained(run.model_path)
        run.finish({})
        return run

    return make


def test_classes_that_the_features_tell_are_found_and_those_they_do_not_are_not(
    make_store: Callable[..., Store], make_run: Callable[..., RunFolder]
) -> None:
    run, config = make_run(), ProbeConfig()

    def probed(store: Store) -> dict[str, dict[str, Any]]:
        found = Representations(store, run, device="cpu")
        return classify(*(pool_split(found, split, config, silent) for split in ("train", "val")), 1.0)

    known = probed(make_store())
    assert known["x"]["linear_top1"] == known["x"]["knn_10"] == 1.0
    assert known["z"]["linear_top1"] > 0.9  # an untrained linear map of 8 channels to 4 keeps the classes apart
    labels = np.random.default_rng(1).integers(CLASSES, size=ROWS).tolist()
    shuffled = probed(make_store(labels, name="shuffled"))
    for kind in KINDS:
        assert abs(shuffled[kind]["linear_top1"] - 1 / CLASSES) < 0.3
        assert abs(shuffled[kind]["knn_20"] - 1 / CLASSES) < 0.3


def test_tokens_are_those_of_the_model_whatever_the_batch(store: Store, make_run: Callable[..., RunFolder]) -> None:
    run, rows = make_run(), np.array([7, 3, 90])
    model = load_model(FeatureAutoencoder, run.model_path, torch.device("cpu"))
    with torch.inference_mode():
        x = torch.from_numpy(store.read("features", rows))
        z = model.encode(x).mean
        x_hat = model.decode(z)
    for batch_size in (1, 2, 64):
        found = Representations(store, run, device="cpu", batch_size=batch_size).tokens(rows)
        for kind, expected in (("x", x), ("z", z), ("x_hat", x_hat)):
            torch.testing.assert_close(found[kind], expected, msg=kind)


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_cells_are_means_of_their_tokens(store: Store, make_run: Callable[..., RunFolder], cells: int) -> None:
    found = Representations(store, make_run(), device="cpu", batch_size=20)
    rows, side = store.rows("val"), GRID // cells
    pooled, whole = found.pooled(rows, cells, silent), found.tokens(rows)
    for kind in KINDS:
        channels = whole[kind].shape[-1]
        expected = whole[kind].view(len(rows), cells, side, cells, side, channels).mean(dim=(2, 4)).flatten(1, 2)
        torch.testing.assert_close(pooled[kind], expected)


def test_a_grid_that_does_not_divide_is_refused(store: Store, make_run: Callable[..., RunFolder]) -> None:
    with pytest.raises(ValueError, match="--pool: expected a divisor of the 4×4"):
        Representations(store, make_run(), device="cpu").pooled(store.rows(), 3, silent)


def encoded(store: Store, run: RunFolder, tmp_path: Path, **settings: Any) -> Store:
    config, runtime = (
        EncodeConfig(dtype="float32", **settings),
        RuntimeConfig(executor="local", threads=1, device="cpu"),
    )
    writer = latent_writer(store, run, tmp_path / "latents", "made", config, runtime)
    return encode(writer, store, run, config, runtime, silent)


@pytest.mark.parametrize("latents", ["mean", "moments"])
def test_stored_latents_give_the_same(
    store: Store, make_run: Callable[..., RunFolder], tmp_path: Path, latents: str
) -> None:
    run, rows = make_run(), store.rows("val")
    stored = Representations(store, run, encoded(store, run, tmp_path, latents=latents), device="cpu")
    computed = Representations(store, run, device="cpu")
    for kind, values in computed.tokens(rows).items():
        torch.testing.assert_close(stored.tokens(rows)[kind], values, atol=1e-5, rtol=1e-4)
    assert stored.scales()["z"][0].shape == computed.scales()["z"][0].shape == (4,)


def test_latents_of_other_things_are_refused(
    store: Store, make_store: Callable[..., Store], make_run: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = make_run()
    with pytest.raises(ValueError, match="received samples"):
        Representations(store, run, encoded(store, run, tmp_path, latents="sample"))
    latents = encoded(store, run, tmp_path)
    with pytest.raises(ValueError, match="another autoencoder_sha256"):
        Representations(store, make_run(head_dim=16), latents)
    with pytest.raises(ValueError, match="another features_content_id"):
        Representations(make_store(name="other", noise=0.4), run, latents)
    with pytest.raises(ValueError, match=r"expected features \(8, 8, 8\)"):
        Representations(store, make_run(grid=(8, 8)))


def test_without_compression_z_agrees_with_x_in_everything(store: Store, make_run: Callable[..., RunFolder]) -> None:
    run = make_run(encoder="none", latent_channels=CHANNELS, feature_norm="none")
    pairs = draw_pairs(store, 10, seed=0)
    totals, shown = match_pairs(Representations(store, run, device="cpu"), pairs, ProbeConfig(shown=3), silent)
    shares = totals["z"].shares()
    # Scales of z are those of the first training rows, of x those of all.
    assert shares["same_match"] > 0.9
    assert totals["x_hat"].shares()["same_match"] < 0.6
    assert shares["patches"] == 10 * 4  # the inner patches of each
    assert shares["in_foreground_of_first"] == 1.0
    assert len(shown) == 3
    assert [pair.rows for pair in shown] == [tuple(pair) for pair in pairs[:3].tolist()]
    assert all(set(pair.patches.tolist()) == {5, 6, 9, 10} for pair in shown)


def test_pairs_are_of_one_class_held_out_and_the_seeds(make_store: Callable[..., Store]) -> None:
    store = make_store()
    pairs = draw_pairs(store, 20, seed=3)
    assert np.array_equal(pairs, draw_pairs(store, 20, seed=3))
    assert not np.array_equal(pairs, draw_pairs(store, 20, seed=4))
    assert np.isin(pairs, store.rows("val")).all()
    assert (store.labels[pairs[:, 0]] == store.labels[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.bincount(store.labels[pairs[:, 0]]).tolist() == [5, 5, 5, 5]
    lonely = make_store(list(range(ROWS)), name="lonely")
    assert (draw_pairs(lonely, 5, 0)[:, 0] != draw_pairs(lonely, 5, 0)[:, 1]).all()


def test_what_keeps_classifiers_from_being_probed_is_said(make_store: Callable[..., Store]) -> None:
    assert why_no_classes(make_store()) is None
    unlabeled = make_store([None] * ROWS, name="unlabeled")
    assert "held-out rows with labels" in (why_no_classes(unlabeled) or "")
    assert len(labeled_rows(unlabeled, "train", 0)) == 0
    assert "held-out" in (why_no_classes(make_store(name="all", split=["train"] * ROWS)) or "")
    assert "2 classes" in (why_no_classes(make_store([1] * ROWS, name="one")) or "")
    assert len(labeled_rows(make_store(), "train", 10)) == 10


def test_a_head_is_applied_to_mean_tokens(store: Store, make_run: Callable[..., RunFolder]) -> None:
    found = Representations(store, make_run(), device="cpu")
    weight = torch.eye(CLASSES, CHANNELS, dtype=torch.float64)
    ones = torch.ones(CHANNELS, dtype=torch.float64)
    head = LinearClassifier(ones * 0, ones, weight, torch.zeros(CLASSES).double(), torch.arange(CLASSES))
    for pool in (1, 2):
        scores = apply_head(head, pool_split(found, "val", ProbeConfig(pool=pool), silent))
        assert scores["x"] == {"head_top1": 1.0}
        assert scores["x_hat"]["head_top1"] < 1.0
    few = LinearClassifier(ones * 0, ones, weight[:2], torch.zeros(2).double(), torch.arange(2))
    with pytest.raises(ValueError, match="expected labels below its 2 classes; the store has 3"):
        apply_head(few, pool_split(found, "val", ProbeConfig(), silent))
