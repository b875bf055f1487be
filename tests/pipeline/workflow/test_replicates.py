"""Runs of several seeds: grouped by their other settings, with mean and standard error; sweeps are named by these."""

import pytest

from pipeline.workflow.replicates import replicated_metrics, replicated_table, replicates
from pipeline.workflow.variants import errors_of, metrics_of


def record(variant, values, **metrics):
    return {"variant": variant, "values": values, "metrics": metrics}


RECORDS = [
    record("plain", {}, KID=1.0, rows=5),
    record("x", {"generator.prediction": "x"}, KID=4.0),
    record("plain-seed-1", {"generator.seed": "1"}, KID=2.0, rows=5),
    record("plain-seed-2", {"generator.seed": "2", "sample.seed": "7"}, KID=3.0, rows=5),
]


def test_mean_and_standard_error_over_seeds():
    (metrics,) = replicated_metrics(RECORDS).values()
    assert list(replicates(RECORDS)) == ["plain"]
    assert list(metrics) == ["KID"]  # rows are the same in all
    assert (metrics["KID"].mean, metrics["KID"].count) == (2.0, 3)
    assert metrics["KID"].standard_error == pytest.approx(1 / 3**0.5)
    assert replicated_table(RECORDS) == [{"metric": "KID", "plain (3)": "2 ± 0.58"}]


def test_claims_read_the_mean_and_its_error():
    assert metrics_of(RECORDS)["plain"] == {"KID": 2.0, "rows": 5}
    assert metrics_of(RECORDS)["plain-seed-1"]["KID"] == 2.0
    assert errors_of(RECORDS) == {"plain": {"KID": pytest.approx(1 / 3**0.5)}}


def test_a_sweep_of_seeds_is_named_by_its_settings():
    swept = [record("", {"generator.shift": shift, "generator.seed": seed}) for shift in "12" for seed in "01"]
    assert {name: len(group) for name, group in replicates(swept).items()} == {
        "generator.shift=1": 2,
        "generator.shift=2": 2,
    }
    assert list(replicates([record("", {"generator.seed": seed}) for seed in "01"])) == ["seeds"]
