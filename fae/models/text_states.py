"""What a text encoder left, on the scale that a generator wants."""

from torch import Tensor
from torch.nn import functional as F


def unit_states(states: Tensor, weight: Tensor) -> Tensor:
    """A text encoder's states (..., C) with unit mean square, in the dtype of `weight`; zeros stay zeros.

    Encoders leave states at very different scales (MiniLM's are small, T5's have outliers), and a model should not have
    to learn that first. Not stated in the paper.
    """
    return F.rms_norm(states.float(), states.shape[-1:], eps=1e-6).to(weight.dtype)
