"""Text states of others become a text store: PixArt's .npz and safetensors, aligned by name or refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from jobs.extraction.caption_files import CaptionFiles, ImportedEncoder, import_captions, read_caption_file
from jobs.extraction.captions import empty_caption
from jobs.sampling.prompts import PromptEncoder
from stores import ArraySpec, Store, StoreWriter, new_index
from stores.care import verify

KEYS = ["train/n01/a.jpg", "b", "deep/c.png"]
UNKNOWN = ImportedEncoder(None, None, None)


@pytest.fixture
def rows(tmp_path: Path) -> Store:
    """A store of three rows."""
    writer = StoreWriter.create(
        tmp_path / "latents", "latents", "x", [ArraySpec("latents", (2,))], new_index(KEYS), {}, permute=False
    )
    writer.write_shard(0, {"latents": np.zeros((3, 1, 2), np.float32)})
    return writer.finalize()


def states_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """States (1, 6, 4) and a mask (1, 6) as PixArt's script saves them: what is masked is not zero."""
    states = np.random.default_rng(number).standard_normal((1, 6, 4)).astype("f2")
    return states, (np.arange(6) <= number + 1).astype("i8")[None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file for each row, in the three ways in which names may fit."""
    found = tmp_path / "caption_features"
    (found / "train/n01").mkdir(parents=True)
    for number, name in enumerate(("train/n01/a.npz", "b.npz", "c.safetensors")):
        states, mask = states_of(number)
        arrays = {"caption_feature": states, "attention_mask": mask}
        if name.endswith("npz"):
            np.savez_compressed(found / name, **arrays)
        else:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, found / name)
    return found


def test_states_that_count_are_kept(folder: Path, rows: Store, tmp_path: Path) -> None:
    files = CaptionFiles(folder, rows)
    text = import_captions(files, tmp_path / "text", "x", "float16", UNKNOWN)
    assert text.arrays["states"].row_shape == (4, 4)
    assert text.index["key"].to_pylist() == KEYS
    for number in range(3):
        states, mask = states_of(number)
        expected = states[0, mask[0] > 0]
        found = text.read_ragged("states", [number])
        np.testing.assert_array_equal(found.values, expected)
        assert text.read("length", [number]).tolist() == [[len(expected)]]
        np.testing.assert_allclose(text.read("pooled", [number])[0], expected.mean(axis=0, dtype="f4"), atol=1e-3)
    assert verify(text.path).problems == []
    assert import_captions(files, tmp_path / "text", "x", "float16", UNKNOWN).content_id == text.content_id
    empty = empty_caption(text)
    assert int(empty["length"]) == 1
    assert not empty["states"].any()


def test_several_captions_and_a_pooled_vector_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"prompt_embeds": np.ones((2, 3, 4), "f4"), "pooled_prompt_embeds": np.full((2, 5), 7, "f4")}
    np.savez(path, **arrays)
    found = read_caption_file(path)
    assert found.lengths.tolist() == [3, 3]
    assert (found.pooled == 7).all()
    assert found.states.shape == (6, 4)


def test_the_empty_caption_may_come_from_a_file(folder: Path, rows: Store, tmp_path: Path) -> None:
    empty = tmp_path / "empty.npz"
    np.savez(empty, caption_feature=np.full((2, 4), 3, "f4"))
    encoder = ImportedEncoder(None, None, read_caption_file(empty))
    text = import_captions(CaptionFiles(folder, rows), tmp_path / "text", "x", "bfloat16", encoder)
    found = empty_caption(text)
    assert int(found["length"]) == 2
    assert torch.equal(found["states"][:2], torch.full((2, 4), 3.0))
    narrow = ImportedEncoder(None, None, read_caption_file(_write(tmp_path / "n.npz", caption_feature=np.ones((2, 3)))))
    with pytest.raises(ValueError, match="empty caption: expected states of 4 channels"):
        import_captions(CaptionFiles(folder, rows), tmp_path / "text", "x", "float16", narrow)


def _write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_they_come_to_a_root_at_a_url_too(folder: Path, rows: Store, tmp_path: Path, s3_url: str) -> None:
    files = CaptionFiles(folder, rows)
    local, remote = (
        import_captions(files, at, "x", "float16", UNKNOWN) for at in (tmp_path / "text", f"{s3_url}/text")
    )
    assert remote.url.startswith(f"{s3_url}/text/x-")
    assert remote.content_id == local.content_id


def test_rows_without_a_file_and_with_several_are_named(folder: Path, rows: Store) -> None:
    _write(folder / "deep-b.npz", caption_feature=np.ones((1, 6, 4)))
    (folder / "deep").mkdir()
    _write(folder / "deep" / "b.npz", caption_feature=np.ones((1, 6, 4)))
    with pytest.raises(ValueError, match="expected one file for each row"):
        CaptionFiles(folder, rows)
    (folder / "b.npz").unlink()
    (folder / "deep" / "b.npz").unlink()
    with pytest.raises(ValueError, match="1 have none, the first is b; name files as the rows' keys"):
        CaptionFiles(folder, rows)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"latents": np.ones((2, 3))}, "expected floats"),
        ({"caption_feature": np.ones((2, 3), int)}, "expected floats"),
        ({"caption_feature": np.full((1, 6, 4), np.nan)}, "expected finite states"),
        ({"caption_feature": np.ones((1, 6, 4)), "attention_mask": np.ones((1, 5))}, r"a mask \(1, 6\)"),
        ({"caption_feature": np.ones((1, 6, 5))}, r"expected \(captions, channels, pooled channels\) \(1, 4, 4\)"),
        ({"caption_feature": np.array([{}], object)}, "plain numbers"),
    ],
)
def test_files_of_something_else_are_refused(folder: Path, rows: Store, arrays: dict[str, Any], message: str) -> None:
    np.savez(folder / "b.npz", allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=message):
        CaptionFiles(folder, rows)


def test_a_file_that_changed_is_refused(folder: Path, rows: Store, tmp_path: Path) -> None:
    files = CaptionFiles(folder, rows)
    _write(folder / "b.npz", caption_feature=np.ones((1, 6, 4)))
    with pytest.raises(ValueError, match="expected the bytes that were listed"):
        import_captions(files, tmp_path / "text", "x", "float16", UNKNOWN)


def test_a_folder_without_such_files_is_refused(tmp_path: Path, rows: Store) -> None:
    with pytest.raises(ValueError, match=r"expected \.npz or \.safetensors files"):
        CaptionFiles(tmp_path / "latents", rows)


def test_a_generator_of_unknown_states_takes_no_prompts() -> None:
    run: Any = SimpleNamespace(
        record=SimpleNamespace(text_encoder=None, text_encoder_sha256=None, max_tokens=4), path="g"
    )
    generator: Any = None
    with pytest.raises(ValueError, match="received one of imported states; import them with their text encoder"):
        PromptEncoder(run, generator, torch.device("cpu"))
