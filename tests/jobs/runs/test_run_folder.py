"""Run folders: found by their ingredients, finished with a digest, refused when damaged."""

import hashlib

import pytest

from jobs.runs.run_folder import RunError, RunFolder, newest, siblings


def make(root, name="mine", finished=True, **ingredients):
    run = RunFolder.create(root, "generators", name, ingredients, {"steps": 3}, {"latents": "there"})
    if finished:
        run.model_path.mkdir(exist_ok=True)
        run.weights_path.write_bytes(repr(ingredients).encode())
        run.finish({"loss": 0.5})
    return run


def test_the_same_ingredients_open_the_same_run(tmp_path):
    first = make(tmp_path, seed=1)
    again = RunFolder.create(tmp_path, "generators", "mine", {"seed": 1}, {}, {})
    assert again.path == first.path == RunFolder.locate(tmp_path, "generators", "mine", {"seed": 1})
    assert again.complete
    assert again.record["metrics"] == {"loss": 0.5}
    assert make(tmp_path, seed=2).path != first.path


def test_the_digest_is_that_of_the_weights(tmp_path):
    run = make(tmp_path, seed=1)
    assert run.weights_sha256 == hashlib.sha256(run.weights_path.read_bytes()).hexdigest()


def test_an_unfinished_run_has_no_digest(tmp_path):
    with pytest.raises(RunError, match="not finished; the command that started it resumes it"):
        make(tmp_path, finished=False, seed=1).weights_sha256  # noqa: B018


def test_a_finished_run_without_its_weights_is_not_complete(tmp_path):
    run = make(tmp_path, seed=1)
    run.weights_path.unlink()
    assert not RunFolder.open(run.path).complete


def test_the_newest_finished_run_is_found_by_name_or_path(tmp_path):
    first, second = make(tmp_path, seed=1), make(tmp_path, seed=2)
    first.record["created_unix_seconds"], second.record["created_unix_seconds"] = 2.0, 1.0
    first.save()
    second.save()
    make(tmp_path, finished=False, seed=3)
    assert newest(tmp_path, "generators", "mine").path == first.path
    assert newest(tmp_path, "generators", str(second.path)).path == second.path


def test_another_name_that_begins_alike_is_no_sibling(tmp_path):
    make(tmp_path, name="mine-noised", seed=1)
    assert siblings(tmp_path, "generators", "mine") == []
    with pytest.raises(RunError, match=r"no finished run named 'mine'; run `fae-pipe train-gen` first"):
        newest(tmp_path, "generators", "mine")


@pytest.mark.parametrize(("text", "expected"), [("{", "expected JSON"), ("[]", "expected the record of a run")])
def test_a_damaged_record_says_what_to_do(tmp_path, text, expected):
    run = make(tmp_path, seed=1)
    (run.path / "run.json").write_text(text)
    with pytest.raises(RunError, match=expected) as error:
        RunFolder.open(run.path)
    assert "run the stage again" in str(error.value)


def test_no_folder_is_said_so(tmp_path):
    with pytest.raises(RunError, match="found none"):
        RunFolder.open(tmp_path / "nothing")
