"""Epochs to a distance, and the best average, over what was evaluated."""

from pipeline.evaluation.averages import AverageMetrics, average_rows, best_average, distance_name, epochs_to
from pipeline.evaluation.generated import _metrics


def measured(step, average, distance, **more):
    return AverageMetrics(step, step / 10, average, 1.0, {"IS": 2.0, "FD-Lite0": distance, **more})


FOUND = [
    measured(100, "ema", 9.0),
    measured(100, "0.99", 6.0),
    measured(200, "ema", 4.0),
    measured(200, "0.99", 5.0, FID=1.0),
]


def test_the_epochs_until_the_best_average_reached_a_distance():
    for value, expected in ((6.0, (10.0, "0.99")), (5.0, (20.0, "ema")), (3.0, None)):
        reached = epochs_to(FOUND, "FD-Lite0", value)
        assert (None if reached is None else (reached.epochs, reached.average)) == expected


def test_fid_goes_before_other_distances_and_what_was_not_measured_is_no_best():
    assert distance_name(FOUND) == "FID"
    assert distance_name(FOUND[:3]) == "FD-Lite0"
    assert best_average(FOUND, "FID", 100) is None
    assert [row["FID"] for row in average_rows(FOUND)] == [None, None, None, 1.0]


def test_what_a_comparison_shows_of_a_generator():
    assert _metrics(FOUND[:3], 200, 6.0) == {"generated FD-Lite0": 4.0, "EP_FD-Lite0@6": 10.0}
    assert _metrics(FOUND[:3], 200, None) == {"generated FD-Lite0": 4.0}
    assert _metrics([], 200, 6.0) == {}
