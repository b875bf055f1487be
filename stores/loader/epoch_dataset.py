"""A loader as torch's DataLoader, Lightning and accelerate iterate data: an epoch at a time, with an exact state."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from stores.loader.batch_sampler import check_position, saved_position
from stores.loader.options import check_integer
from stores.loader.transfer import Batch, EpochBatches

# DataLoader's workers that may share a dataset.
MAX_WORKERS = 1024
# Of an int64, which is written at once: a seed's last bits and a one, and a count.
_KEY_BITS, _COUNT_BITS = 38, 24


class EpochLoader(ABC):
    """What all loaders are: batches by (epoch, step), from a position on that can be saved."""

    _position = (0, 0)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where batches are delivered."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""

    @abstractmethod
    def renew(self) -> None:
        """Drop buffers and locks, which a forked process cannot share with its parent."""

    @abstractmethod
    def order_facts(self) -> dict[str, Any]:
        """What the order of batches depends on; JSON values."""

    @abstractmethod
    def _batches(self, epoch: int, step: int, endless: bool = True, stride: int = 1) -> Generator[Batch, None, None]:
        """Batches from there on: each `stride`-th to the end of the epoch, or all without end."""

    @property
    def position(self) -> tuple[int, int]:
        """Epoch and step of the batch that comes next."""
        return self._position

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches from the current position on, epoch after epoch."""
        return self._batches(*self.position)

    def epoch(self, epoch: int, step: int = 0, stride: int = 1) -> EpochBatches:
        """The batches of one epoch, from `step` on, or each `stride`-th of them; its `len` is how many are left.

        Raises:
            ValueError: a step after the epoch's end, a number below 0.
        """
        check_position(epoch, step, stride, self.steps_per_epoch)
        batches = self._batches(epoch, step, endless=False, stride=stride)
        return EpochBatches(batches, len(range(step, self.steps_per_epoch, stride)))

    def as_iterable_dataset(self, epoch: int | None = None) -> "EpochDataset":
        """This loader for torch's DataLoader, Lightning and accelerate; of one `epoch` again and again, or of all."""
        return EpochDataset(self, epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what the order depends on; JSON values."""
        return self.state_at(*self.position)

    def state_at(self, epoch: int, step: int) -> dict[str, Any]:
        """The state of a loader that goes on there."""
        return {"epoch": epoch, "step": step, "order": self.order_facts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once.

        Raises:
            ValueError: no state, or one of another order (other stores, rows, seed or batch size).
        """
        self._position = self.position_of(state)

    def position_of(self, state: dict[str, Any]) -> tuple[int, int]:
        """Epoch and step of a saved state; errors as of `load_state_dict`."""
        return saved_position(state, self.order_facts(), self.steps_per_epoch)


class EpochDataset(IterableDataset[Batch]):
    """An epoch of a loader's batches each time it is iterated; the loader's own position is where it goes on.

    An iteration gives the rest of the current epoch, from the position on; the next one gives the epoch after it. `len`
    is the number of batches of a whole epoch. A batch has, beside what the loader delivers, "epoch" and "step" int64
    (B,): its place. Batches are whole: give `batch_size=None` to a DataLoader.

    Workers of a DataLoader share the batches among them in the loader's order, and rows in memory, which are shared,
    not copied. They cannot know what was taken of what they prefetched: each iteration of the DataLoader is then a
    whole epoch, but for the first one after `load_state_dict`.

    Args:
        loader: where batches come from.
        epoch: every iteration is the whole of this epoch, as a validation wants it.
    """

    def __init__(self, loader: EpochLoader, epoch: int | None = None) -> None:
        if epoch is not None:
            check_integer("epoch", epoch, 0)
        self.loader, self.epoch = loader, epoch
        # By worker: the seed of its DataLoader's iteration, and which iteration that is, counted from the position on.
        self._iterations = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()
        # The position from which iterations are counted.
        self._start = torch.tensor(loader.position).share_memory_()
        self._is_in_worker = False

    def __len__(self) -> int:
        return self.loader.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self._batches(*(self.loader.position if self.epoch is None else (self.epoch, 0)))
        if self.loader.device.type != "cpu":
            raise ValueError(
                f"num_workers: expected 0 for a loader on {self.loader.device}, whose own thread prefetches; "
                f"received {worker.num_workers}"
            )
        if worker.num_workers > MAX_WORKERS:
            raise ValueError(f"num_workers: expected at most {MAX_WORKERS}; received {worker.num_workers}")
        if self.epoch is None and not self._is_in_worker and self.loader.position != tuple(self._start.tolist()):
            raise ValueError(
                f"loader: expected it at the position of this dataset, {tuple(self._start.tolist())}; received "
                f"{self.loader.position}; load states by the dataset when a DataLoader has workers"
            )
        self._is_in_worker = True
        self.loader.renew()
        epoch, step = self._position(self._iteration(worker.id, worker.seed - worker.id))
        return self._batches(epoch, step + worker.id, worker.num_workers)

    def state_dict(self, batch: Batch | None = None) -> dict[str, Any]:
        """The position after a batch, or after the last one that was handed out.

        A DataLoader with workers, and accelerate's, fetch batches before they are asked for them: give the last batch
        that was trained on.

        Raises:
            ValueError: no batch where workers iterate, an empty one, or batches that a DataLoader put together anew.
        """
        if batch is None:
            if self._iterations.any():
                raise ValueError(
                    "batch: expected the last one that was trained on, since a DataLoader's workers read ahead; "
                    "received none"
                )
            return self.loader.state_at(*self.loader.position)
        if batch["step"].ndim != 1:
            raise ValueError(
                f"batch: expected one as the loader made it, step (B,); received {tuple(batch['step'].shape)}; "
                "give DataLoader batch_size=None"
            )
        if not len(batch["step"]):
            raise ValueError("batch: expected one that has rows; received an empty one")
        return self.loader.state_at(*self._after(int(batch["epoch"][0]), int(batch["step"][0])))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position, at once; a DataLoader does with its next iteration.

        Raises:
            ValueError: the state is of another order.
        """
        self.loader.load_state_dict(state)
        self._start[:] = torch.tensor(self.loader.position)
        self._iterations.zero_()

    def _batches(self, epoch: int, step: int, stride: int = 1) -> Iterator[Batch]:
        """The batches of an epoch, or each `stride`-th: DataLoader takes one of each worker in turn."""
        step = min(step, len(self))  # there may be more workers than batches
        for number, batch in enumerate(self.loader.epoch(epoch, step, stride)):
            yield _with_place(batch, epoch, step + number * stride)

    def _position(self, iteration: int) -> tuple[int, int]:
        """Where an iteration of a DataLoader's workers begins."""
        if self.epoch is not None:
            return self.epoch, 0
        epoch, step = self._start.tolist()
        return (epoch, step) if iteration == 1 else (epoch + iteration - 1, 0)

    def _iteration(self, number: int, seed: int) -> int:
        """Which iteration of the DataLoader this is, counted from 1 on; all of its workers find the same.

        An iteration's workers have one seed in common. The first to come finds nobody with it, and one more than the
        highest count of earlier iterations, whose workers have all ended; so does any other that comes as early. A
        worker that finds the seed to be its own last one, since it persists or since torch was seeded anew, counts on.
        """
        key, mask = seed & ((1 << _KEY_BITS) - 1) | 1 << _KEY_BITS, (1 << _COUNT_BITS) - 1
        found = self._iterations.clone()
        keys, counts = found >> _COUNT_BITS, found & mask
        if keys[number] == key:
            iteration = int(counts[number]) + 1
        elif (keys == key).any():
            iteration = int(counts[keys == key].max())
        else:
            iteration = int(counts.max()) + 1
        self._iterations[number] = key << _COUNT_BITS | iteration
        return iteration

    def _after(self, epoch: int, step: int) -> tuple[int, int]:
        return (epoch + 1, 0) if step + 1 == len(self) else (epoch, step + 1)


def _with_place(batch: Batch, epoch: int, step: int) -> Batch:
    rows = batch["row"]
    return batch | {"epoch": torch.full_like(rows, epoch), "step": torch.full_like(rows, step)}
