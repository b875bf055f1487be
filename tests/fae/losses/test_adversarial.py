import runpy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from fae.encoders.image_encoder import FrozenEncoder
from fae.losses.adversarial import AdversarialConfig, Adversary, adaptive_weight, hinge_discriminator, lecam, r1_penalty
from fae.losses.discriminators import PatchGAN, ViTDiscriminator


class TinyDecoder(nn.Module):
    """A decoder of one color for each of its inputs."""

    def __init__(self):
        super().__init__()
        self.final_layer = nn.Linear(2, 3)

    def forward(self, x):
        return self.final_layer(x)[:, :, None, None].expand(-1, 3, 16, 16)


class ColorJudge(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, images):
        return self.layers(images.mean(dim=(2, 3)))


def patchgan():
    torch.manual_seed(0)
    return PatchGAN(8, 2)


def vit_judge():
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, depth=2, embed_dim=32, num_heads=2)
    encoder = FrozenEncoder(model, layers=[1], norm="off", mean=(0.5,) * 3, std=(0.5,) * 3)
    return ViTDiscriminator(encoder, width=8, taps=2)


def step(adversary, number, decoder=None, seed=0):
    torch.manual_seed(seed)
    decoder = decoder or TinyDecoder()
    decoded = decoder(torch.randn(4, 2))
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    reconstruction = {"loss": (decoded - images).abs().mean()}
    losses = adversary.losses(
        reconstruction, decoded, images, decoder.final_layer.weight, number, torch.Generator().manual_seed(number)
    )
    return losses, decoder


def numbers(losses):
    return {name: float(value.detach()) for name, value in losses.items()}


def test_hinge_losses():
    sure, unsure = torch.tensor([2.0, 1.0]), torch.zeros(2)
    assert float(hinge_discriminator(sure, -sure)) == 0.0
    assert float(hinge_discriminator(unsure, unsure)) == 1.0
    assert float(hinge_discriminator(-sure, sure)) == pytest.approx(2.5)


def test_lecam_pulls_logits_towards_the_other_sides_average():
    averages = torch.tensor([1.0, -1.0])
    assert float(lecam(torch.tensor([-2.0]), torch.tensor([2.0]), averages)) == 0.0
    assert float(lecam(torch.tensor([2.0]), torch.tensor([-3.0]), averages)) == pytest.approx(9 + 16)


def test_r1_of_a_linear_judge_is_its_squared_weight():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, images):
            return (images * self.weight).sum(dim=(1, 2, 3))[:, None]

    judge = Linear()
    penalty = r1_penalty(judge, torch.randn(5, 3, 4, 4))
    torch.testing.assert_close(penalty, 0.5 * judge.weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(judge.weight.grad, judge.weight.detach())


@pytest.mark.parametrize("make", [patchgan, vit_judge])
def test_r1_can_be_differentiated_through_each_discriminator(make):
    network = make()
    r1_penalty(network, torch.randn(2, 3, 32, 32)).backward()
    assert any(float(value.grad.abs().max()) > 0 for value in network.parameters() if value.grad is not None)


def test_the_adaptive_weight_equalises_gradients_at_the_last_layer():
    weight = torch.randn(4, requires_grad=True)
    reconstruction, adversarial = (3 * weight).sum(), (0.5 * weight).sum()
    torch.testing.assert_close(adaptive_weight(reconstruction, adversarial, weight), torch.tensor(6.0))
    (reconstruction + adversarial).backward()
    torch.testing.assert_close(weight.grad, torch.full((4,), 3.5))


def test_the_adaptive_weight_is_bounded():
    weight = torch.randn(4, requires_grad=True)
    assert float(adaptive_weight(weight.sum(), 0 * weight.sum(), weight)) == 1e4


def test_parts_start_at_their_steps():
    adversary = Adversary(patchgan(), AdversarialConfig(discriminator_start_step=2, start_step=3))
    before = {name: value.clone() for name, value in adversary.network.state_dict().items()}
    assert set(step(adversary, 1)[0]) == {"loss"}
    assert all(torch.equal(value, before[name]) for name, value in adversary.network.state_dict().items())
    losses, _ = step(adversary, 2)
    assert "discriminator" in losses
    assert "adversarial" not in losses
    assert any(not torch.equal(value, before[name]) for name, value in adversary.network.state_dict().items())
    assert "adversarial" in step(adversary, 3)[0]


def test_the_loss_is_reconstruction_plus_weighted_judgement():
    adversary = Adversary(patchgan(), AdversarialConfig(weight=0.3, adaptive=False))
    decoder = TinyDecoder()
    losses, _ = step(adversary, 0, decoder)
    plain = step(Adversary(patchgan(), AdversarialConfig(discriminator_start_step=9, start_step=9)), 0, decoder)[0]
    torch.testing.assert_close(losses["loss"], plain["loss"] + 0.3 * losses["adversarial"])
    assert float(losses["adversarial_weight"].detach()) == pytest.approx(0.3)


def test_the_adaptive_weight_multiplies_the_weight():
    losses, decoder = step(Adversary(patchgan(), AdversarialConfig(weight=0.5)), 0)
    (of_adversarial,) = torch.autograd.grad(
        losses["adversarial_weight"] * losses["adversarial"], decoder.final_layer.weight, retain_graph=True
    )
    (of_all,) = torch.autograd.grad(losses["loss"], decoder.final_layer.weight)
    torch.testing.assert_close(of_adversarial.norm(), 0.5 * (of_all - of_adversarial).norm(), rtol=1e-3, atol=1e-6)


def test_each_side_gets_only_its_own_gradients():
    adversary = Adversary(patchgan(), AdversarialConfig(r1_weight=1.0))
    losses, decoder = step(adversary, 0)
    assert decoder.final_layer.weight.grad is None
    losses["loss"].backward()
    assert decoder.final_layer.weight.grad is not None
    assert all(value.grad is None for value in adversary.network.parameters())
    assert all(value.requires_grad for value in adversary.network.parameters())
    assert not losses["discriminator"].requires_grad
    assert {"lecam", "r1", "logits_real", "logits_fake"} <= losses.keys()


def test_the_discriminator_learns_to_tell_apart():
    adversary = Adversary(patchgan(), AdversarialConfig(learning_rate=2e-3, augment=()))
    first = step(adversary, 0)[0]["discriminator"]
    for number in range(1, 30):
        last = step(adversary, number, seed=number)[0]
    assert float(last["discriminator"].detach()) < 0.5 * float(first)
    assert float(last["logits_real"].detach()) > float(last["logits_fake"].detach()) + 0.5
    assert float(adversary.averages[0]) > float(adversary.averages[1])


def test_a_painter_follows_its_judge_to_the_real_color():
    torch.manual_seed(0)
    color = torch.tensor([0.5, -0.3, 0.1])
    decoder, adversary = (
        TinyDecoder(),
        Adversary(ColorJudge(), AdversarialConfig(1.0, False, augment=(), learning_rate=5e-3)),
    )
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3, betas=(0.5, 0.9))
    start = float((decoder.final_layer.bias.detach() - color).norm())
    for number in range(400):
        decoded = decoder(torch.zeros(16, 2))
        real = (color + 0.05 * torch.randn(16, 3))[:, :, None, None].expand(-1, 3, 16, 16)
        reconstruction = {"loss": 0 * decoded.sum()}
        losses = adversary.losses(reconstruction, decoded, real, decoder.final_layer.weight, number)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert float((decoder.final_layer.bias.detach() - color).norm()) < 0.3 * start


