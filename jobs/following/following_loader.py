"""Batches of a store that fills meanwhile: an epoch is over the rows that are committed when it begins."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from typing import Any

import numpy as np
import torch

from jobs.following.epoch_record import EpochEntry, EpochRecord
from jobs.following.followed_store import FollowedStore
from jobs.following.shard_encoder import ENCODING, WAITING
from jobs.following.waiting import WaitLimit
from jobs.loop import SINGLE_PROCESS, Ranks
from jobs.runs import RunFolder
from stores import JointLoader, Loader
from stores.core import StoreSnapshot

Batch = dict[str, torch.Tensor]
StoreLoader = Loader | JointLoader
# The rows of a part follow from its entry and from the two before it.
ENTRIES_OF_A_PART = 3
# After any step of an epoch.
LAST_STEP = 2**62


class FollowingLoader:
    """A loader whose every epoch has a store's rows of one snapshot, taken and recorded when the epoch begins.

    Where the store has an encoder the first epoch has all rows, in parts: each of those that were committed since the
    part before, once there are enough; where nobody else writes the store, all ranks encode what is missing. Rows that
    fill no batch are the first ones of the next part, so that every row comes once.

    The order within an epoch, or a part, is a pure function of (seed, epoch, snapshots). The leading rank takes them,
    writes them into the run's folder and tells the others. Epochs that are recorded there have the recorded snapshots
    again, so that a run that goes on equals the one that was not stopped.

    Args:
        store: what is followed.
        run: the run whose folder has the record.
        build: makes the loader of a snapshot's training rows, or of some of them; where nothing was committed since,
            it goes from epoch to epoch.
        batch_rows: rows of a batch, of all ranks together.
        device: of this rank.
        ranks: those that share each batch.
    """

    def __init__(
        self,
        store: FollowedStore,
        run: RunFolder,
        build: Callable[[StoreSnapshot, np.ndarray | None], StoreLoader],
        batch_rows: int,
        device: torch.device,
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self.store, self.run, self.build, self.batch_rows = store, run, build, batch_rows
        self.device, self.ranks = device, ranks
        self.record = EpochRecord.open(run.path, store.fingerprint)  # the other ranks' one is only what they are told
        self.phase: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()
        self.say: Callable[[dict[str, Any]], object] = lambda facts: None
        self._position = (0, 0)
        self._entry: EpochEntry | None = None
        self._loader: StoreLoader | None = None  # of the entry

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on, epoch after epoch."""
        while True:
            entry, loader = self._begin()
            inner = self._inner(entry)
            loader.load_state_dict(loader.state_at(*inner))
            # Where nothing is left to be decided the loader prefetches from one epoch to the next.
            found = iter(loader) if self._is_last(entry) else loader.epoch(*inner)
            with closing(found):
                for batch in found:
                    self._position = self._outer(entry, loader.position)
                    yield batch
            del loader, found  # whose rows leave the memory before others come

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, and the state of the epoch's loader; JSON values."""
        epoch, step = self._position
        inner = None
        if self._loader is not None and self._entry is not None and self._is_within(self._entry):
            inner = self._loader.state_at(*self._inner(self._entry))
        return {"epoch": epoch, "step": step, "loader": inner}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; in the middle of an epoch with that epoch's own rows.

        Raises:
            ValueError: no state of such a loader, or the rows are not what they were.
        """
        if state.keys() != {"epoch", "step", "loader"}:
            raise ValueError(f"loader state: expected epoch, step and loader; received {state!r:.80}; start a new run")
        self._position = (int(state["epoch"]), int(state["step"]))
        if state["loader"] is not None:
            _, loader = self._begin()
            loader.load_state_dict(state["loader"])

    def counts(self) -> dict[str, int]:
        """The epoch of the last batch, and its training rows; while it has parts those that are there."""
        entry = self._last_entry
        return {} if entry is None else {"epoch": self._last[0], "epoch_rows": entry.rows}

    def rows_now(self) -> StoreSnapshot:
        """The rows that were there when the last batch's epoch, or part, began."""
        entry = self._last_entry
        return self.store.view if entry is None else self.store.follower.at(entry.snapshot)

    def summary(self) -> dict[str, Any]:
        """What run.json keeps of the epochs, see `EpochRecord.summary`."""
        return self.record.summary(*self._last, self._planned, self.store.whose_statistics)

    @property
    def _last(self) -> tuple[int, int]:
        """Epoch and step of the last batch."""
        epoch, step = self._position
        return (epoch, step - 1) if step else (max(0, epoch - 1), LAST_STEP)

    @property
    def _last_entry(self) -> EpochEntry | None:
        return self.record.covering(*self._last)

    def _is_within(self, entry: EpochEntry) -> bool:
        """Whether the position is between two batches of what an entry holds."""
        epoch, step = self._position
        return step > (entry.first_step or 0) and (not entry.is_part or entry.holds(epoch, step, self.batch_rows))

    def _is_last(self, entry: EpochEntry) -> bool:
        return not entry.is_part and self._is_whole(entry)

    def _is_whole(self, entry: EpochEntry) -> bool:
        return entry.snapshot.shards == ((0, self.store.manifest.num_shards),)

    def _inner(self, entry: EpochEntry) -> tuple[int, int]:
        """The position in the loader of an entry."""
        epoch, step = self._position
        return epoch, step - (entry.first_step or 0)

    def _outer(self, entry: EpochEntry, inner: tuple[int, int]) -> tuple[int, int]:
        """The position that one in the loader of an entry means."""
        if entry.first_step is None:
            return inner
        epoch, step = inner
        if epoch == entry.first_epoch:
            return epoch, entry.first_step + step
        return (epoch, 0) if self._is_whole(entry) else (entry.first_epoch, entry.rows // self.batch_rows)

    def _begin(self) -> tuple[EpochEntry, StoreLoader]:
        """What the position's epoch has, and its loader; every rank must ask."""
        entries = [EpochEntry.from_json(one) for one in self._decide()]
        entry = entries[-1]
        self._say_missing(entry.rows if entry.is_part else self._planned)
        if self._position[1] and not entry.is_part and entry.first_epoch > self._position[0]:
            self._position = (entry.first_epoch, 0)  # nothing of the first epoch was left that fills a batch
        if self.store.encoder is not None and not entry.is_part:
            self.store.encoder.release()
        if self._loader is None or self._entry is None or self._differs(entry):
            self._loader = None  # its rows leave the memory before others come
            rows = self._rows_of_part(entries) if entry.is_part else None
            self._loader = self.build(self.store.follower.at(entry.snapshot), rows)
        self._entry = entry
        return entry, self._loader

    @property
    def _planned(self) -> int:
        """Training rows that the store will have."""
        return len(self.store.rows("train"))

    def _say_missing(self, rows: int) -> None:
        """Say how many rows of the first epoch are still to be encoded, of which so many are there; None once all are.

        How long they take is not known from the steps.
        """
        self.say({"rows_missing": (self._planned - rows) or None})

    def _differs(self, entry: EpochEntry) -> bool:
        assert self._entry is not None
        before = (self._entry.snapshot, self._entry.first_step)
        return before != (entry.snapshot, entry.first_step)

    def _rows_of_part(self, entries: list[EpochEntry]) -> np.ndarray:
        """int64 training rows of the last entry: those that the part before left, then those that came since."""
        views = [self.store.follower.at(entry.snapshot).rows("train") for entry in entries]
        new = [np.setdiff1d(later, earlier) for earlier, later in zip([views[0][:0], *views], views, strict=False)]
        if len(entries) == ENTRIES_OF_A_PART:
            del new[0]  # it holds the rows of all parts before
        before = entries[-2].rows if len(entries) > 1 else 0
        left = new[-2][len(new[-2]) - before % self.batch_rows :] if len(entries) > 1 else new[-1][:0]
        batches = entries[-1].rows // self.batch_rows - before // self.batch_rows
        return np.sort(np.concatenate([left, new[-1]])[: batches * self.batch_rows])

    def _decide(self) -> list[dict[str, Any]]:
        """The entries that the position's epoch follows from, as JSON values; on the way all ranks encode.

        The leading rank decides and tells the others what to encode, and at last the entries.
        """
        orders = self._orders() if self.ranks.is_main else None
        with ExitStack() as stack:
            if orders is not None:
                stack.enter_context(closing(orders))
            phase, said = stack.enter_context(ExitStack()), ""
            while True:
                text = json.dumps(next(orders)) if orders is not None else ""
                order = json.loads(self.ranks.broadcast(text, self.device))
                if "entries" in order:
                    found: list[dict[str, Any]] = order["entries"]
                    return found
                doing = ENCODING if order["encode"] else WAITING
                if doing != said:
                    phase.close()
                    phase.enter_context(self.phase(doing))
                    said = doing
                self._encode(order["encode"])

    def _encode(self, shards: list[int]) -> None:
        assert self.store.encoder is not None
        self.store.encoder.encode(shards[self.ranks.rank :: self.ranks.world_size], self.device)
        self.ranks.wait_for_all()

    def _orders(self) -> Generator[dict[str, Any], None, None]:
        """Shards to encode, then the entries; on the leading rank."""
        entry = self.record.binding(*self._position, self.batch_rows)
        if entry is None:
            entry = yield from self._new_entry()
            self.record.add(entry, self.run.check_lease)
            entry = self.record.covering(*entry.start) or entry
        entries = self.record.up_to(entry, ENTRIES_OF_A_PART)
        yield {"entries": [one.to_json() for one in entries]}

    def _new_entry(self) -> Generator[dict[str, Any], None, EpochEntry]:
        """What begins now: a snapshot; of a first epoch in parts, as of a store that has an encoder, its next part."""
        (epoch, step), store, before = self._position, self.store, self.record.entries
        is_part = epoch == 0 and all(entry.is_part for entry in before)
        view = store.view
        if store.encoder is None:  # of a first epoch in parts the store is whole by now: the rest is the last one
            view = store.follower.take() if before else view
        elif before or len(view.rows("train")) < self.batch_rows:
            there = before[-1].rows if is_part and before else 0 if is_part else self._planned
            view = yield from self._encoded(there + store.follow.part_rows(self.batch_rows))
        is_part &= bool(before) or (store.encoder is not None and not view.is_whole)
        rows = len(view.rows("train"))
        if is_part and rows // self.batch_rows > step:
            return EpochEntry(epoch, rows, view.snapshot, step)
        return EpochEntry(epoch + 1 if is_part else epoch, rows, view.snapshot)  # of a part that fills no batch

    def _encoded(self, wanted: int) -> Generator[dict[str, Any], None, StoreSnapshot]:
        """The snapshot that has so many training rows, or all that there will be; yields what is to be encoded."""
        encoder = self.store.encoder
        assert encoder is not None
        limit = WaitLimit(wanted, self.store.follow.patience_seconds)
        orders = encoder.orders(self.store.follower, limit, self.ranks.world_size, self._say_missing)
        with closing(orders):
            while True:
                try:
                    yield {"encode": next(orders)}
                except StopIteration as end:
                    view: StoreSnapshot = end.value
                    return view
