"""Every format of latents comes in as it lies there, goes out as its own readers have it, and comes back."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from stores import NonFiniteError, Store, StoreError, open_store
from stores.care.verification import verify
from stores.exchange.exports import export
from stores.exchange.imports import IMPORT_FORMATS, import_latents, list_latents
from stores.exchange.latent_meaning import LatentMeaning

COUNT, SHAPE = 10, (4, 3, 3)  # C, H, W
LABELS = [number % 3 for number in range(COUNT)]
VALUES = np.random.default_rng(0).normal(size=(COUNT, *SHAPE)).astype(np.float32)
STD = np.random.default_rng(1).uniform(0.1, 2, (COUNT, *SHAPE)).astype(np.float32)


def npy(values: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values)
    return sink.getvalue()


def write_lightningdit(folder: Path) -> None:
    flipped = np.ascontiguousarray(VALUES[..., ::-1])
    tensors = {"latents": VALUES, "latents_flip": flipped, "labels": np.array(LABELS)}
    save_file(tensors, folder / "latents_rank00_shard000.safetensors")


def write_fast_dit(folder: Path) -> None:
    for name in ("imagenet256_features", "imagenet256_labels"):
        (folder / name).mkdir()
    for number, (latent, label) in enumerate(zip(VALUES, LABELS, strict=True)):
        np.save(folder / "imagenet256_features" / f"{number}.npy", latent[None])
        np.save(folder / "imagenet256_labels" / f"{number}.npy", np.array([label]))


def write_edm2(folder: Path) -> None:
    labels = []
    for number, (mean, std) in enumerate(zip(VALUES, STD, strict=True)):
        name = f"0000{number % 2}/img-mean-std-{number:08d}.npy"
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, np.concatenate([mean, std]))
        labels.append([name, LABELS[number]])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels[::-1]}))


def write_webdataset(folder: Path) -> None:
    for shard in range(2):
        with tarfile.open(folder / f"latents-{shard}.tar", "w") as tar:
            for number in range(shard, COUNT, 2):
                members = {"latent.npy": npy(VALUES[number]), "cls": str(LABELS[number]).encode(), "txt": b"a\nb"}
                for extension, data in members.items():
                    entry = tarfile.TarInfo(f"./sub.v1/n{number:03d}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))


def write_npz(folder: Path) -> None:
    np.savez(folder / "all.npz", VALUES.transpose(0, 2, 3, 1), np.array(LABELS))


WRITERS: dict[str, Callable[[Path], None]] = {
    "lightningdit": write_lightningdit,
    "fast-dit": write_fast_dit,
    "edm2": write_edm2,
    "webdataset": write_webdataset,
    "npz": write_npz,
}


@pytest.fixture
def brought_in(tmp_path: Path) -> Callable[..., Store]:
    """(format, **meaning) -> the store of the files that others would have written."""

    def bring(form: str, /, **meaning: Any) -> Store:
        folder = tmp_path / form
        if not folder.exists():
            folder.mkdir()
            WRITERS[form](folder)
        made: Store = import_latents(folder, tmp_path / "stores", form, "float32", meaning=LatentMeaning(**meaning))
        return made

    return bring


def by_label(store: Store, view: int = 0) -> list[tuple[int, bytes]]:
    values = store.read("latents", range(store.num_rows), view)
    return sorted((int(label), row.tobytes()) for label, row in zip(store.labels, values, strict=True))


EXPECTED = sorted(
    (label, row.tobytes()) for label, row in zip(LABELS, VALUES.transpose(0, 2, 3, 1).copy(), strict=True)
)


@pytest.mark.parametrize("form", WRITERS)
def test_files_of_others_come_in(brought_in: Callable[..., Store], form: str) -> None:
    store = brought_in(form, content="mean")
    assert by_label(store) == EXPECTED
    assert store.arrays["latents"].row_shape == (3, 3, 4)
    assert verify(store.url).problems == []
    assert brought_in(form, content="mean").url == store.url
    held_out = brought_in(form, content="mean", holdout=0.5)
    assert 0 < len(held_out.rows("val")) < COUNT


def test_files_are_counted_while_they_are_listed(tmp_path: Path) -> None:
    write_fast_dit(tmp_path)
    seen: list[tuple[int, int]] = []
    files = list_latents(tmp_path, progress=lambda *at: seen.append(at))
    assert seen == [(COUNT, COUNT)]
    assert import_latents(files, tmp_path / "stores", "a").num_rows == COUNT


def test_captions_of_tars_come_in(brought_in: Callable[..., Store]) -> None:
    store = brought_in("webdataset")
    assert store.index["caption"].to_pylist() == [["a", "b"]] * COUNT
    assert set(store.index["key"].to_pylist()) == {f"latents-{n % 2}/./sub.v1/n{n:03d}" for n in range(COUNT)}


def test_deviations_become_log_variances_whose_mean_variance_is_exact(brought_in: Callable[..., Store]) -> None:
    store = brought_in("edm2")
    assert (store.arrays["latents"].channels, store.attributes["latents"]) == (8, "moments")
    stored = store.read("latents", range(COUNT)).astype(np.float64)
    found = store.statistics("latents").variance
    assert found is not None
    np.testing.assert_allclose(found, np.exp(stored[..., 4:]).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found, (STD.astype(np.float64) ** 2).mean(axis=(0, 2, 3)), rtol=1e-5)
    assert open_store(store.url).statistics("latents").variance is not None


def test_two_peaked_log_variances_are_not_taken_for_log_normal_ones(tmp_path: Path) -> None:
    latents = np.zeros((8, 2, 2, 2), np.float32)
    latents[::2, 1], latents[1::2, 1] = -20, 2
    save_file({"latents": latents, "labels": np.zeros(8, np.int64)}, tmp_path / "a.safetensors")
    store = import_latents(tmp_path, tmp_path / "stores", "a", meaning=LatentMeaning("moments"))
    assert store.statistics("latents").variance == pytest.approx([np.exp(2) / 2])


def test_log_variances_that_exp_cannot_hold_are_no_moments(tmp_path: Path) -> None:
    latents = np.full((2, 2, 2, 2), 800, np.float32)
    save_file({"latents": latents, "labels": np.zeros(2, np.int64)}, tmp_path / "a.safetensors")
    with pytest.raises(NonFiniteError, match="expected log variances below 700"):
        import_latents(tmp_path, tmp_path / "stores", "a", meaning=LatentMeaning("moments"))


@pytest.fixture
def source(make_writer: Any, fill: Any) -> Store:
    """50 rows of latents (3, 3, 4) in two views, rows 3 and 17 rejected."""
    from stores import ArraySpec

    attributes = {"class_names": list("abc"), "latents": "sample"}
    writer = make_writer(kind="latents", arrays=[ArraySpec("latents", (3, 3, 4))], attributes=attributes)
    fill(writer, rejected={3: "lost", 17: "lost"})
    return writer.finalize(max_rejected=0.1)


@pytest.mark.parametrize("form", IMPORT_FORMATS)
def test_what_goes_out_comes_back(source: Store, tmp_path: Path, form: str) -> None:
    if form == "lance":
        pytest.importorskip("lance", reason="needs the extra lance")
    export(source, tmp_path / "out", form, split="train")
    back = import_latents(tmp_path / "out", tmp_path / "stores", "back")
    rows = source.rows("train")
    expected = [source.read("latents", rows, view) for view in (0, 1)]
    if form in ("fast-dit", "edm2"):  # every view is a sample of its own
        assert (back.views, back.num_rows) == (1, 2 * len(rows))
        pairs = zip([*source.labels[rows]] * 2, np.concatenate(expected), strict=True)
        assert by_label(back) == sorted((int(label), row.tobytes()) for label, row in pairs)
    else:
        assert (back.views, back.num_rows) == (2, len(rows))
        for view in (0, 1):
            wanted = zip(source.labels[rows], expected[view], strict=True)
            assert by_label(back, view) == sorted((int(label), row.tobytes()) for label, row in wanted)
    if form != "npz":  # a single file, which says nothing of its numbers
        assert (back.attributes["latents"], back.attributes["class_names"]) == ("sample", ["a", "b", "c"])
    if form in ("lightningdit", "files", "webdataset", "lance"):
        assert sorted(back.index["key"].to_pylist()) == sorted(source.index["key"].take(rows).to_pylist())
        assert set(back.index["split"].to_pylist()) == {"train"}


def test_moments_go_out_as_deviations_and_come_back(brought_in: Callable[..., Store], tmp_path: Path) -> None:
    moments = brought_in("edm2")
    export(moments, tmp_path / "out", "edm2")
    back = import_latents(tmp_path / "out", tmp_path / "stores", "back", "float32")
    assert back.attributes["latents"] == "moments"
    order = [np.argsort(store.read("latents", range(COUNT))[:, 0, 0, 0]) for store in (moments, back)]
    np.testing.assert_allclose(moments.read("latents", order[0]), back.read("latents", order[1]), rtol=1e-6, atol=1e-6)
    with pytest.raises(StoreError, match="expected latents, which fast-DiT takes; received moments"):
        export(moments, tmp_path / "other", "fast-dit")


# What the projects' own readers do, written anew from their documentation.


def test_lightningdits_reader_finds_every_item_in_either_view(source: Store, tmp_path: Path) -> None:
    files = sorted(path for path in export(source, tmp_path / "out", "lightningdit", split="train", rows_per_file=20))
    items = []
    for path in (path for path in files if path.suffix == ".safetensors"):
        with safe_open(path, framework="np") as file:
            for item in range(file.get_slice("labels").get_shape()[0]):
                views = [file.get_slice(name)[item : item + 1] for name in ("latents", "latents_flip")]
                items.append((file.get_slice("labels")[item : item + 1][0], *views))
    rows = source.rows("train")
    assert [item[0] for item in items] == source.labels[rows].tolist()
    for view in (0, 1):
        found = np.concatenate([item[1 + view] for item in items])
        np.testing.assert_array_equal(found.transpose(0, 2, 3, 1), source.read("latents", rows, view))


def test_one_view_is_no_latents_flip(brought_in: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected two views"):
        export(brought_in("npz"), tmp_path / "out", "lightningdit")


def test_fast_dits_reader_pairs_sorted_names(source: Store, tmp_path: Path) -> None:
    export(source, tmp_path / "out", "fast-dit", split="val")
    features, labels = (tmp_path / "out" / f"imagenet256_{name}" for name in ("features", "labels"))
    pairs = zip(sorted(features.iterdir()), sorted(labels.iterdir()), strict=True)
    found = [(np.load(latent), np.load(label)) for latent, label in pairs]
    rows = source.rows("val")
    assert {latent.shape for latent, _ in found} == {(1, 4, 3, 3)}
    assert [int(label[0]) for _, label in found] == np.repeat(source.labels[rows], 2).tolist()
    np.testing.assert_array_equal(found[2][0][0].transpose(1, 2, 0), source.read("latents", rows[1:2])[0])


def test_edm2s_and_repas_readers_find_a_label_for_each_file(source: Store, tmp_path: Path) -> None:
    root = tmp_path / "out"
    export(source, root, "edm2", split="val")
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.npy"))
    labels = dict(json.loads((root / "dataset.json").read_text())["labels"])
    rows = source.rows("val")
    assert [labels[name] for name in names] == np.repeat(source.labels[rows], 2).tolist()
    mean, std = np.split(np.load(root / names[0]), 2)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean.transpose(1, 2, 0), source.read("latents", rows[:1])[0])
    assert not std.any()  # mean + noise * std is the latent itself


# What cannot be.


def test_a_shape_that_fits_both_layouts_is_refused_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cubes = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    np.savez(folder / "a.npz", cubes)
    with pytest.raises(ValueError, match=r"layout: expected nchw or nhwc, since .* \(3, 3, 3\)"):
        import_latents(folder, tmp_path / "stores", "a")
    first, last = (
        import_latents(folder, tmp_path / "stores", "a", "float32", meaning=LatentMeaning(layout=layout))
        for layout in ("nchw", "nhwc")
    )
    assert first.url != last.url
    row = first.index["key"].to_pylist().index("a/00000001")
    np.testing.assert_array_equal(last.read("latents", [row])[0], cubes[1])
    np.testing.assert_array_equal(first.read("latents", [row])[0], cubes[1].transpose(1, 2, 0))
    assert set(first.labels) == {-1}


def break_edm2_label(folder: Path) -> None:
    (folder / "dataset.json").write_text('{"labels": [["x.npy", 0]]}')


def break_edm2_class(folder: Path) -> None:
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text.replace('mean-std-00000004.npy", 1', 'mean-std-00000004.npy", -1'))


def break_shape(folder: Path) -> None:
    np.save(next(folder.rglob("*3.npy")), np.zeros((1, 4, 3, 5), np.float32))


def break_finite(folder: Path) -> None:
    np.save(folder / "imagenet256_features/3.npy", np.full((1, 4, 3, 3), np.nan, np.float32))


def break_pickle(folder: Path) -> None:
    np.save(folder / "imagenet256_features/3.npy", np.array([{}], object))


def break_names(folder: Path) -> None:
    (folder / "imagenet256_labels/3.npy").unlink()


def break_label(folder: Path) -> None:
    np.save(folder / "imagenet256_labels/3.npy", np.array([0.5]))


def break_tar(folder: Path) -> None:
    path = folder / "latents-1.tar"
    path.write_bytes(path.read_bytes()[:700])


def compress(folder: Path) -> None:
    np.savez_compressed(folder / "all.npz", VALUES)


def add_another(folder: Path) -> None:
    write_npz(folder)


@pytest.mark.parametrize(
    ("form", "break_files", "message"),
    [
        ("edm2", break_edm2_label, r"dataset.json: expected a label for each .npy; received a file without a label"),
        ("edm2", break_edm2_class, r"img-mean-std-00000004.npy: expected a whole label; received -1"),
        ("edm2", break_shape, r"mean-std-0000000\d.npy: expected floats \(8, 3, 3\).*\(1, 4, 3, 5\)"),
        ("fast-dit", break_finite, r"3.npy: channel 0: expected a finite value; received nan"),
        ("fast-dit", break_pickle, r"3.npy: .npy: expected plain numbers"),
        ("fast-dit", break_names, r"same .npy files in imagenet256_features and imagenet256_labels; received 3.npy"),
        ("fast-dit", break_label, r"imagenet256_labels/3.npy: expected one whole label; received float64"),
        ("fast-dit", add_another, r"format: expected files of one of .* files of fast-dit and npz; say which"),
        ("webdataset", break_tar, r"latents-1.tar"),
        ("npz", compress, r"all.npz: arr_0: expected an array as np.savez writes it; received a compressed one"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, form: str, break_files: Callable[[Path], None], message: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    WRITERS[form](folder)
    break_files(folder)
    with pytest.raises((ValueError, NonFiniteError), match=message):
        import_latents(folder, tmp_path / "stores", "a")


def test_what_cannot_be_asked_for_is_refused(brought_in: Callable[..., Store], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="content: expected mean or moments of files with deviations"):
        brought_in("edm2", content="sample")
    with pytest.raises(ValueError, match=r"expected latents of 8 channels.*received 4"):
        brought_in("edm2", channels=8)
    with pytest.raises(ValueError, match="layout: expected one of nchw, nhwc; received 'chw'"):
        brought_in("npz", layout="chw")
    with pytest.raises(ValueError, match=r"format: expected files of one of .*; received none"):
        import_latents(tmp_path, tmp_path / "stores", "a")