@pytest.mark.parametrize("make", [patchgan, vit_judge])
def test_a_resumed_discriminator_goes_on_bit_for_bit(make):
    straight, broken = (Adversary(make(), AdversarialConfig(learning_rate=1e-3)) for _ in range(2))
    for number in range(3):
        step(straight, number)
        step(broken, number)
    resumed = Adversary(make(), AdversarialConfig(learning_rate=1e-3))
    resumed.load_state_dict({name: value.clone() for name, value in broken.state_dict().items()})
    for number in range(3, 5):
        expected, _ = step(straight, number)
        found, _ = step(resumed, number)
        assert numbers(found) == numbers(expected)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_change_nothing_of_the_discriminator(value):
    adversary = Adversary(ColorJudge(), AdversarialConfig(r1_weight=1.0, augment=()))
    step(adversary, 0)
    before = {name: tensor.clone() for name, tensor in adversary.state_dict().items()}
    decoder = TinyDecoder()
    nn.init.constant_(decoder.final_layer.bias, value)
    losses, _ = step(adversary, 1, decoder)
    assert not losses["discriminator"].isfinite()
    after = adversary.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    step(adversary, 2)
    assert not torch.equal(adversary.state_dict()["averages"], before["averages"])


def test_frozen_weights_stay_out_of_the_state():
    adversary = Adversary(vit_judge(), AdversarialConfig())
    step(adversary, 0)
    names = adversary.state_dict().keys()
    assert not any("encoder" in name and "weight" in name for name in names)
    assert any(name.startswith("network.heads") for name in names)
    assert any(name.startswith("optimizer.") for name in names)


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match="discriminator: expected the state of this network"):
        Adversary(patchgan(), AdversarialConfig()).load_state_dict(
            Adversary(vit_judge(), AdversarialConfig()).state_dict()
        )


@pytest.mark.parametrize("make", [patchgan, vit_judge])
def test_half_precision_trains_too(make):
    adversary = Adversary(make(), AdversarialConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, decoder = step(adversary, 0)
    losses["loss"].backward()
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert losses["loss"].dtype == torch.float32
    assert decoder.final_layer.weight.grad is not None


def test_ranks_keep_one_discriminator(tmp_path, processes):
    script = Path(__file__).with_name("adversary_rank.py")
    ranks = [processes.start(script.read_text(), rank, tmp_path) for rank in range(2)]
    for process in ranks:
        assert process.wait() == 0, process.stderr
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    module = runpy.run_path(str(script))
    alone = module["judge"]()
    alone._train(*module["halves"](), None)
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"weight": -1.0}, {"lecam_weight": -1.0}, {"r1_weight": float("nan")}, {"discriminator_start_step": 5}]
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match="adversarial " + next(iter(wrong)).removeprefix("discriminator_")):
        AdversarialConfig(**wrong)
