"""The training loop on a toy model: resumed equals undisturbed, divergence, rotation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_training import CONFIG, Crash, assert_same, crash_at, loss_function, result_of

from jobs.loop.finite import TrainingDiverged
from jobs.loop.train_loop import train
from jobs.loop.trainer import step_seed
from jobs.runs.checkpoint_listing import checkpoints, read_state, step_of
from jobs.runs.metrics_log import read_metrics
from jobs.runs.run_folder import RunFolder


@pytest.mark.parametrize("step", [1, 4, 5, 6, 9, 11])
def test_killed_at_any_step_and_run_again_equals_undisturbed(trainer_at, step):
    undisturbed = trainer_at("undisturbed")
    train(undisturbed, loss_function, lambda *_: None)
    killed = trainer_at("killed")
    with pytest.raises(Crash):
        train(killed, crash_at(step, killed), lambda *_: None)
    again = trainer_at("killed")
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))


def test_the_averaged_model_is_returned_in_eval_mode(trainer_at):
    trainer = trainer_at("average")
    averaged = train(trainer, loss_function, lambda *_: None).model
    assert not averaged.training
    for name, value in averaged.named_parameters():
        assert torch.equal(value, trainer.ema.state_dict()[name])
        assert not torch.equal(value, dict(trainer.model.named_parameters())[name])


def bad_loss_at(step, trainer):
    def bad(model, batch, generator):
        losses = loss_function(model, batch, generator)
        return {name: value * float("nan") if trainer.step == step else value for name, value in losses.items()}

    return bad


@pytest.mark.parametrize("step", [5, 7, 9])
def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(trainer_at, step):
    trainer = trainer_at("diverged")
    with pytest.raises(TrainingDiverged, match=r"loss.* is not finite at step \d+.*--learning-rate"):
        train(trainer, bad_loss_at(step, trainer), lambda *_: None)
    assert [path.name for path in checkpoints(trainer.run.path / "checkpoints")] == ["step-00000005"]
    undisturbed = trainer_at("undisturbed")
    train(undisturbed, loss_function, lambda *_: None)
    again = trainer_at("diverged")
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))


def test_weights_spoilt_by_a_gradient_are_not_saved(trainer_at):
    trainer = trainer_at("gradient", log_every=100)

    def bad(model, batch, generator):
        loss = loss_function(model, batch, generator)["loss"]
        if trainer.step == 9:  # finite, but its gradient is not: the derivative of sqrt at 0
            loss = loss + (model.layers[0].bias[0] * 0).square().sqrt()
        return {"loss": loss}

    with pytest.raises(TrainingDiverged, match="the loss or its gradient is not finite at step 10"):
        train(trainer, bad, lambda *_: None)
    assert [path.name for path in checkpoints(trainer.run.path / "checkpoints")] == ["step-00000005"]


def test_the_record_says_on_what_and_how_the_weights_are_computed(trainer_at, monkeypatch):
    seen = []

    def looking(model, batch, generator):
        seen.append(torch.get_float32_matmul_precision())
        return loss_function(model, batch, generator)

    trainer = trainer_at("recorded", steps=1)
    trainer.tf32 = True  # as on CUDA
    train(trainer, looking, lambda *_: None)
    expected = {"device": "cpu", "dtype": "float32", "tf32": True, "compile": False}
    assert RunFolder.open(trainer.run.path).record.arithmetic == expected
    assert (seen, torch.get_float32_matmul_precision()) == (["high"], "highest")


def test_only_the_newest_checkpoints_are_kept(trainer_at):
    trainer = trainer_at("many", save_every=2, keep=3)
    train(trainer, loss_function, lambda *_: None)
    names = [path.name for path in checkpoints(trainer.run.path / "checkpoints")]
    assert names == ["step-00000008", "step-00000010", "step-00000012"]


def test_progress_and_previews_come_at_their_steps(trainer_at):
    trainer, reported, shown = trainer_at("watched", preview_every=5), [], []
    train(trainer, loss_function, lambda *call: reported.append(call), lambda model, step: shown.append(step))
    assert [done for done, total, _ in reported if total == 12] == [*range(6), 5, 5, *range(6, 11), 10, 10, 11, 12, 12]
    logged = {done: facts for done, _, facts in reported if "loss" in facts}
    assert list(logged) == [4, 8, 12]
    assert logged[12].keys() == {"loss", "twice", "gradient_norm", "wait_share"}
    phases = [(done, facts["phase"]) for done, _, facts in reported if facts.get("phase")]
    assert phases == [(5, "preview"), (10, "preview"), (12, "saving the model")]
    assert shown == [5, 10]


def test_the_first_step_of_a_compiled_training_is_said_to_compile(trainer_at):
    reported = []
    train(trainer_at("compiled", steps=2, compile=True), loss_function, lambda *facts: reported.append(facts))
    phases = [(done, facts["phase"]) for done, _, facts in reported if "phase" in facts]
    assert phases == [(0, None), (0, "compiling"), (1, None), (2, None), (2, "saving the model")]


def test_a_finished_run_is_not_trained_again(trainer_at):
    train(trainer_at("done"), loss_function, lambda *_: None)

    def refuse(model, batch, generator):
        raise AssertionError("a step was made")

    train(trainer_at("done"), refuse, lambda *_: None)


def test_a_checkpoint_of_another_order_is_refused(trainer_at):
    trainer = trainer_at("order", save_every=3)
    with pytest.raises(Crash):
        train(trainer, crash_at(4, trainer), lambda *_: None)
    with pytest.raises(ValueError, match=r"loader state.*batch_size"):
        train(trainer_at("order", batch_size=5), loss_function, lambda *_: None)


STEP_SEEDS = {
    (0, 0): 2902805962516761537,
    (0, 1): 2794019225575547101,
    (1, 0): 4260358641028961620,
    (7, 12345): 8053511900708813977,
    (2**63, 10**7): 8036443921341160960,
}


def test_step_seeds_never_change_between_releases():
    assert {pair: step_seed(*pair) for pair in STEP_SEEDS} == STEP_SEEDS


def test_step_seeds_of_usual_seeds_and_steps_differ():
    assert len({step_seed(seed, step) for seed in range(20) for step in range(500)}) == 10_000


@given(st.integers(0, 2**63), st.integers(0, 10**7))
def test_step_seeds_fit_a_generator(seed, step):
    torch.Generator().manual_seed(step_seed(seed, step))
    assert step_seed(seed, step) < 2**63


@pytest.mark.parametrize("parts", [2, 4])
def test_gradients_added_up_part_by_part_make_the_same_update(trainer_at, parts):
    whole, cut = trainer_at("whole"), trainer_at("cut", accumulate=parts)
    train(whole, loss_function, lambda *_: None)
    train(cut, loss_function, lambda *_: None)
    (expected, metrics, position), (found, lines, at) = result_of(whole), result_of(cut)
    assert position == at
    for name, value in expected.items():
        # Sums of at most 12 numbers in another order, carried through 12 steps of float32.
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in metrics], rel=1e-5)


def test_a_checkpoint_knows_the_rows_seen_and_the_newest_loss(trainer_at):
    trainer = trainer_at("facts", keep_best=1, keep=1, save_every=4)
    train(trainer, loss_function, lambda *_: None)
    found = checkpoints(trainer.run.path / "checkpoints")
    losses = {line["step"]: line["loss"] for line in read_metrics(trainer.run.path / "metrics.jsonl")}
    best = min(losses, key=losses.__getitem__)
    assert {step_of(path) for path in found} == {best, 12}
    for path in found:
        state = read_state(path)
        assert state["rows_seen"] == step_of(path) * CONFIG.batch_size
        assert state["loss"] == losses[step_of(path)]


def test_a_checkpoint_that_cannot_be_written_ends_the_run(trainer_at, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobs.runs.checkpoint.save_file", full)
    trainer = trainer_at("full")
    with pytest.raises(OSError, match="No space left"):
        train(trainer, loss_function, lambda *_: None)
    monkeypatch.undo()
    undisturbed, again = trainer_at("undisturbed"), trainer_at("full")
    train(undisturbed, loss_function, lambda *_: None)
    train(again, loss_function, lambda *_: None)
    assert_same(result_of(again), result_of(undisturbed))
