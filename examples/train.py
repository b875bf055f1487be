"""A whole trainer: a flow on latents, with resume, averaged weights, samples: train.py STORE STEPS BATCH_SIZE FILE."""

import os
import sys

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fae.models.lightning_dit import LightningDiT  # any network of (x, t, label) will do
from stores import Loader, open_store

store, steps, batch_size, file = open_store(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
device = "cuda" if torch.cuda.is_available() else "cpu"
loader = Loader(store, batch_size=batch_size, seed=0, device=device)  # endless, of the split "train"
(mean, std), (height, width, channels) = loader.mean_std("latents"), store.arrays["latents"].row_shape
classes = int(store.labels.max()) + 1
torch.manual_seed(0)
model = LightningDiT(channels, (height, width), classes, hidden_size=256, depth=6, num_heads=4).to(device)
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
parts = {"model": model, "average": average, "optimizer": optimizer, "loader": loader}
first, saved = torch.load(file, map_location=device, weights_only=True) if os.path.exists(file) else (1, {})
for name, state in saved.items():
    parts[name].load_state_dict(state)
for step, batch in zip(range(first, steps + 1), loader, strict=False):
    torch.manual_seed(step)  # noise is a function of the step, so that a resumed run draws the same
    x = (batch["latents"].float() - mean) / std
    noise, t = torch.randn_like(x), torch.rand(batch_size, device=device)  # t = 1: noise alone
    loss = (model(torch.lerp(x, noise, t[:, None, None, None]), t, batch["label"]) - (noise - x)).square().mean()
    model.zero_grad(), loss.backward(), optimizer.step(), average.update_parameters(model)
    if step % 1000 == 0 or step == steps:
        print(f"step {step}: loss {loss.item():.4f}")
        torch.save((step + 1, {name: part.state_dict() for name, part in parts.items()}), f"{file}.new")
        os.replace(f"{file}.new", file)
torch.manual_seed(0)
x, labels = torch.randn(16, height, width, channels, device=device), torch.arange(16, device=device) % classes
for number in range(50):  # Euler's steps from noise to latents
    t = torch.full((16,), 1 - number / 50, device=device)
    x -= average.module(x, t, labels).detach() / 50
torch.save(x * std + mean, f"{file}.samples")
