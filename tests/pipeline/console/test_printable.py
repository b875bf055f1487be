"""What others wrote (names, captions, hosts) moves no cursor and turns no line, on a terminal or in JSON."""

import json

import pytest

from pipeline.console.output import Output
from pipeline.console.printable import json_text, printable
from pipeline.console.progress import Progress

HOSTILE = "a\x1b[2J\x07\u202eb\ud800\x9b\u2066"
ESCAPED = "a\\x1b[2J\\x07\\u202eb\\ud800\\x9b\\u2066"


def test_characters_that_act_are_written_out_and_others_stay():
    assert printable(HOSTILE) == ESCAPED
    assert printable("ü 日本 עברית 🙂\tx\n") == "ü 日本 עברית 🙂\tx\n"


def test_json_holds_the_very_same_characters():
    text = json_text({"name": HOSTILE, "other": "ü"})
    assert json.loads(text) == {"name": HOSTILE, "other": "ü"}
    assert text.isprintable()
    assert "ü" in text
    text.encode()


@pytest.mark.parametrize("as_json", [False, True])
def test_everything_that_is_printed_is_printable(capsys, as_json):
    output = Output(json=as_json)
    output.say(HOSTILE)
    output.table([{"name": HOSTILE}])
    output.result({"name": HOSTILE})
    with Progress("extract", "images", 2, json=as_json) as progress:
        progress(1, 2, {"name": HOSTILE})
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert all(character.isprintable() or character in "\n\t" for character in text), text
        text.encode()
