"""Lightning's Trainer on a latent store (pip install 'fae-pipe[frameworks]'); resumes with no batch lost or doubled.

python examples/lightning_trainer.py fae-runs/latents/mine-0123456789ab [CHECKPOINT]
"""

import sys

import lightning
import torch

from stores import Loader, open_store


class Latents(lightning.LightningDataModule):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def setup(self, stage: str) -> None:  # after the process group is there, which says this process's share
        self.train = Loader(open_store(self.path), batch_size=16).as_iterable_dataset()

    def train_dataloader(self) -> torch.utils.data.IterableDataset:
        return self.train

    def state_dict(self) -> dict:
        return self.train.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.train.load_state_dict(state)


class Denoiser(lightning.LightningModule):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = torch.nn.Linear(channels, channels)

    def training_step(self, batch: dict, _: int) -> torch.Tensor:
        x = batch["latents"].float()
        return (self.model(x + torch.randn_like(x)) - x).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters())


channels = open_store(sys.argv[1]).arrays["latents"].channels
trainer = lightning.Trainer(max_epochs=2, accelerator="auto", logger=False, enable_progress_bar=False)
checkpoint = sys.argv[2] if len(sys.argv) > 2 else None
trainer.fit(Denoiser(channels), datamodule=Latents(sys.argv[1]), ckpt_path=checkpoint, weights_only=False)
