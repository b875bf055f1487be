"""Progress: plain lines by the clock, rates of this run alone, JSON lines, a bar on a terminal."""

import json
import sys
import threading
from typing import Any

import pytest

from pipeline.console.formats import format_fact, format_facts, format_number, format_seconds, format_shares
from pipeline.console.progress import Progress


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def work(progress: Any, clock: Clock, seconds: float, done: int, total: int, **facts: Any) -> None:
    clock.seconds += seconds
    progress(done, total, facts)


def fail_after(progress: Progress, clock: Clock, done: int) -> None:
    with progress:
        work(progress, clock, 0, 0, 10)
        work(progress, clock, 2, done, 10, loss=0.5)
        raise RuntimeError("boom")


def test_lines_come_at_most_every_ten_seconds_and_at_the_end(clock, capsys):
    with Progress("extract", clock=clock) as progress:
        work(progress, clock, 0, 0, 1797)
        work(progress, clock, 9.9, 990, 1797)
        assert capsys.readouterr().err == ""
        work(progress, clock, 0.1, 1200, 1797, loss=0.123456)
        assert capsys.readouterr().err == "extract  1,200/1,797 images  120/s  5 s left  loss=0.1235\n"
        work(progress, clock, 5, 1797, 1797)
    captured = capsys.readouterr()
    assert captured.err == "extract  1,797/1,797 images  120/s\n"
    assert captured.out == ""


def test_a_line_has_the_numbers_that_came_since_the_last_one_and_the_words_that_hold(clock, capsys):
    with Progress("train-ae", "steps", clock=clock) as progress:
        work(progress, clock, 0, 0, 40, part="fine-tuning")
        work(progress, clock, 10, 10, 40, loss=0.5, phase="held-out metrics")
        work(progress, clock, 0, 10, 40, phase=None)
        work(progress, clock, 10, 20, 40)
        work(progress, clock, 10, 30, 40, loss=0.5)
        assert progress.facts["loss"] == 0.5, "a terminal and watchers have the last one"
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" left")[2].split("  ")[1:] for line in lines] == [
        ["part=fine-tuning", "loss=0.5", "phase=held-out metrics"],
        ["part=fine-tuning"],
        ["part=fine-tuning", "loss=0.5"],
    ]


def test_a_line_without_news_says_for_how_long_there_was_none(clock, capsys):
    with Progress("eval", clock=clock) as progress:
        work(progress, clock, 0, 0, 34)
        for _ in range(2):
            work(progress, clock, 10, 0, 34)
    assert capsys.readouterr().err.splitlines() == ["eval  0/34 images", "eval  0/34 images  for 20 s"]


def test_what_an_earlier_run_has_done_is_not_in_the_rate(clock):
    with Progress("extract", clock=clock) as progress:
        work(progress, clock, 3, 1000, 1200)
        work(progress, clock, 10, 1100, 1200)
        assert progress.per_second == pytest.approx(10)
        assert progress.seconds_left == pytest.approx(10)


def test_a_second_round_counts_anew(clock):
    with Progress("train-decoder", "steps", clock=clock) as progress:
        work(progress, clock, 0, 0, 200)
        work(progress, clock, 10, 200, 200)
        work(progress, clock, 5, 0, 300)
        work(progress, clock, 10, 50, 300)
        assert progress.per_second == pytest.approx(5)
        assert progress.seconds_left == pytest.approx(50)


def test_a_second_round_says_nothing_of_the_first(clock):
    with Progress("train-decoder", "steps", clock=clock) as progress:
        work(progress, clock, 0, 0, 200)
        work(progress, clock, 10, 200, 200, loss=0.5)
        work(progress, clock, 5, 0, 300)
        assert progress.facts == {}


def test_no_time_left_is_said_while_rows_are_encoded_on_the_way(clock):
    with Progress("train-ae", "steps", clock=clock) as progress:
        work(progress, clock, 0, 0, 200, rows_missing=900)
        work(progress, clock, 100, 50, 200, rows_missing=300)
        assert progress.seconds_left is None
        assert "left" not in progress.line()
        work(progress, clock, 0, 50, 200, rows_missing=None)
        work(progress, clock, 10, 100, 200)
        assert progress.seconds_left == pytest.approx(20), "of the steps alone, which wait for no encoder any more"


def test_nothing_done_writes_nothing(clock, capsys):
    with Progress("extract", clock=clock) as progress:
        work(progress, clock, 1, 1797, 1797)
    assert capsys.readouterr().err == ""


def test_an_exception_passes_after_a_last_line(clock, capsys):
    with pytest.raises(RuntimeError, match="boom"):
        fail_after(Progress("encode", clock=clock), clock, done=4)
    assert capsys.readouterr().err == "encode  4/10 images  2.00/s  3 s left  loss=0.5\n"


def test_advancing_from_a_start_without_a_total(clock):
    with Progress("scan", clock=clock) as progress:
        progress.start(5)
        clock.seconds += 2
        progress.advance(3, source="a.tar")
        assert progress.line() == "scan  8 images  1.50/s  source=a.tar"
        assert progress.seconds_left is None


