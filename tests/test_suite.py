"""The suite's own rules: skips are limited, the fast tier leaves out what costs, processes end with the test."""

import signal

import pytest

from fast_tier import FIXTURES
from processes import ProcessServer

SKIPPING = """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_skipped(number):
    pytest.skip("no browser")

@pytest.mark.skipif(True, reason="no images")
def test_marked():
    pass

def test_passes():
    pass
"""


@pytest.mark.parametrize(("most", "outcome"), [("3", pytest.ExitCode.OK), ("2", pytest.ExitCode.TESTS_FAILED)])
def test_more_skips_than_are_allowed_fail_a_run_that_passes(pytester, most, outcome):
    pytester.makepyfile(SKIPPING)
    result = pytester.runpytest_inprocess("-p", "skip_limit", "--max-skips", most)
    assert result.ret == outcome
    result.stdout.fnmatch_lines([f"skipped: 3 (at most {most} may be)", "  2 × no browser", "  1 × no images"])


def test_without_a_limit_skips_are_told(pytester):
    pytester.makepyfile(SKIPPING, test_module="import pytest; pytest.importorskip('no_such_module_here')")
    result = pytester.runpytest_inprocess("-p", "skip_limit")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["skipped: 4", "  1 × test_module.py: could not import 'no_such_module_here'*"])


def test_the_fast_tier_leaves_out_marks_and_fixtures(pytester):
    fixture = sorted(FIXTURES)[0]
    pytester.makeini("[pytest]\nmarkers =\n  slow: slow\n  heavy: heavy")
    pytester.makepyfile(f"""
        import pytest

        @pytest.fixture
        def {fixture}():
            raise AssertionError("made")

        @pytest.fixture
        def by_way_of({fixture}):
            pass

        def test_with_fixture(by_way_of):
            pass

        @pytest.mark.slow
        def test_slow():
            raise AssertionError

        @pytest.mark.heavy
        def test_heavy():
            raise AssertionError

        def test_light():
            pass
    """)
    result = pytester.runpytest_inprocess("-p", "fast_tier", "--fast")
    result.assert_outcomes(passed=1, deselected=3)


def test_the_fast_tier_leaves_out_what_names_something_costly(pytester):
    pytester.makepyfile("""
        import subprocess
        import pytest
        from hypothesis.stateful import RuleBasedStateMachine, rule

        def helper():
            subprocess.run(["no such command"])

        @pytest.fixture
        def started():
            helper()

        def test_by_a_helper():
            helper()

        def test_by_a_fixture(started):
            pass

        def test_inside_a_function():
            (lambda: subprocess.run(["no such command"]))()

        class Machine(RuleBasedStateMachine):
            @rule()
            def step(self):
                raise AssertionError

        TestMachine = Machine.TestCase

        def test_light():
            pass
    """)
    result = pytester.runpytest_inprocess("-p", "fast_tier", "--fast")
    result.assert_outcomes(passed=1, deselected=4)


def test_the_fast_tier_takes_two_parameters_of_a_test(pytester):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("number", range(5))
        def test_many(number):
            assert number < 2

        def test_one():
            pass
    """)
    result = pytester.runpytest_inprocess("-p", "fast_tier", "--fast")
    result.assert_outcomes(passed=3, deselected=3)


def test_the_fast_tier_keeps_tests_of_each_package(pytester):
    pytester.makeini("[pytest]\nmarkers =\n  heavy: heavy\naddopts = --import-mode=importlib")
    for package, body in (("fae", "pytestmark = pytest.mark.heavy"), ("stores", "")):
        folder = pytester.path / "tests" / package
        folder.mkdir(parents=True)
        (folder / "test_it.py").write_text(f"import pytest\n{body}\ndef test_it():\n    pass\n")
    light = "import pytest\n@pytest.mark.parametrize('a', ['b/c', 'd/e', 'f/g'])\ndef test_a(a):\n    pass\n"
    (pytester.path / "tests" / "test_top.py").write_text(light)
    result = pytester.runpytest_inprocess("-p", "fast_tier", "--fast", "tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected some test of each package; received none of fae"])


@pytest.fixture
def server(process_server):
    yield process_server
    process_server.end_all()


def test_a_forked_process_is_a_real_one(server: ProcessServer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, sys\n"
        "print(os.getpid(), os.getcwd(), os.environ['GIVEN'], sys.argv, __name__, 'pipeline' in sys.modules)\n"
        "print('told', file=sys.stderr)\n"
        "sys.exit(3)"
    )
    process = server.start(code, "a", 1, GIVEN="yes")
    assert process.wait() == 3
    assert process.stdout == f"{process.pid} {tmp_path} yes ['-c', 'a', '1'] __main__ False\n"
    assert process.stderr == "told\n"


def test_a_forked_process_ends_by_signals_and_errors_as_others_do(server: ProcessServer):
    waiting = server.start("import time; print('ready', flush=True); time.sleep(600)")
    waiting.wait_until(lambda: waiting.stdout == "ready\n")
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait() in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in waiting.stderr
    failing = server.start("raise ValueError('expected 3')")
    assert failing.wait() == 1
    assert failing.stderr.endswith("ValueError: expected 3\n")
    killed = server.start("import time; time.sleep(600)")
    server.end_all()
    assert killed.returncode == -signal.SIGKILL
