"""A training that is asked to end, by Ctrl-C or a termination signal, at any moment, on a toy model."""

import signal
import threading

import pytest
from toy_training import CONFIG, Crash, assert_same, loss_function, result_of

from jobs.loop import stopping, train_loop
from jobs.loop.stopping import TrainingStopped, stop_signals, termination_as_interrupt
from jobs.loop.train_loop import train
from jobs.runs.metrics_log import read_metrics


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [2, 6])
def test_stopped_by_a_signal_and_run_again_equals_undisturbed(trainer_at, number, step):
    undisturbed = trainer_at("undisturbed")
    train(undisturbed, loss_function, lambda *_: None)
    stopped = trainer_at("stopped")

    def signalling(model, batch, generator):
        if stopped.step == step:
            signal.raise_signal(number)
        return loss_function(model, batch, generator)

    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=rf"stopped at step {step + 1} and saved in .*; the same command") as stop:
        train(stopped, signalling, lambda *_: None)
    assert (stop.value.step, stop.value.path) == (step + 1, stopped.run.path)
    assert signal.getsignal(number) is before
    again = trainer_at("stopped")
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))


def test_a_signal_in_the_last_step_lets_the_run_finish(trainer_at):
    trainer = trainer_at("last")

    def signalling(model, batch, generator):
        if trainer.step == CONFIG.steps - 1:
            signal.raise_signal(signal.SIGINT)
        return loss_function(model, batch, generator)

    assert not train(trainer, signalling, lambda *_: None).model.training


def measured(model):
    return {"weight": float(model.layers[0].weight.detach().sum())}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_metrics_are_measured_ends_it_at_once_and_they_are_measured_again(trainer_at, number):
    undisturbed = trainer_at("undisturbed", preview_every=6)
    train(undisturbed, loss_function, lambda *_: None, evaluation=measured)
    stopped = trainer_at("stopped", preview_every=6)

    def interrupted(model):
        signal.raise_signal(number)
        raise AssertionError("went on")

    with pytest.raises(TrainingStopped, match="stopped at step 6 and saved"):
        train(stopped, loss_function, lambda *_: None, evaluation=interrupted)
    again = trainer_at("stopped", preview_every=6)
    train(again, loss_function, lambda *_: None, evaluation=measured)
    assert_same(result_of(again), result_of(undisturbed))
    lines = {line["step"]: line for line in read_metrics(again.run.path / "metrics.jsonl")}
    assert lines[8]["weight"] != lines[8]["weight_raw"]


def test_a_signal_in_a_preview_or_after_the_last_step_ends_it_at_once(trainer_at):
    def interrupted(model, *step):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("went on")

    with pytest.raises(TrainingStopped, match="stopped at step 6 and saved"):
        train(trainer_at("preview", preview_every=6), loss_function, lambda *_: None, preview=interrupted)
    with pytest.raises(TrainingStopped, match="stopped at step 12 and saved"):
        train(trainer_at("preview"), loss_function, lambda *_: None, evaluation=interrupted)
    undisturbed, again = trainer_at("undisturbed"), trainer_at("preview")
    train(undisturbed, loss_function, lambda *_: None)
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))


def test_a_step_that_takes_too_long_is_given_up_and_the_state_before_it_saved(trainer_at, monkeypatch):
    ended, writers = [], []
    monkeypatch.setattr(train_loop, "end_process", ended.append)
    undisturbed, stopped = trainer_at("undisturbed"), trainer_at("stopped")
    train(undisturbed, loss_function, lambda *_: None)
    make_writer = stopped.writer
    monkeypatch.setattr(stopped, "writer", lambda: writers.append(make_writer()) or writers[-1])

    def endless(model, batch, generator):
        losses = loss_function(model, batch, generator)
        if stopped.step == 7:  # the process is asked to end, in the middle of a step
            give_up = threading.Thread(target=train_loop._save_and_exit, args=(stopped, logs[0], writers[0]))
            give_up.start()
            give_up.join()
            raise Crash
        return losses

    logs = []
    make_log = train_loop.MetricsLog
    monkeypatch.setattr(train_loop, "MetricsLog", lambda *a, **k: logs.append(make_log(*a, **k)) or logs[-1])
    with pytest.raises(Crash):
        train(stopped, endless, lambda *_: None)
    assert str(ended[0]).startswith("training stopped at step 7 and saved in")
    again = trainer_at("stopped")
    monkeypatch.setattr(train_loop, "MetricsLog", make_log)
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))


def test_a_step_that_has_ended_meanwhile_is_saved_by_the_training_itself(trainer_at, monkeypatch):
    monkeypatch.setattr(train_loop, "end_process", lambda stopped: pytest.fail("ended the process"))
    train_loop._save_and_exit(trainer_at("between"), None, None)


def test_nothing_is_saved_before_the_first_step_has_ended(trainer_at, monkeypatch):
    ended, trainer = [], trainer_at("first")
    monkeypatch.setattr(train_loop, "end_process", ended.append)
    with trainer.writer() as writer:
        trainer.boundary = trainer.state_between_steps({})
        train_loop._save_and_exit(trainer, None, writer)
    assert str(ended[0]).startswith("training stopped at step 0; the same command")
    assert not (trainer.run.path / "checkpoints").exists()


def test_who_does_not_end_in_time_after_a_termination_signal_is_overdue(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.01)
    before, overdue = signal.getsignal(signal.SIGTERM), threading.Event()
    with stop_signals(overdue.set) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        assert overdue.wait(60)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 60.0)
    with stop_signals(lambda: pytest.fail("it ended in time")):
        signal.raise_signal(signal.SIGTERM)


def terminated(overdue, going_on=lambda: None):
    """Receives SIGTERM, and then goes on with something."""
    with termination_as_interrupt(overdue):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            going_on()


def test_a_termination_signal_is_an_interrupt_and_who_does_not_answer_it_is_overdue(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.01)
    before, overdue, after = signal.getsignal(signal.SIGTERM), threading.Event(), []

    def wait():
        after.append(signal.getsignal(signal.SIGTERM))
        assert overdue.wait(60)

    with pytest.raises(KeyboardInterrupt):
        terminated(overdue.set, wait)
    assert after == [signal.SIG_DFL], "a second one acts at once"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 60.0)
    with pytest.raises(KeyboardInterrupt):
        terminated(lambda: pytest.fail("it ended in time"))


def test_what_waits_for_the_end_is_called_before_it_and_its_failure_does_not_keep_the_process(monkeypatch, tmp_path):
    called = []

    def fail():
        called.append("failed")
        raise OSError("no network")

    monkeypatch.setattr(stopping.os, "_exit", called.append)
    with stopping.before_end(fail), stopping.before_end(lambda: called.append("copied")):
        stopping.end_process(TrainingStopped(3, tmp_path))
    stopping.end_process(TrainingStopped(3, tmp_path))
    assert called == ["failed", "copied", 130, 130]
