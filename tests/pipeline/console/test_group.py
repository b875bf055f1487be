"""The frame of the command line: order of commands, exit codes, errors for people and for programs."""

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.console.group import _shortened

SAMPLE = Path(__file__).parent / "sample_cli.py"
main = runpy.run_path(str(SAMPLE))["main"]
PROJECT = SAMPLE.parents[3]


def run(*words):
    return CliRunner().invoke(main, list(words), prog_name="fae")


def process(*words):
    return subprocess.run(
        [sys.executable, str(SAMPLE), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=600,
    )


def environment():
    return os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "error"}


def test_commands_are_listed_in_the_order_they_were_added():
    lines = run("--help").stdout.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["extract", "break", "all", "shelf"]


def test_help_is_the_answer_to_nothing():
    outcome = run()
    assert outcome.exit_code == 2
    assert "Images become features" in outcome.stderr


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("value", 2, "error: steps: expected 3\n"),
        ("missing", 2, "error: /no/such: no such file or directory\n"),
        ("explained", 2, "error: data.path: expected a folder\n"),
        ("denied", 2, "error: /secret: permission denied\n"),
        ("runtime", 1, "failed: RuntimeError: the device is gone (--debug shows the traceback)\n"),
        ("silent", 1, "failed: RuntimeError: no message (--debug shows the traceback)\n"),
        ("key", 1, "failed: KeyError: 'shard' (--debug shows the traceback)\n"),
        ("interrupt", 130, "stopped: nothing that is done is lost; the same command goes on\n"),
        ("terminated", 130, "stopped: nothing that is done is lost; the same command goes on\n"),
        ("saved", 130, "stopped: stopped at step 3; the same command goes on\n"),
    ],
)
def test_an_error_is_one_paragraph_and_an_exit_code(how, code, message):
    outcome = run("break", how)
    assert outcome.exit_code == code
    assert outcome.stderr.lstrip("\n") == message
    assert outcome.stdout == ""


def test_a_program_gets_the_error_as_an_object_too():
    outcome = run("break", "value", "--json")
    assert json.loads(outcome.stdout) == {
        "error": {"type": "ValueError", "message": "steps: expected 3", "exit_code": 2}
    }
    assert outcome.stderr == "error: steps: expected 3\n"
    assert json.loads(run("break", "saved", "--json").stdout)["error"]["type"] == "KeyboardInterrupt"
    assert json.loads(run("extract", "--json", "--nope").stdout)["error"]["exit_code"] == 2


def test_debug_shows_the_traceback_and_only_debug():
    outcome = run("break", "runtime", "--debug")
    assert outcome.exit_code == 1
    assert "Traceback" in outcome.stderr
    assert outcome.stderr.endswith("failed: RuntimeError: the device is gone\n")
    assert "Traceback" not in run("break", "runtime").stderr
    assert "Traceback" not in run("break", "--", "--debug").stderr


def test_a_command_may_choose_its_exit_code():
    assert [run("break", code).exit_code for code in ("0", "3")] == [0, 3]


def test_an_unknown_command_is_a_mistake():
    outcome = run("extrakt")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: No such command 'extrakt'.")


@pytest.mark.parametrize(("words", "code"), [(["extract"], 0), (["break", "value"], 2)])
def test_a_program_that_calls_the_group_ends_as_it_wants_to(words, code):
    program = f"""
import runpy, sys
main = runpy.run_path({str(SAMPLE)!r})["main"]
try:
    main({words!r})
except SystemExit as end:
    assert end.code == {code}
sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=environment())
    assert done.returncode == 7, done.stderr


def test_errors_pass_through_when_the_group_is_called_from_python():
    with pytest.raises(ValueError, match="steps"):
        main.main(["break", "value"], standalone_mode=False)
    with pytest.raises(click.UsageError):
        main.main(["break"], standalone_mode=False)


def test_a_process_ends_with_these_codes():
    done = process("extract", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["name"] == "default"
    assert "a library talks" in done.stderr
    mistake, failure = process("break", "value"), process("break", "runtime")
    assert (mistake.returncode, mistake.stderr) == (2, "error: steps: expected 3\n")
    assert failure.returncode == 1
    assert "Traceback" not in mistake.stderr + failure.stderr


@pytest.mark.parametrize(("closed", "said"), [("<&-", "said\n"), (">&-", ""), ("2>&-", "said\n"), ("<&- >&- 2>&-", "")])
def test_streams_that_the_shell_closed_are_nobodys(closed, said, tmp_path):
    """The exit code is that of the command, nothing complains, and no file of ours gets a stream's number."""
    code = (
        "import runpy, sys\n"
        f"main = runpy.run_path({str(SAMPLE)!r})['main']\n"
        "@main.command()\n"
        "def numbers():\n"
        f"    with open({str(tmp_path / 'number')!r}, 'w') as file:\n"
        "        file.write(str(file.fileno()))\n"
        "    print('said')\n"
        "sys.argv[1:] = ['numbers']\n"
        "main()\n"
    )
    (tmp_path / "code.py").write_text(code)
    command = f"exec {sys.executable} {tmp_path / 'code.py'} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert int((tmp_path / "number").read_text()) > 2


def test_what_an_encoding_lacks_is_escaped():
    words = [sys.executable, str(SAMPLE), "extract", "--out", "4 × 4"]
    ascii_only = environment() | {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "out 4 \\xd7 4" in done.stdout


def test_ctrl_c_ends_a_process_with_130():
    code = (
        "import runpy, sys, time\n"
        f"main = runpy.run_path({str(SAMPLE)!r})['main']\n"
        "@main.command()\n"
        "def wait():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
        "sys.argv[1:] = ['wait']\n"
        "main()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=600)
    assert child.returncode == 130
    assert "stopped: nothing that is done is lost" in stderr
    assert "Traceback" not in stderr


@pytest.mark.heavy
def test_a_daemon_thread_inside_of_torch_does_not_abort_the_end_of_a_process(tmp_path):
    """Without the group's own end Python ends such a thread by unwinding C++ frames: exit code 134, 24 times of 24."""
    code = (
        "import runpy, sys, tempfile, threading, time\n"
        f"main = runpy.run_path({str(SAMPLE)!r})['main']\n"
        "@main.command()\n"
        "def busy():\n"
        "    import torch\n"
        f"    main.kept = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})\n"
        "    def work():\n"
        "        while True:\n"
        "            torch.ones(1000).sum().item()\n"
        "    for _ in range(2):\n"
        "        threading.Thread(target=work, daemon=True).start()\n"
        "    time.sleep(0.1)\n"
        "    print('done')\n"
        "    return 3\n"
        "sys.argv[1:] = ['busy']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=300)
    assert (done.returncode, done.stdout) == (3, "done\n"), done.stderr
    assert not list(tmp_path.iterdir()), "exit functions of libraries were not called"


def test_a_message_that_repeats_a_very_long_input_is_cut():
    assert _shortened("short") == "short"
    text = _shortened("x" * 1_000_000)
    assert text.endswith("… (990,000 more characters)")
    assert len(text) < 10_100
