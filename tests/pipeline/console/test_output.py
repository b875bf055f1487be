"""Output: whole plain lines for people, one JSON object on stdout for programs."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline.console.output import Output, plain

LONG = "/a/long/path" * 30


def test_people_get_whole_lines_without_markup(capsys):
    Output().say(f"wrote [bold]{LONG}", style="green")
    captured = capsys.readouterr()
    assert captured.out == f"wrote [bold]{LONG}\n"
    assert captured.err == ""


def test_a_table_keeps_cells_whole_and_numbers_to_the_right(capsys):
    rows = [{"name": "[b]ig", "rows": 1797, "path": LONG}, {"name": "small", "rows": None, "path": Path("x")}]
    Output().table(rows)
    assert capsys.readouterr().out.splitlines() == ["name    rows  path", f"[b]ig  1,797  {LONG}", "small      -  x"]


def test_programs_get_one_object_on_stdout(capsys):
    output = Output(json=True)
    with output.keep_stdout_clean():
        print("a library talks")
        output.say("a message")
        output.table([{"a": 1}])
        output.result({"path": Path("x"), "loss": float("nan"), "rows": np.int64(3)})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"path": "x", "loss": None, "rows": 3}
    assert captured.err.splitlines() == ["a library talks", '{"message": "a message"}']


@pytest.mark.parametrize(("json_lines", "line"), [(False, "{}"), (True, '{{"message": "{}"}}')])
def test_warnings_are_messages_of_a_line(capsys, json_lines, line):
    usual = warnings.showwarning
    with Output(json=json_lines).say_warnings():
        warnings.simplefilter("always")
        warnings.warn("step-9 is damaged; going on from an older checkpoint", stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)
    captured = capsys.readouterr()
    expected = ["warning: step-9 is damaged; going on from an older checkpoint", "FutureWarning: old"]
    assert (captured.err if json_lines else captured.out).splitlines() == [line.format(one) for one in expected]
    assert warnings.showwarning is usual


def test_people_get_no_json(capsys):
    output = Output()
    with output.keep_stdout_clean():
        output.result({"a": 1})
        print("seen")
    assert capsys.readouterr().out == "seen\n"


def test_a_second_result_is_a_mistake():
    output = Output()
    output.result({})
    with pytest.raises(AssertionError):
        output.result({})


def test_plain_values_survive_json():
    value = {"a": (1, math.inf), 2: np.array([0.5, math.nan]), "b": {"c": None, "d": True}}
    assert plain(value) == {"a": [1, None], "2": [0.5, None], "b": {"c": None, "d": True}}
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)


def test_progress_speaks_the_language_of_the_output(capsys):
    with Output(json=True).progress("scan", "images", total=4) as progress:
        progress.advance(4)
    assert json.loads(capsys.readouterr().err)["done"] == 4
