"""The contract of what a checkpoint keeps, as tests: subclass `StatefulContract` and run it with pytest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.loop import Stateful


class StatefulContract:
    """Promises that every `Stateful` keeps.

    A subclass (or its module) provides two fixtures: `new_stateful`: () -> one that has done nothing yet; and
    `advance`: (stateful, step) -> let it take in the training's step of that number, the same each time.
    """

    def test_the_state_is_flat_tensors_that_safetensors_keep(
        self, new_stateful: Callable[[], Any], advance: Callable[[Any, int], None], tmp_path: Path
    ) -> None:
        one = new_stateful()
        advance(one, 1)
        state = _copied(one)
        save_file(state, tmp_path / "state.safetensors")
        _assert_same(load_file(tmp_path / "state.safetensors"), state)

    def test_a_restored_one_goes_on_as_if_it_had_never_stopped(
        self, new_stateful: Callable[[], Any], advance: Callable[[Any, int], None]
    ) -> None:
        undisturbed, restored = new_stateful(), new_stateful()
        advance(undisturbed, 1)
        advance(undisturbed, 2)
        before = _copied(undisturbed)
        restored.load_state_dict({name: value.clone() for name, value in before.items()})
        _assert_same(_copied(restored), before)
        for one in (undisturbed, restored):
            advance(one, 3)
        _assert_same(_copied(restored), _copied(undisturbed))
        assert any(not torch.equal(value, before[name]) for name, value in _copied(restored).items())

    def test_a_restored_one_shares_no_tensor_with_where_its_state_came_from(
        self, new_stateful: Callable[[], Any], advance: Callable[[Any, int], None]
    ) -> None:
        one, restored = new_stateful(), new_stateful()
        advance(one, 1)
        before = _copied(one)
        restored.load_state_dict(one.state_dict())
        advance(restored, 2)
        _assert_same(_copied(one), before)

    def test_the_state_of_something_else_is_refused(self, new_stateful: Callable[[], Any]) -> None:
        with pytest.raises(ValueError, match="expected"):
            new_stateful().load_state_dict({"another": torch.zeros(3)})


def _copied(one: Stateful) -> dict[str, torch.Tensor]:
    return {name: value.clone().contiguous() for name, value in one.state_dict().items()}


def _assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
