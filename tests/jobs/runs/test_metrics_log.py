"""metrics.jsonl: means of intervals, and lines of a resumed run."""

import json

import pytest
import torch

from jobs.runs.metrics_log import MetricsLog, read_metrics
from jobs.runs.training_speed import CLOCK_METRICS, Interval, TrainingSpeed

ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)


def test_a_line_is_the_mean_of_its_interval(tmp_path):
    with MetricsLog(tmp_path, 0, TrainingSpeed(4)) as log:
        for value in (1.0, 2.0, 6.0):
            log.add({"loss": torch.tensor(value)}, ONE, ZERO, 0.0)
        facts = log.write(3, 0.5, 0, 0.0)
        log.add({"loss": torch.tensor(10.0)}, ONE, ZERO, 0.0)
        log.write(4, 0.25, 0, 0.0)
    assert 0 <= facts.pop("wait_share") <= 1
    assert facts == {"loss": 3.0, "gradient_norm": 1.0}
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["step"], line["loss"], line["learning_rate"]) for line in lines] == [(3, 3.0, 0.5), (4, 10.0, 0.25)]
    assert all(line["rows_per_second"] > 0 and 0 <= line["wait_share"] <= 1 for line in lines)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_saved_interval_goes_on(tmp_path):
    with MetricsLog(tmp_path, 0, TrainingSpeed(4)) as log:
        log.add({"loss": torch.tensor(0.1)}, ONE, ZERO, 0.0)
        state = json.loads(json.dumps(log.state_dict()))
    with MetricsLog(tmp_path, 1, TrainingSpeed(4)) as log:
        log.load_state_dict(state, torch.device("cpu"))
        log.add({"loss": torch.tensor(0.3)}, ONE, ZERO, 0.0)
        facts = log.write(2, 1.0, 0, 0.0)
    expected = (torch.tensor(0.1) + torch.tensor(0.3)) / 2
    assert facts["loss"] == float(expected)


def test_lines_past_the_resumed_step_and_a_torn_line_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 2, "loss": 1.0}\n{"step": 4, "loss": 2.0}\n{"step": 6, "lo')
    assert [line["step"] for line in read_metrics(file)] == [2, 4]
    with MetricsLog(tmp_path, 3, TrainingSpeed(1)):
        pass
    assert file.read_text() == '{"step": 2, "loss": 1.0}\n'


def test_no_file_has_no_lines(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_an_interval_of_skipped_steps_has_no_loss(tmp_path):
    with MetricsLog(tmp_path, 0, TrainingSpeed(2)) as log:
        for _ in range(2):
            log.add({"loss": torch.tensor(float("nan"))}, torch.tensor(1.0), torch.tensor(1.0), 0.0)
        log.write(2, 0.1, skipped_steps=2, device_seconds=0.0)
        assert log.loss is None
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert "loss" not in line
    assert line["skipped_steps"] == 2


def test_metrics_of_the_trained_model_stand_in_its_last_line_however_often_it_is_finished(tmp_path):
    for loss_step in (2, None):  # None: finished again by another process
        with MetricsLog(tmp_path, 2 if loss_step is None else 0, TrainingSpeed(2)) as log:
            if loss_step:
                log.add({"loss": ONE}, ONE, ZERO, 0.0)
                log.write(2, 0.1, 0, 0.0)
            log.write_metrics(2, {"psnr_db": 20.0, "psnr_db_raw": 19.5, "rows": 8, "split": "val"})
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (line["loss"], line["psnr_db"], line["psnr_db_raw"]) == (1.0, 20.0, 19.5)
    assert "rows" not in line
    with MetricsLog(tmp_path, 4, TrainingSpeed(2)) as log:
        log.write_metrics(4, {"psnr_db": 21.0})
    assert read_metrics(tmp_path / "metrics.jsonl")[1] == {"step": 4, "psnr_db": 21.0}


def test_a_loss_and_a_metric_of_averaged_weights_of_its_name_stand_side_by_side(tmp_path):
    with MetricsLog(tmp_path, 0, TrainingSpeed(4)) as log:
        zero = torch.zeros(())
        log.add({"loss": torch.tensor(2.0), "squared_error": torch.tensor(0.5)}, zero, zero, 0.0)
        log.write(1, 1e-4, 0, 0.0)
    for _ in range(2):  # a run may be ended twice
        with MetricsLog(tmp_path, 1, TrainingSpeed(4)) as log:
            log.write_metrics(1, {"squared_error": 0.75, "squared_error_raw": 0.875, "psnr_db": 20.0})
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    expected = {"squared_error": 0.5, "averaged_squared_error": 0.75, "squared_error_raw": 0.875, "psnr_db": 20.0}
    assert {name: line[name] for name in expected} == expected


def test_shares_of_time_add_up_and_a_wait_counts_while_the_device_stands_still():
    speed = TrainingSpeed(64, devices=2, row_flops=10**9, peak_flops=1e12)
    found = speed.metrics(Interval(steps=10, seconds=2.0, waited=0.5, device=1.2, processor=3.0))
    assert found == pytest.approx(
        {
            "rows_per_second": 320.0,
            "rows_per_second_per_device": 160.0,
            "tflops_per_device": 0.48,
            "mfu": 0.48,
            "wait_share": 0.25,
            "device_share": 0.6,
            "host_share": 0.15,
            "processor_seconds": 3.0,
        }
    )
    hidden = speed.metrics(Interval(steps=10, seconds=2.0, waited=0.5, device=1.9, processor=3.0))
    assert [hidden[name] for name in ("wait_share", "device_share", "host_share")] == pytest.approx([0.05, 0.95, 0.0])
    assert found.keys() == CLOCK_METRICS


def test_nothing_is_made_up_of_a_model_that_was_not_counted_or_a_device_that_is_not_known():
    interval = Interval(steps=1, seconds=1.0, waited=0.0, device=1.0, processor=1.0)
    assert not TrainingSpeed(4).metrics(interval).keys() & {"mfu", "tflops_per_device"}
    assert "mfu" not in TrainingSpeed(4, row_flops=10).metrics(interval)
