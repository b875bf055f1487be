"""Buffers are taken again when, and only when, nobody looks at them."""

import pytest
import torch

from stores.loader.transfer import MOST_SLABS, BufferPool, SlabPool


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8, torch.int8])
def test_a_dropped_buffer_comes_again_and_a_kept_view_holds_it(dtype: torch.dtype) -> None:
    pool = BufferPool()
    first = pool.take((3, 4, 5), dtype)
    assert (first.shape, first.dtype) == ((3, 4, 5), dtype)
    place = first.data_ptr()
    corner = first[1:, 2].unflatten(0, (2, 1))
    del first
    other = pool.take((3, 4, 5), dtype)
    assert other.data_ptr() != place
    del corner
    assert pool.take((3, 4, 5), dtype).data_ptr() == place
    assert pool.take((2, 3), torch.float16).data_ptr() == place, "for values of another shape, too"


def test_every_kind_of_user_holds_a_buffer() -> None:
    pool = BufferPool()
    places = set()
    kept = []
    for use in (torch.Tensor.numpy, torch.Tensor.detach, torch.Tensor.t, memoryview_of, torch.Tensor.untyped_storage):
        kept.append(use(pool.take((8,), torch.float32)))
        again = pool.take((8,), torch.float32)
        places.add(again.data_ptr())
        kept.append(again)
    assert len(places) == 5


def memoryview_of(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.numpy())


def test_slabs_come_again_and_views_hold_them() -> None:
    pool = SlabPool()
    first = pool.take(100)
    place, kept = first.ctypes.data, torch.from_numpy(first[:40])
    del first
    assert pool.take(100).ctypes.data != place
    del kept
    again = {pool.take(size).ctypes.data for size in (100, 60, 1)}
    assert len(again) == 1
    assert len(pool.take(300)) == 300


def test_a_pool_forgets_what_is_kept_for_long() -> None:
    pool = SlabPool()
    kept = [pool.take(8) for _ in range(3 * MOST_SLABS)]
    assert len({one.ctypes.data for one in kept}) == len(kept)
    assert len(pool._slabs) == MOST_SLABS
    place = kept.pop().ctypes.data
    assert pool.take(8).ctypes.data == place


def test_a_kept_buffer_outlives_requests_of_other_shapes() -> None:
    pool = BufferPool()
    kept = pool.take((4, 4), torch.float32).fill_(1)
    for shape in ((2, 2), (4, 4), (8,), (4, 4), (32,)):
        pool.take(shape, torch.float32).fill_(2)
    assert (kept == 1).all()
