"""accelerate drives a loader: prepared, skipped, accumulated, saved and loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

accelerate = pytest.importorskip(
    "accelerate", reason="accelerate is not installed (pip install 'fae-pipe[frameworks]')"
)

Place = tuple[int, int, tuple[int, ...]]


@pytest.fixture
def accelerator() -> Iterator[Any]:
    """One process on the CPU that accumulates four batches."""
    accelerate.state.AcceleratorState._reset_state(True)
    yield accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    accelerate.state.AcceleratorState._reset_state(True)
    accelerate.state.GradientState._reset_state()


def place(batch: dict[str, torch.Tensor]) -> Place:
    return int(batch["epoch"][0]), int(batch["step"][0]), tuple(batch["row"].tolist())


def test_a_prepared_dataloader_with_five_resumes_loses_and_doubles_nothing(
    accelerator: Any, dataset_of: Any, plain: list[Place]
) -> None:
    state, found = None, []
    for stop in (3, 10, 11, 17, 29, 30):
        dataset = dataset_of()
        if state is not None:
            dataset.load_state_dict(state)
        batches = accelerator.prepare(DataLoader(dataset, batch_size=None))
        while len(found) < stop:
            for batch in batches:
                found.append(place(batch))
                state = dataset.state_dict(batch)  # accelerate has fetched the next one already
                if len(found) == stop:
                    break
    assert found == plain[:30]


def test_skipped_batches_are_the_first_of_the_epoch(accelerator: Any, dataset_of: Any, plain: list[Place]) -> None:
    batches = accelerator.prepare(DataLoader(dataset_of(), batch_size=None))
    skipped = accelerator.skip_first_batches(batches, 4)
    assert [place(batch) for batch in skipped] == plain[4:10]
    assert [place(batch) for batch in batches] == plain[10:20]


def test_gradients_are_accumulated_and_synchronized_at_the_end_of_an_epoch(accelerator: Any, dataset_of: Any) -> None:
    model, batches = accelerator.prepare(torch.nn.Linear(1, 1), DataLoader(dataset_of(), batch_size=None))
    steps = []
    for _ in range(2):
        for number, _ in enumerate(batches):
            with accelerator.accumulate(model):
                if accelerator.sync_gradients:
                    steps.append(number)
    assert steps == [3, 7, 9] * 2


def test_the_dataset_itself_is_left_alone_and_saved_with_the_model(
    accelerator: Any, dataset_of: Any, plain: list[Place], tmp_path: Path
) -> None:
    dataset = dataset_of()
    assert accelerator.prepare(dataset) is dataset
    accelerator.register_for_checkpointing(dataset)
    batches = iter(dataset)
    found = [place(next(batches)) for _ in range(7)]
    accelerator.save_state(str(tmp_path / "state"))
    next(batches)
    accelerator.load_state(str(tmp_path / "state"))
    assert found + [place(batch) for batch in dataset] == plain[:10]
