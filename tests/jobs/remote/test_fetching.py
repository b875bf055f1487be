"""What a folder lacks comes from its URL, and damage on the way or there is found by the recorded digests."""

import os
import shutil
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from jobs.remote.copied_training import train_with_copies
from jobs.remote.fetching import fetch_checkpoints, fetch_record, fetch_records, fetch_run, verify_remote_run
from jobs.runs import RunError, RunFolder, checkpoints
from stores.backends import working_folder

WEIGHTS = "model/diffusion_pytorch_model.safetensors"


@pytest.fixture
def finished(new_run: Callable[[], Any]) -> Any:
    """A finished run at the URL; the folder is gone."""
    one = new_run()

    def training(report: Any) -> RunFolder:
        for number in (1, 2, 3):
            one.step(number)
        run: RunFolder = one.finish()
        return run

    train_with_copies([one.path], training, lambda *_: None, print)
    shutil.rmtree("fae-runs")
    working_folder(one.blobs.url.rpartition("/generators/")[0])
    return one


def test_the_record_comes_alone_and_the_model_when_it_is_asked_for(finished: Any) -> None:
    fetch_records(finished.path.parent.parent, "generators", "other")
    assert not finished.path.exists()
    fetch_records(finished.path.parent.parent, "generators", "g")
    assert [file.name for file in finished.path.iterdir()] == ["run.json"]
    assert RunFolder.open(finished.path).complete
    fetch_run(finished.path).check_model()
    assert sorted(one.name for one in finished.path.iterdir()) == ["metrics.jsonl", "model", "run.json"]


def test_a_damaged_model_is_refused_and_never_lies_in_the_folder(finished: Any) -> None:
    finished.blobs.write(WEIGHTS, b"damaged")
    with pytest.raises(RunError, match=r"expected sha256 .*damaged there"):
        fetch_run(finished.path)
    assert not (finished.path / WEIGHTS).exists()


def test_a_damaged_copy_in_the_folder_is_fetched_again(finished: Any) -> None:
    fetch_run(finished.path)
    (finished.path / WEIGHTS).write_bytes(b"damaged")
    fetch_run(finished.path).check_model()


def test_of_checkpoints_the_newest_whole_one_is_fetched_or_all(finished: Any) -> None:
    fetch_record(finished.path)
    finished.blobs.write("checkpoints/step-00000003/model.safetensors", b"damaged")
    with pytest.warns(UserWarning, match="going on from an older checkpoint"):
        fetch_checkpoints(finished.path)
    assert [one.name for one in checkpoints(finished.path / "checkpoints")] == ["step-00000002"]
    finished.blobs.write("checkpoints/step-00000002/model.safetensors", b"damaged")
    shutil.rmtree(finished.path / "checkpoints")
    with (
        pytest.warns(UserWarning, match="going on from an older checkpoint"),
        pytest.raises(ValueError, match="expected an undamaged checkpoint; all 2 are damaged"),
    ):
        fetch_checkpoints(finished.path)


def test_every_checkpoint_comes_where_all_are_wanted(finished: Any) -> None:
    fetch_record(finished.path)
    fetch_checkpoints(finished.path, every=True)
    assert [one.name for one in checkpoints(finished.path / "checkpoints")] == ["step-00000002", "step-00000003"]


def test_verification_reads_what_lies_at_the_url(finished: Any) -> None:
    assert verify_remote_run(finished.blobs.url).sound
    finished.blobs.write("checkpoints/step-00000002/model.safetensors", b"damaged")
    report = verify_remote_run(finished.blobs.url)
    assert report.path == finished.blobs.url
    assert list(report.problems) == ["checkpoints/step-00000002/model.safetensors"]


def test_a_file_of_an_odd_name_is_named_and_stops_nothing(finished: Any) -> None:
    urllib.request.urlopen(
        urllib.request.Request(f"{odd_url(finished.blobs.url)}/notes%20(1).txt", data=b"by hand", method="PUT")
    ).close()
    with pytest.warns(UserWarning, match=r"received 'notes \(1\)\.txt', which is not copied; rename or remove it"):
        fetch_run(finished.path).check_model()
    with pytest.warns(UserWarning, match="which is not copied"):
        assert verify_remote_run(finished.blobs.url).sound
    assert sorted(one.name for one in finished.path.iterdir()) == ["metrics.jsonl", "model", "run.json"]


def odd_url(url: str) -> str:
    """Where the server itself, which takes every name, has this URL."""
    return url.replace("s3://", f"{os.environ['AWS_ENDPOINT_URL']}/")


def test_a_file_of_an_odd_name_in_the_folder_is_not_copied(trained: Any) -> None:
    (trained.path / "notes (1).txt").write_text("by hand")

    def training(report: Any) -> RunFolder:
        trained.step(1)
        run: RunFolder = trained.finish()
        return run

    with pytest.warns(UserWarning, match="which is not copied"):
        train_with_copies([trained.path], training, lambda *_: None, print)
    assert "metrics.jsonl" in trained.remote_keys()
