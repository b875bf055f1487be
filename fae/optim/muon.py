"""Muon for the matrices of a model's blocks and AdamW for all other parameters, as one optimizer."""

from typing import Any

import torch
from torch import nn

# Keller Jordan's constants (torch's defaults), and the step scaled to AdamW's root mean square, 0.2·√max(out, in), so
# that both have one learning rate and one weight decay (Liu et al., arXiv 2502.16982, section 2.2).
MUON_RULES: dict[str, Any] = {"momentum": 0.95, "nesterov": True, "ns_steps": 5, "adjust_lr_fn": "match_rms_adamw"}


def block_matrices(model: nn.Module, trainable: bool = True) -> list[nn.Parameter]:
    """Weights (out, in) of the linear layers inside the model's lists of blocks, each once.

    Embeddings, the first and last layers, norms and biases are none of them.

    Args:
        model: with its blocks in lists.
        trainable: leave out weights that have no gradient.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    linears = [module for blocks in lists for module in blocks.modules() if isinstance(module, nn.Linear)]
    weights: list[Any] = [linear.weight for linear in linears if linear.weight.requires_grad or not trainable]
    return list({id(weight): weight for weight in weights}.values())


class MuonWithAdamW(torch.optim.Optimizer):
    """`torch.optim.Muon` of some matrices and an AdamW of the rest, with one list of groups and one state.

    A step with `found_inf` 1 changes nothing. torch's Muon does not know it: its step of a matrix is taken back on the
    device, so that nothing waits.
    """

    found_inf: torch.Tensor | None = None

    def __init__(self, matrices: list[nn.Parameter], adamw: torch.optim.AdamW, weight_decay: float) -> None:
        rate = float(adamw.param_groups[0]["lr"])
        self.muon = torch.optim.Muon(matrices, lr=rate, weight_decay=weight_decay, **MUON_RULES)
        self.adamw = adamw
        # Groups are taken over as the objects that they are: a rate that is set in one is set for its optimizer.
        super().__init__([*self.muon.param_groups, *adamw.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both, unless `found_inf` is 1.

        Raises:
            ValueError: a closure, which none of the trainings has.
        """
        if closure is not None:
            raise ValueError("closure: expected none; compute the gradients before the step")
        if self.found_inf is None:
            self.muon.step()
        else:
            self._muon_step_unless(self.found_inf.bool())
        self.adamw.found_inf = self.found_inf  # type: ignore[attr-defined]
        self.adamw.step()

    def _muon_step_unless(self, skipped: torch.Tensor) -> None:
        """Muon's step, one matrix after the other, whose old value and momentum come back where `skipped` is true."""
        groups = self.muon.param_groups
        for group in groups:
            for matrix in (one for one in group["params"] if one.grad is not None):
                momentum = self.state[matrix].get("momentum_buffer", torch.zeros_like(matrix))
                before = matrix.clone(), momentum.clone()
                self.muon.param_groups = [{**group, "params": [matrix]}]
                self.muon.step()
                for value, old in zip((matrix, self.state[matrix]["momentum_buffer"]), before, strict=True):
                    value.copy_(torch.where(skipped, old, value))
        self.muon.param_groups = groups

    def load_state_dict(self, state_dict: Any) -> None:
        """Take the state of both."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both work on this optimizer's groups and state."""
        count = len(self.muon.param_groups)
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:count], self.param_groups[count:]
        self.muon.state = self.adamw.state = self.state
