"""Lightning's Trainer drives a loader: three epochs with resumes are the plain loader's order, and end."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stores import EpochDataset, Loader, Store

lightning = pytest.importorskip("lightning", reason="lightning is not installed (pip install 'fae-pipe[frameworks]')")

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning says of this machine
Place = tuple[int, int, tuple[int, ...]]


class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
    """One weight; remembers the place of each batch, and where it validated."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[Place] = []
        self.validated: list[tuple[int, int]] = []

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        self.seen.append((int(batch["epoch"][0]), int(batch["step"][0]), tuple(batch["row"].tolist())))
        return (self.weight * batch["latents"].float().mean()).sum()

    def validation_step(self, batch: dict[str, torch.Tensor], _: int) -> None:
        self.validated += [(len(self.seen), row) for row in batch["row"].tolist()]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


class Data(lightning.LightningDataModule):  # type: ignore[name-defined, misc]
    """As docs/loader.md has it."""

    def __init__(self, make: Callable[[], EpochDataset]) -> None:
        super().__init__()
        self.make = make

    def setup(self, stage: str) -> None:
        self.dataset = self.make()

    def train_dataloader(self) -> EpochDataset:
        return self.dataset

    def val_dataloader(self) -> EpochDataset:
        (store,) = self.dataset.loader.stores
        loader = Loader(store, batch_size=2, split="val", shuffle=False, drop_last=False)
        return loader.as_iterable_dataset(epoch=0)

    def state_dict(self) -> dict[str, Any]:
        return self.dataset.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dataset.load_state_dict(state)


class Interrupt(lightning.pytorch.callbacks.Callback):  # type: ignore[name-defined, misc]
    """Saves a checkpoint after so many batches, and stops as Ctrl-C does."""

    def __init__(self, stop: int, file: Path) -> None:
        self.stop, self.file = stop, file

    def on_train_batch_end(self, trainer: Any, module: Module, *_: Any) -> None:
        if trainer.global_step == self.stop:
            trainer.save_checkpoint(self.file)
            raise KeyboardInterrupt


def fit(data: Callable[[], Any], folder: Path, stops: list[int]) -> Module:
    """Three epochs, interrupted after so many batches of all and resumed from the checkpoint."""
    module, checkpoint = Module(), None
    for stop in [*stops, -1]:
        file = folder / f"{stop}.ckpt"
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Interrupt(stop, file)],
            default_root_dir=folder,
        )
        source = data()
        how = {"datamodule" if isinstance(source, Data) else "train_dataloaders": source}
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            trainer.fit(module, **how, ckpt_path=checkpoint, weights_only=False)
        assert stop in (-1, trainer.global_step)
        checkpoint = file
    assert trainer.current_epoch == 3
    return module


@pytest.mark.parametrize("stops", [[], [3, 10, 11, 17, 29]])
def test_three_epochs_and_five_resumes_lose_and_double_nothing(
    dataset_of: Any, latents: Store, plain: list[Place], tmp_path: Path, stops: list[int]
) -> None:
    module = fit(lambda: Data(dataset_of), tmp_path, stops)
    assert module.seen == plain[:30]
    for done in () if stops else (10, 20, 30):
        assert [row for seen, row in module.validated if seen == done] == latents.rows("val").tolist()


def test_the_dataset_alone_is_resumed_by_lightning(dataset_of: Any, plain: list[Place], tmp_path: Path) -> None:
    assert fit(dataset_of, tmp_path, [4, 14]).seen == plain[:30]
