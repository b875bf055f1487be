"""Adversarial training of the pixel decoder: hinge losses, LeCam, R1, and a weight that follows the gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from fae.losses.augment import POLICIES, diff_augment
from fae.losses.reconstruction import Losses
from fae.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class AdversarialConfig:
    """The paper has an adversarial loss and states nothing about it; every default names where it comes from."""

    weight: float = 0.75
    """Weight of the adversarial loss (RAE: 0.75 with `adaptive`; ml-starflow: 0.1 and TiTok: 0.01 without)."""
    adaptive: bool = True
    """Multiply the weight by ‖∇ reconstruction‖ / ‖∇ adversarial‖ at the decoder's last layer (VQGAN, RAE)."""
    start_step: int = 0
    """First step whose decoder loss has the adversarial part (RAE: half of the training; ml-starflow: 0)."""
    discriminator_start_step: int = 0
    """First step that trains the discriminator (RAE: three eighths of the training)."""
    lecam_weight: float = 1e-3
    """Weight of the LeCam regularizer; 0 = off (TiTok and ml-starflow: 1e-3)."""
    lecam_decay: float = 0.999
    """Decay of LeCam's averages of the logits (TiTok: 0.999)."""
    r1_weight: float = 0.0
    """γ of the R1 gradient penalty on real images; 0 = off."""
    augment: tuple[str, ...] = POLICIES
    """DiffAugment's policies (RAE: all); empty = none."""
    learning_rate: float = 1e-4
    """Of the discriminator's AdamW (TiTok: 1e-4)."""
    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        for name in ("weight", "start_step", "discriminator_start_step", "lecam_weight", "r1_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"adversarial {name}: expected a number of at least 0; received {getattr(self, name)}")
        if self.start_step < self.discriminator_start_step:
            raise ValueError(
                "adversarial start_step: expected at least discriminator_start_step = "
                f"{self.discriminator_start_step}, so that no untrained judge is followed; received {self.start_step}"
            )


def hinge_discriminator(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """½·(E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))]) of logits of any shape (Lim & Ye, arXiv 1705.02894)."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def lecam(real: torch.Tensor, fake: torch.Tensor, averages: torch.Tensor) -> torch.Tensor:
    """LeCam regularizer of logits, given the running means (real, fake) of earlier ones.

    Tseng et al., arXiv 2104.03310, eq. 6, with the one-sided differences of its released code, which TiTok shares.
    """
    return F.relu(real - averages[1]).square().mean() + F.relu(averages[0] - fake).square().mean()


def r1_penalty(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """½·E‖∇ D(real)‖² (Mescheder et al., arXiv 1801.04406, eq. 9), to be multiplied by γ."""
    images = images.detach().requires_grad_(True)
    # Only the plain attention kernel can be differentiated twice.
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(network(images).mean(dim=1).sum(), images, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()


def adaptive_weight(reconstruction: torch.Tensor, adversarial: torch.Tensor, last_weight: torch.Tensor) -> torch.Tensor:
    """‖∇ reconstruction‖ / (‖∇ adversarial‖ + 1e-6) at the decoder's last layer, at most 1e4.

    Esser et al., arXiv 2012.09841, eq. 7. Both graphs are kept for the backward pass that follows. In a process group
    the gradients are those of all ranks' images.
    """
    (wanted,) = torch.autograd.grad(reconstruction, last_weight, retain_graph=True)
    (given,) = torch.autograd.grad(adversarial, last_weight, retain_graph=True)
    _mean_over_ranks([wanted, given])
    out: torch.Tensor = (wanted.norm() / (given.norm() + 1e-6)).clamp(0, 1e4).detach()
    return out


def _mean_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the ranks; nothing to do in one process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    together = torch.cat([value.flatten() for value in tensors])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for value, mean in zip(tensors, together.split([value.numel() for value in tensors]), strict=True):
        value.copy_(mean.view(value.shape))


class Adversary:
    """A discriminator in training beside a decoder: its network, optimizer and LeCam averages.

    In a process group its gradients are averaged over the ranks, so that every rank keeps the same discriminator; the
    ranks must start from the same weights (one seed).

    Args:
        network: images (N, 3, H, W) in [-1, 1] -> logits (N, L); its frozen parameters stay as they are.
        config: weights, start steps and the optimizer's numbers.
    """

    def __init__(self, network: nn.Module, config: AdversarialConfig) -> None:
        self.network, self.config = network.train(), config
        self.trainable = [value for value in network.parameters() if value.requires_grad]
        self.optimizer = make_optimizer(network, config.learning_rate, config.beta1, config.beta2)
        # Running means of the logits of real and of decoded images.
        self.averages = torch.zeros(2, device=self.trainable[0].device)

    def losses(
        self,
        reconstruction: Losses,
        decoded: torch.Tensor,
        images: torch.Tensor,
        last_weight: torch.Tensor,
        step: int,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """Train the discriminator for one step, then add its judgement to the decoder's losses.

        Args:
            reconstruction: the decoder's losses, `loss` among them.
            decoded: the decoder's images (N, 3, H, W), with their graph.
            images: the real ones.
            last_weight: weight of the decoder's last layer, for the adaptive weight.
            step: of the decoder's training, from 0.
            generator: source of the augmentation's draws, on the images' device.

        Returns:
            The losses with `loss` replaced by the sum, and `adversarial`, `adversarial_weight`, `discriminator`,
            `logits_real`, `logits_fake`, and `lecam` and `r1` when they have a weight. Scalars; nothing waits for
            the device.
        """
        if step < self.config.discriminator_start_step:
            return reconstruction
        losses = {**reconstruction, **self._train(images, decoded.detach(), generator)}
        if step < self.config.start_step:
            return losses
        adversarial = -self._judge(decoded, generator).mean()
        weight = torch.full_like(adversarial, self.config.weight)
        if self.config.adaptive:
            weight = weight * adaptive_weight(losses["loss"], adversarial, last_weight)
        total = losses["loss"] + weight * adversarial
        return {**losses, "loss": total, "adversarial": adversarial, "adversarial_weight": weight}

    def _train(self, real: torch.Tensor, fake: torch.Tensor, generator: torch.Generator | None) -> Losses:
        both = diff_augment(torch.cat([real.to(fake), fake]), self.config.augment, generator)
        logits_real, logits_fake = self.network(both).float().chunk(2)  # (2·N, L) -> 2 × (N, L)
        hinge = hinge_discriminator(logits_real, logits_fake)
        facts = {"discriminator": hinge, "logits_real": logits_real.mean(), "logits_fake": logits_fake.mean()}
        total = hinge
        if self.config.lecam_weight:
            facts["lecam"] = lecam(logits_real, logits_fake, self.averages)
            total = total + self.config.lecam_weight * facts["lecam"]
        if self.config.r1_weight:
            facts["r1"] = r1_penalty(self.network, both[: len(real)])
            total = total + self.config.r1_weight * facts["r1"]
        gradients = torch.autograd.grad(total, self.trainable)
        now = torch.stack([facts["logits_real"], facts["logits_fake"]]).detach()
        _mean_over_ranks([*gradients, now])
        finite = torch.stack([now.isfinite().all(), *(gradient.isfinite().all() for gradient in gradients)]).all()
        self._optimizer_step(gradients, finite)
        self.averages.copy_(torch.where(finite, self.averages.lerp(now, 1 - self.config.lecam_decay), self.averages))
        return {name: value.detach() for name, value in facts.items()}

    def _optimizer_step(self, gradients: Sequence[torch.Tensor], finite: torch.Tensor) -> None:
        """A step of the discriminator that changes nothing where a gradient is not finite."""
        for value, gradient in zip(self.trainable, gradients, strict=True):
            value.grad = gradient
        # AdamW reads this as it would a gradient scaler's finding: 1 = change nothing.
        self.optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _judge(self, decoded: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Logits of decoded images, differentiable in these alone."""
        for value in self.trainable:
            value.requires_grad_(False)
        logits: torch.Tensor = self.network(diff_augment(decoded, self.config.augment, generator)).float()
        for value in self.trainable:
            value.requires_grad_(True)
        return logits

    def state_dict(self) -> Tensors:
        """All that goes on changing, as flat tensors: weights and buffers, optimizer, LeCam averages."""
        state = {f"network.{name}": value.detach() for name, value in self._network_state().items()}
        state |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        return {**state, "averages": self.averages}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go back to what `state_dict` gave.

        Raises:
            ValueError: the state is of another discriminator.
        """
        network = self._network_state()
        found = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        wrong = sorted(found.keys() ^ network.keys())
        wrong += [name for name in found.keys() & network.keys() if found[name].shape != network[name].shape]
        if wrong or "averages" not in state:
            raise ValueError(
                "discriminator: expected the state of this network; these differ: "
                f"{', '.join(wrong[:5]) or 'averages'}. The checkpoint is of another one; start a new run"
            )
        self.network.load_state_dict(found, strict=False)
        self.averages.copy_(state["averages"])
        moments = {name: value for name, value in state.items() if name.startswith("optimizer.")}
        load_optimizer_tensors(self.optimizer, {name.removeprefix("optimizer."): moments[name] for name in moments})

    def _network_state(self) -> Tensors:
        """The network's state without frozen weights, which are not this run's."""
        frozen = {name for name, value in self.network.named_parameters() if not value.requires_grad}
        return {name: value for name, value in self.network.state_dict().items() if name not in frozen}
