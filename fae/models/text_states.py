"""States of a text encoder on the scale of a generator's inputs."""

from torch import Tensor
from torch.nn import functional as F


def unit_states(states: Tensor, weight: Tensor) -> Tensor:
    """A text encoder's states (..., C) with unit mean square, in the dtype of `weight`; zeros stay zeros.

    The states of encoders have very different scales (MiniLM's are small, T5's have outliers), which a model would have
    to learn first. Not stated in the paper.
    """
    return F.rms_norm(states.float(), states.shape[-1:], eps=1e-6).to(weight.dtype)
