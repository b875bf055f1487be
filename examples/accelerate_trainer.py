"""accelerate on a latent store (pip install 'fae-pipe[frameworks]'), on one process or with `accelerate launch`.

python examples/accelerate_trainer.py fae-runs/latents/mine-0123456789ab STATE_FOLDER
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from stores import Loader, open_store

accelerator = Accelerator(gradient_accumulation_steps=2)
store, folder = open_store(sys.argv[1]), Path(sys.argv[2])
# Made after the Accelerator, the loader knows this process's share of each batch, and needs no prepare.
loader = Loader(store, batch_size=16, device=accelerator.device)
dataset, (mean, std) = loader.as_iterable_dataset(), loader.mean_std("latents")
model = torch.nn.Linear(len(mean), len(mean))
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
accelerator.register_for_checkpointing(dataset)
if folder.exists():
    accelerator.load_state(str(folder))
while dataset.state_dict()["epoch"] < 2:
    for batch in dataset:
        with accelerator.accumulate(model):
            x = (batch["latents"].float() - mean) / std
            loss = (model(x + torch.randn_like(x)) - x).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    accelerator.save_state(str(folder))
    accelerator.print(f"{dataset.state_dict()['epoch']} epochs: loss {loss.item():.4f}")