def test_programs_get_json_lines(clock, capsys):
    with Progress("train-ae", "steps", json=True, clock=clock) as progress:
        work(progress, clock, 0, 0, 100)
        work(progress, clock, 10, 50, 100, loss=float("nan"), rejected=2)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == {
        "progress": "train-ae",
        "state": "running",
        "done": 50,
        "total": 100,
        "unit": "steps",
        "per_second": 5.0,
        "per_second_now": 5.0,
        "seconds_left": 10.0,
        "facts": {"loss": "nan", "rejected": 2},
    }


def test_a_terminal_shows_a_bar_that_ends_with_the_work(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with pytest.raises(RuntimeError, match="boom"):
        fail_after(Progress("extract [a]", clock=clock), clock, done=5)
    shown = capsys.readouterr().err
    assert "extract [a]" in shown
    assert "5/10 images" in shown
    assert "loss=0.5" in shown
    assert shown.rstrip("\n").endswith("\x1b[?25h")  # the cursor is back


def test_the_terminal_shows_shards_rates_and_shares(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Progress("extract", clock=clock) as progress:
        work(progress, clock, 0, 0, 100, shards_done=0, shards=10)
        shares = {"rows_by_worker": {"a": 30, "b": 10}, "seconds_by_part": {"decode": 1, "encode": 3}}
        work(progress, clock, 10, 40, 100, shards_done=4, shards=10, **shares)
    shown = capsys.readouterr().err
    for text in ("40/100 images", "4/10 shards", "a 75 %  b 25 %", "encode 75 %  decode 25 %", "average 4.00"):
        assert text in shown, text


def test_the_present_rate_falls_when_work_stalls_and_the_average_more_slowly(clock):
    with Progress("extract", clock=clock) as progress:
        work(progress, clock, 0, 0, 10_000)
        for _ in range(30):
            work(progress, clock, 10, progress.done + 100, 10_000)
        assert progress.record()["per_second_now"] == pytest.approx(10)
        clock.seconds += 300
        record = progress.record()
    assert record["per_second"] == pytest.approx(5, rel=0.01)
    assert record["per_second_now"] < 2.1


def fail_slowly(progress, clock):
    with progress:
        for _ in range(20):
            work(progress, clock, 0.25, progress.done + 1, 100)
        raise RuntimeError("boom")


def test_watchers_hear_at_most_once_a_second_and_how_it_ended(clock):
    heard = []
    progress = Progress("encode", clock=clock, watchers=[heard.append])
    with pytest.raises(RuntimeError, match="boom"):
        fail_slowly(progress, clock)
    assert [record["done"] for record in heard] == [1, 5, 9, 13, 17, 20]
    assert {record["state"] for record in heard[:-1]} == {"running"}
    assert (heard[-1]["state"], heard[-1]["error"]) == ("failed", "RuntimeError: boom")


def test_ctrl_c_is_a_stop_and_no_failure(clock):
    heard = []
    with pytest.raises(KeyboardInterrupt), Progress("encode", clock=clock, watchers=[heard.append]):
        raise KeyboardInterrupt
    assert heard[-1]["state"] == "stopped"


def test_a_watcher_that_cannot_write_does_not_stop_the_work(clock):
    def full(record):
        raise OSError(28, "No space left on device")

    with Progress("encode", clock=clock, watchers=[full]) as progress:
        work(progress, clock, 1, 1, 2)
    assert progress.done == 1


def test_watchers_hear_of_slow_work_too(monkeypatch):
    monkeypatch.setattr("pipeline.console.progress.LINE_SECONDS", 0.02)
    heard, enough = [], threading.Event()

    def watch(record):
        heard.append(record)
        if len(heard) >= 3:
            enough.set()

    with Progress("encode", watchers=[watch]) as progress:
        progress(0, 10, {})
        assert enough.wait(60)


def test_shares_and_shards_are_short():
    assert format_shares({"write": 1.0, "decode": 2.0, "encode": 1.0}) == "decode 50 %  encode 25 %  write 25 %"
    assert format_shares({"write": 0.0}) == ""
    shares = {"wait_share": 9.5e-07, "host_share": 0.0123, "device_share": 0.374, "loss": 0.5}
    assert format_facts(shares) == ["wait_share=0 %", "host_share=1.2 %", "device_share=37 %", "loss=0.5"]
    assert format_facts({"shards_done": 3, "shards": 12, "loss": 0.5, "seconds": {"a": 1}}) == [
        "3/12 shards",
        "loss=0.5",
    ]


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (143.2, "143"), (14.26, "14.3"), (0.518, "0.52")])
def test_numbers_keep_three_metrics(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (300000, "3 d 11 h")],
)
def test_durations_are_read_aloud(seconds, text):
    assert format_seconds(seconds) == text


def test_facts_are_short():
    assert (format_fact(0.000123456), format_fact(3), format_fact("auto")) == ("0.0001235", "3", "auto")
