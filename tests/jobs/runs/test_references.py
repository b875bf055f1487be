"""Records name what they were made from so that the whole root may move, and old records still mean the same."""

from pathlib import Path

import pytest

from jobs.runs.references import reference_to, resolve_reference
from jobs.runs.run_folder import RunFolder

STORE = "latents/tiny-0123456789ab"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "runs" / STORE).mkdir(parents=True)
    return tmp_path / "runs"


def test_what_lies_in_the_same_root_is_named_without_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reference_to(root, root / STORE) == STORE
    monkeypatch.chdir(root)
    assert reference_to(Path("."), STORE) == STORE
    assert reference_to(root, f"{STORE}/../tiny-0123456789ab") == STORE
    (tmp_path / "link").symlink_to(root)
    assert reference_to(tmp_path / "link", root / STORE) == STORE


def test_what_lies_elsewhere_is_named_by_where_it_lies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert reference_to(root, "other/latents/tiny-0123456789ab") == str(root.parent / "other" / STORE)
    assert reference_to(root, "s3://bucket/latents/x") == "s3://bucket/latents/x"


@pytest.mark.parametrize("written", [STORE, f"runs/{STORE}", f"/gone/runs/{STORE}"])
def test_a_moved_root_has_its_own_artifacts_whatever_the_record_says(
    root: Path, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = root.rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    assert resolve_reference(moved / "generators" / "g-0123456789ab", written) == moved / STORE
    assert resolve_reference(tmp_path / "out", written, root=moved) == moved / STORE


def test_what_the_root_lacks_is_where_the_record_says(root: Path, tmp_path: Path) -> None:
    holder, other = root / "generators/g-0123456789ab", tmp_path / "other/latents/far-0123456789ab"
    assert resolve_reference(holder, str(other)) == other
    assert resolve_reference(holder, "s3://bucket/latents/x") == "s3://bucket/latents/x"
    assert resolve_reference("s3://bucket/latents/x", str(other)) == other
    # The error of whoever opens it names the whole path.
    assert resolve_reference(holder, "latents/gone-0123456789ab") == root / "latents/gone-0123456789ab"


def test_a_reference_does_not_climb(root: Path) -> None:
    assert resolve_reference(root / "generators/g-0123456789ab", "../..") == Path("../..")


def test_a_run_finds_its_inputs_after_the_root_moved(root: Path, tmp_path: Path) -> None:
    run = RunFolder.create(root, "generators", "g", {"steps": 1}, {}, {"latents": root / STORE})
    assert run.record.inputs == {"latents": STORE}
    moved = root.rename(tmp_path / "moved")
    again = RunFolder.open(moved / "generators" / run.path.name)
    assert again.input("latents") == moved / STORE
