"""Steps whose loss or gradient is not finite: skipped on the device, counted there, reported at the next log line."""

import math
from collections.abc import Mapping

import torch


class TrainingDiverged(RuntimeError):
    """More steps than allowed had a loss or gradient that is not finite; the weights are those before them."""


class FiniteGuard:
    """Watches losses and gradient norms without waiting for the device.

    The optimizer reads `found_inf`, as with a gradient scaler, so a bad step changes no weight.
    """

    def __init__(self, device: torch.device, allowed: int) -> None:
        self.allowed = allowed
        self.count = torch.zeros((), device=device)
        self.first = torch.full((), math.inf, device=device)

    def check(self, losses: Mapping[str, torch.Tensor], gradient_norm: torch.Tensor, step: int) -> torch.Tensor:
        """1.0 when step number `step` is to be left out, else 0.0, on the device.

        Every loss counts, also one that the model's own does not contain yet, as a discriminator's before its start.
        """
        good = torch.stack([value.detach().float() for value in (gradient_norm, *losses.values())]).isfinite().all()
        found = (~good).float()
        self.first = torch.where(good, self.first, torch.clamp(self.first, max=float(step)))
        self.count = self.count + found
        return found

    def verdict(self, where: str) -> int:
        """Steps left out so far; waits for the device.

        Raises:
            TrainingDiverged: more than allowed.
        """
        count = int(self.count)
        if count > self.allowed:
            raise TrainingDiverged(
                f"{where}: the loss or its gradient is not finite at step {int(self.first)} ({count} such steps, "
                f"{self.allowed} allowed); the checkpoints before it are kept. "
                "Try a lower --learning-rate, a lower --clip-norm, --precision fp32, or --skip-nan N"
            )
        return count

    def state_dict(self) -> dict[str, float | None]:
        """Count and first step as JSON values."""
        first = float(self.first)
        return {"count": float(self.count), "first": first if math.isfinite(first) else None}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Go on counting."""
        self.count.fill_(state["count"] or 0.0)
        self.first.fill_(math.inf if state["first"] is None else state["first"])
