"""Trainings on the device: the processor's losses, exact resume, no wait in a step, compilation, memory, ranks."""

import pytest
import torch
from torch import distributed

from fae.optim.optimizers import optimizer_tensors
from jobs.loop.parallel import Ranks

CPU = torch.device("cpu")
MODELS = ("lightning-dit", "dit", "starflow", "autoencoder", "pixel-decoder")


@pytest.mark.parametrize("model", MODELS)
def test_losses_are_the_processors(device, steps, training, model):
    found, expected = (
        torch.stack([step().cpu() for _ in range(steps)])
        for step in (training(model, device, "one")[1], training(model, CPU, "two")[1])
    )
    torch.testing.assert_close(found[:3], expected[:3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean(), expected.mean(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_is_exact(device, training, precision):
    trainer, step = training("lightning-dit", device, "whole", precision=precision)
    for _ in range(3):
        step()
    with trainer.writer() as writer:
        trainer.save(writer, {}, None)
    expected = [step().cpu() for _ in range(3)]
    again, step = training("lightning-dit", device, "whole", precision=precision)
    again.resume()
    assert again.step == 3
    assert [step().cpu() for _ in range(3)] == expected
    moments = optimizer_tensors(again.optimizer)
    assert all(torch.equal(value, moments[name]) for name, value in optimizer_tensors(trainer.optimizer).items())


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("model", MODELS)
def test_no_step_waits_for_the_device(device, training, model):
    _, step = training(model, device, precision="bf16")
    step()
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            step()  # waiting is an error now
        with pytest.raises(RuntimeError, match="synchronizing"):
            torch.ones(1, device=device).item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("on_gpu")
def test_compiled_steps_have_one_graph_and_are_compiled_once(device, training):
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    _, eager = training("lightning-dit", device, "eager", precision="bf16")
    _, step = training("lightning-dit", device, "compiled", precision="bf16", compile=True)
    torch.testing.assert_close(step(), eager(), rtol=2e-2, atol=2e-2)
    compiled = counters["stats"]["unique_graphs"]
    for _ in range(3):
        step()
    assert counters["stats"]["unique_graphs"] == compiled
    assert not counters["graph_break"]


@pytest.mark.usefixtures("on_gpu")
def test_states_take_the_memory_that_a_plan_counts(device, training):
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    trainer, step = training("lightning-dit", device)
    step()
    trained = sum(value.numel() for value in trainer.model.parameters() if value.requires_grad)
    held = torch.cuda.memory_allocated(device) - before
    assert held == pytest.approx(16 * trained, rel=0.2)  # weights, momenta, average: gradients are gone


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_group_of_one_rank_has_the_same_loss(device, training, tmp_path, parallel):
    alone = training("lightning-dit", device, "alone")[1]().cpu()
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        ranks = Ranks(0, 1, parallel)
        found = training("lightning-dit", device, parallel, ranks=ranks)[1]().cpu()
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)
