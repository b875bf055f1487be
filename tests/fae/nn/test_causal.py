"""Causal layers see no later token, and give token by token from a cache what they give at once."""

import pytest
import torch

from fae.nn.causal import CausalBlock, KVCache, prefixed_rope
from fae.nn.position_tables import rope_table

TOKENS, DIM, HEADS = 12, 32, 2


@pytest.fixture
def block():
    torch.manual_seed(0)
    return CausalBlock(DIM, HEADS)


def inputs():
    return torch.randn(3, TOKENS, DIM, generator=torch.Generator().manual_seed(1)), rope_table((3, 4), HEADS, 16)


def test_a_token_sees_no_later_one(block):
    x, rope = inputs()
    changed = x.clone()
    changed[:, 5:] += 1.0
    before, after = block(x, rope), block(changed, rope)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.isclose(before[:, 5:], after[:, 5:]).all(dim=-1).any()


@pytest.mark.parametrize("beginning", [1, 4])
@torch.no_grad()
def test_the_cache_changes_no_output(block, beginning):
    x, rope = inputs()
    cache = KVCache(TOKENS)
    parts = [block(x[:, :beginning], rope[:, :beginning], cache)]
    parts += [block(x[:, k : k + 1], rope[:, k : k + 1], cache) for k in range(beginning, TOKENS)]
    torch.testing.assert_close(torch.cat(parts, dim=1), block(x, rope), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_keys_and_values_are_allocated_once(block):
    x, rope = inputs()
    cache = KVCache(TOKENS)
    block(x[:, :4], rope[:, :4], cache)
    place = cache.keys.data_ptr()
    for k in range(4, TOKENS):
        block(x[:, k : k + 1], rope[:, k : k + 1], cache)
    assert cache.keys.data_ptr() == place
    assert cache.filled == cache.length == TOKENS
    assert cache.keys.shape == cache.values.shape == (3, HEADS, TOKENS, 16)


def test_prefix_tokens_are_not_turned():
    rope = rope_table((3, 4), HEADS, 16)
    whole = prefixed_rope(rope, 2)
    assert torch.equal(whole[:, 2:], rope)
    x = torch.randn(2, DIM)
    assert torch.equal(x * whole[0, :2] + x.flip(-1) * whole[1, :2], x)
