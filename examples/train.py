"""A whole trainer on a latent store: a class-conditional flow that goes on where it was stopped.

    python examples/train.py fae-runs/latents/mine-0123456789ab --steps 10000

Given again after an interruption it trains the same weights as without one. The rows are those of the split "train".
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from stores import Loader, open_store


class Velocity(nn.Module):
    """A transformer over tokens (B, h, w, C); time and class are added to each."""

    def __init__(self, grid: int, channels: int, classes: int, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        self.x_embedder, self.final_layer = nn.Linear(channels, width), nn.Linear(width, channels)
        self.t_embedder, self.y_embedder = nn.Linear(1, width), nn.Embedding(classes, width)
        self.positions = nn.Parameter(torch.randn(grid, width) / width**0.5)
        block = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        tokens = self.x_embedder(x.flatten(1, 2)) + self.positions  # (B, h, w, C) -> (B, h*w, width)
        tokens = tokens + (self.t_embedder(t[:, None]) + self.y_embedder(y))[:, None]
        return self.final_layer(self.blocks(tokens)).view_as(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--checkpoint", type=Path, default=Path("flow.pt"))
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"

    store = open_store(options.store)
    loader = Loader(store, batch_size=options.batch_size, seed=0, device=device)
    mean, std = loader.mean_std("latents")
    height, width, channels = store.arrays["latents"].row_shape
    torch.manual_seed(0)
    model = Velocity(height * width, channels, int(store.labels.max()) + 1).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)

    first = 0
    if options.checkpoint.exists():
        saved = torch.load(options.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first = saved["step"]
    for step, batch in zip(range(first + 1, options.steps + 1), loader, strict=False):
        torch.manual_seed(step)  # noise is a function of the step, so that a resumed run draws the same
        x = (batch["latents"].float() - mean) / std
        noise, t = torch.randn_like(x), torch.rand(len(x), device=device)
        loss = (model(torch.lerp(x, noise, t[:, None, None, None]), t, batch["label"]) - (noise - x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % options.save_every == 0 or step == options.steps:
            print(f"step {step}: loss {loss.item():.4f}")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "loader": loader.state_dict(), "step": step}, f"{options.checkpoint}.new")
            Path(f"{options.checkpoint}.new").replace(options.checkpoint)


if __name__ == "__main__":
    main()
