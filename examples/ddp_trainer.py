"""DistributedDataParallel on a latent store, a process for each GPU (or for each of some cores, by gloo):

    torchrun --nproc-per-node 2 examples/ddp_trainer.py fae-runs/latents/mine-0123456789ab CHECKPOINT STEPS

Batches are the same on any number of processes, and so is the position in the checkpoint: go on with more or fewer.
"""

import os
import sys
from itertools import islice
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from stores import Loader, open_store

path, checkpoint, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
on_gpu = torch.cuda.is_available()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
distributed.init_process_group("nccl" if on_gpu else "gloo")
# Made after the process group, the loader gives this process its share of each batch of 32 rows.
loader = Loader(open_store(path), batch_size=32, seed=0, device=device)
mean, std = loader.mean_std("latents")
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(len(mean), len(mean)).to(device))
optimizer, first = torch.optim.SGD(model.parameters(), lr=0.1), 0
if checkpoint.exists():
    saved = torch.load(checkpoint, map_location=device, weights_only=True)
    model.module.load_state_dict(saved["model"])
    loader.load_state_dict(saved["loader"])
    first = saved["step"]
for batch in islice(loader, max(0, steps - first)):
    x = (batch["latents"].float() - mean) / std
    loss = (model(x) - x.flip(-1)).square().mean()  # the mean over this process's rows; DDP means the gradients
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
if distributed.get_rank() == 0 and first < steps:
    state = {"model": model.module.state_dict(), "loader": loader.state_dict(), "step": steps}
    torch.save(state, f"{checkpoint}.new")
    Path(f"{checkpoint}.new").replace(checkpoint)
    print(f"step {steps} on {distributed.get_world_size()} processes: loss {loss.item():.4f}")
distributed.destroy_process_group()
