"""What happens around a model in a training step, on a GPU that is not there: nothing waits for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fae.images import to_float
from fae.losses.adversarial import hinge_discriminator, lecam
from fae.losses.augment import diff_augment
from fae.losses.discriminators import PatchGAN
from fae.losses.reconstruction import pixel_loss
from fae.nn.cpu import PASSES
from fae.optim import EMA, EMABank, make_optimizer
from fae.optim.optimizers import OPTIMIZERS
from fake_cuda import CUDA, assert_on_cuda, fake_cuda, on_cuda
from jobs.loop.finite import FiniteGuard
from jobs.runs.metrics_log import MetricsLog
from jobs.runs.training_speed import TrainingSpeed

N, T, D, HEADS = 2, 4, 8, 2


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizer_step_guard_averages_and_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ModuleList([nn.Linear(8, 4), nn.Linear(4, 8)]))
    with MetricsLog(tmp_path, 0, TrainingSpeed(2)) as log, fake_cuda(monkeypatch):
        on_cuda(model)
        optimizer, guard = make_optimizer(model, weight_decay=0.1, kind=kind), FiniteGuard(CUDA, 0)
        average, bank = EMA(model), EMABank(model, ("0.99", "power:0.1"))
        for step in (1, 2):
            losses = {"loss": torch.zeros((), device=CUDA), "other": torch.zeros((), device=CUDA)}
            for value in model.parameters():
                value.grad = torch.zeros_like(value)
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            skipped = guard.check(losses, norm, step)
            optimizer.found_inf = skipped  # type: ignore[attr-defined]
            optimizer.step()
            average.update(model, step)
            bank.update(model, step)
            log.add(losses, norm, skipped, 0.0)
        assert_on_cuda(norm, skipped, guard.count, guard.first, *log.sums.values())
        assert_on_cuda(*average.average.values(), *bank.state_dict().values(), dtype=torch.float32)
        states = [value for state in optimizer.state.values() for value in state.values()]
        assert_on_cuda(*states)
        with pytest.raises(torch._subclasses.fake_tensor.DataDependentOutputException):
            guard.verdict("here")  # the one place that waits
        log.sums.clear()


def test_a_read_and_a_tensor_left_behind_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cuda(monkeypatch):
        there = torch.zeros(3, device=CUDA)
        for read in (there.sum().item, there.any().__bool__, there.tolist):
            with pytest.raises(torch._subclasses.fake_tensor.DataDependentOutputException):
                read()
        with pytest.raises(AssertionError, match="to the host"):
            there.cpu()
        with pytest.raises(Exception, match="same device"):
            there + torch.ones(3)


def arguments(name: str, dtype: torch.dtype) -> list[Any]:
    def new(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=CUDA, dtype=dtype)

    made: dict[str, list[Any]] = {
        "rms_norm": [new(N, T, D), new(N, 1, D), new(N, 1, D)],
        "layer_norm": [new(N, T, D), new(N, 1, D), new(N, 1, D)],
        "gated_add": [new(N, T, D), new(N, 1, D), new(N, T, D)],
        "silu_gate": [new(N, T, 2 * D)],
        "rotated_heads": [new(N, T, 3 * D), torch.zeros(2, T, D, device=CUDA), HEADS],
        "unit_heads": [new(N, T, D), new(N, T + 1, D), new(D // HEADS), new(D // HEADS)],
    }
    return made[name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", PASSES)
def test_hand_written_passes_both_ways(monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype) -> None:
    class Context:
        def save_for_backward(self, *tensors: torch.Tensor) -> None:
            self.saved_tensors = tensors

    context, function = Context(), PASSES[name]
    with fake_cuda(monkeypatch), torch.no_grad():
        given = arguments(name, dtype)
        result = function.forward(context, *given)
        results = result if isinstance(result, tuple) else (result,)
        assert_on_cuda(*results, dtype=dtype)
        gradients = function.backward(context, *(torch.zeros_like(value) for value in results))
        wanted = [value for value in given if isinstance(value, torch.Tensor)]
        received = gradients if isinstance(gradients, tuple) else (gradients,)
        for value, gradient in zip(wanted, received, strict=False):
            if gradient is not None:
                assert_on_cuda(gradient)  # of float32 perhaps, which the engine rounds to the value's dtype
                assert gradient.shape == value.shape


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_losses_of_images_and_the_discriminator(monkeypatch: pytest.MonkeyPatch, bf16: bool) -> None:
    network = PatchGAN(width=8, layers=2)
    with fake_cuda(monkeypatch), torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
        on_cuda(network)
        images = to_float(torch.zeros(N, 32, 32, 3, dtype=torch.uint8, device=CUDA))
        assert_on_cuda(images, dtype=torch.float32)
        for kind in ("l1", "l2"):
            assert_on_cuda(*pixel_loss(images, images, kind).values(), dtype=torch.float32)
        real, fake = network(diff_augment(torch.cat([images, images]))).float().chunk(2)
        averages = torch.zeros(2, device=CUDA)
        assert_on_cuda(hinge_discriminator(real, fake), lecam(real, fake, averages), dtype=torch.float32)
