"""What a model costs: parameters, arithmetic, and the memory of a GPU that trains it."""

from dataclasses import dataclass

# Bytes a parameter in training: float32 weights, gradients, AdamW's two momenta and average.
WEIGHT, GRADIENT, MOMENTA, AVERAGE = 4, 4, 8, 4
# DDP's buckets of gradients, and the bf16 copies that autocast makes of weights and the backward pass holds on to.
BUCKETS, COPIES = 4, 2


@dataclass(frozen=True)
class Cost:
    """A model's parameters, and the floating-point operations of a forward pass over one image.

    `largest_block` counts the parameters of the largest part that FSDP gathers at once (`jobs.loop.parallel.shard`),
    `muon_parameters` those with one momentum instead of AdamW's two, `averages` how many there are of the weights.
    """

    parameters: int
    flops: int
    largest_block: int
    muon_parameters: int = 0
    averages: int = 1

    @property
    def state_bytes(self) -> int:
        """Weights, gradients, momenta and averages: 20 bytes a parameter with AdamW and one average."""
        per_parameter = WEIGHT + GRADIENT + MOMENTA + AVERAGE * self.averages
        return self.parameters * per_parameter - self.muon_parameters * MOMENTA // 2

    def ddp_bytes(self, gpus: int) -> int:
        """What a GPU holds while all train the whole model, without activations: 26 bytes a parameter, 22 alone."""
        buckets = BUCKETS if gpus > 1 else 0
        return self.state_bytes + self.parameters * (buckets + COPIES)

    def fsdp_bytes(self, gpus: int) -> int:
        """What a GPU holds while each trains a part of every block, without activations.

        Its part of the state; all bf16 copies, which the backward pass holds on to; and the largest block's
        weights and gradients, gathered. ZeRO's stage 3 (arXiv 1910.02054, section 5.3) with autocast.
        """
        own = -(-self.state_bytes // gpus)
        return own + self.parameters * COPIES + self.largest_block * (WEIGHT + GRADIENT)
