"""One of two ranks that train a discriminator; run by test_adversarial.py as `adversary_rank.py RANK FOLDER`."""

import sys

import torch
from safetensors.torch import save_file
from torch import distributed, nn

from fae.losses.adversarial import AdversarialConfig, Adversary


def judge() -> Adversary:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 2))
    return Adversary(network, AdversarialConfig(augment=()))


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """Real and painted images; each rank has two of the four."""
    draws = torch.Generator().manual_seed(5)
    return torch.randn(4, 3, 4, 4, generator=draws), torch.randn(4, 3, 4, 4, generator=draws)


def main(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    adversary = judge()
    mine = slice(2 * rank, 2 * rank + 2)
    adversary._train(*(images[mine] for images in halves()), None)
    save_file(adversary.state_dict(), f"{folder}/{rank}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
