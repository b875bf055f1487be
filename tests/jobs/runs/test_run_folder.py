"""Run folders: found by their ingredients, finished with a digest, refused when damaged."""

import hashlib
import json

import pytest

from jobs.runs.run_folder import Models, RunFolder, siblings
from jobs.runs.run_record import RunError, RunRecord

# As it was written before records had a schema version.
FIRST_SCHEMA = """{
 "kind": "generators",
 "name": "mine",
 "fingerprint": "56611b237e8970f78f018714ef6cc595c273ca8fa2b9c5f6c601496bc9f7cc8b",
 "status": "complete",
 "created_unix_seconds": 1795990052.174,
 "ingredients": {"latents_content_id": "ab12", "generator": {"steps": 3}, "format": 1},
 "config": {"steps": 3, "condition": "text"},
 "inputs": {"latents": "runs/latents/mine-0123456789ab", "text": "runs/text/mine-0123456789ab"},
 "figures": {"loss": 0.5, "parameters": 7},
 "text_encoder": "minilm",
 "text_encoder_sha256": "feed",
 "max_tokens": 16,
 "weights_sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
}"""


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
    assert again.record.metrics == {"loss": 0.5}
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


@pytest.mark.parametrize("key", ["image_size", "picture_size"])
def test_the_size_of_images_is_read_from_old_and_new_pixel_models(tmp_path, key):
    run = make(tmp_path)
    (run.model_path / "config.json").write_text(json.dumps({key: 32, "grid": [4, 4]}))
    assert Models(run, run, None, None).token_pixels() == 8


def test_another_name_that_begins_alike_is_no_sibling(tmp_path):
    make(tmp_path, name="mine-noised", seed=1)
    assert siblings(tmp_path, "generators", "mine") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected JSON"),
        ("[]", "expected the record of a run; received no object"),
        ('{"schema_version": 2, "kind": "generators"}', "received no config, no created_unix_seconds, no fingerprint"),
        (FIRST_SCHEMA.replace('"kind"', '"record_sha256": "00", "kind"'), "it is damaged; restore the file"),
        (FIRST_SCHEMA.replace('{"loss": 0.5, "parameters": 7}', "[0.5]"), r"received metrics = \[0.5\]"),
    ],
)
def test_a_damaged_record_says_what_to_do(tmp_path, text, expected):
    run = make(tmp_path, seed=1)
    (run.path / "run.json").write_text(text)
    with pytest.raises(RunError, match=expected) as error:
        RunFolder.open(run.path)
    assert "run the stage again" in str(error.value)


def test_a_record_of_the_first_schema_opens_and_is_saved_in_this_one(tmp_path):
    (tmp_path / "run.json").write_text(FIRST_SCHEMA)
    run = RunFolder.open(tmp_path)
    assert run.record.metrics == {"loss": 0.5, "parameters": 7}
    assert (run.record.text_encoder, run.record.max_tokens, run.record.class_ids) == ("minilm", 16, None)
    assert run.record.inputs["text"] == "runs/text/mine-0123456789ab"
    run.save()
    saved = json.loads((tmp_path / "run.json").read_text())
    assert saved["schema_version"] == 3
    assert "figures" not in saved
    assert RunFolder.open(tmp_path).record == run.record


def test_a_record_of_a_newer_version_is_refused_and_kept(tmp_path):
    run = make(tmp_path, seed=1)
    newer = {**json.loads(run.record.to_bytes()), "schema_version": 4}
    with pytest.raises(RunError, match="expected schema version 3 or older; received 4; update fae-pipe"):
        RunRecord.from_bytes(json.dumps(newer).encode(), tmp_path / "run.json")


def test_no_folder_is_said_so(tmp_path):
    with pytest.raises(RunError, match="received none"):
        RunFolder.open(tmp_path / "nothing")
