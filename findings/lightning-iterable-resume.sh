#!/usr/bin/env bash
# A training that Lightning resumes in the middle of an epoch misses a batch when its data set has no length.
#
# Versions: lightning 2.6.6, torchdata 0.11.0, torch 2.14.1, Python 3.11.
# Use:      torchdata's StatefulDataLoader over an IterableDataset with `state_dict` and `load_state_dict`, as streaming
#           readers are; a checkpoint after 5 of 12 batches, and `Trainer.fit(..., ckpt_path=...)` from there.
# Expected: the resumed training sees batches 5 to 11, as it does over a data set with a length.
# Happens:  it sees 6 to 11. To know which batch is the last one, Lightning fetches a batch ahead where there is no
#           length, and the loader's state that it saves counts that batch as used. Nothing is said.
# Output seen:
#   data set with a length: resumed with batches 5 to 11
#   without a length: resumed with batches 6 to 11
# What helps: a loader with `__len__`, or one that tells the state of what was consumed and not of what was fetched.
#
# Ends with 0 while it is so, with 1 once no batch is lost, with 2 where the packages cannot be installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile torch==2.14.1 torchdata==0.11.0 lightning==2.6.6 || exit 2
cd "$work" && "$work/venv/bin/python" -W ignore - 2> /dev/null <<'PY'
import sys

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Dataset, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

BATCHES, SAVED_AFTER = 12, 5


class Sized(Dataset):
    def __len__(self):
        return BATCHES

    def __getitem__(self, number):
        return torch.tensor([float(number)])


class Streamed(IterableDataset):
    def __init__(self):
        self.next = 0

    def __iter__(self):
        while self.next < BATCHES:
            self.next += 1
            yield torch.tensor([self.next - 1.0])
        self.next = 0

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


class Recorder(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch):
        self.seen.append(int(batch))
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def seen(data, folder, **settings):
    """Numbers of the batches of a training of one epoch."""
    model = Recorder()
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=SAVED_AFTER, save_top_k=-1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, callbacks=[save], **quiet)
    trainer.fit(model, StatefulDataLoader(data, batch_size=1), **settings)
    return model.seen


resumed = {}
for name, make in (("data set with a length", Sized), ("without a length", Streamed)):
    assert seen(make(), make.__name__) == list(range(BATCHES))
    saved = f"{make.__name__}/step={SAVED_AFTER}.ckpt"
    resumed[name] = seen(make(), f"{make.__name__}-resumed", ckpt_path=saved, weights_only=False)
    print(f"{name}: resumed with batches {resumed[name][0]} to {resumed[name][-1]}")
sys.exit(0 if [batches[0] for batches in resumed.values()] == [SAVED_AFTER, SAVED_AFTER + 1] else 1)
PY
