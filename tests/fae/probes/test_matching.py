"""Foreground, matches and their agreement on tokens made to order."""

import pytest
import torch

from fae.probes import agreement, foreground, two_means


def disc(center: tuple[float, float], radius: float = 3.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def image(mask: torch.Tensor, seed: int = 0, noise: float = 0.1) -> torch.Tensor:
    """(12, 12, 16) tokens: one direction inside the mask, another outside."""
    directions = torch.eye(16)[:2]
    tokens = directions[mask.long()]
    return tokens + noise * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("radius", [2.0, 5.0])
def test_the_foreground_is_what_keeps_from_the_border(radius: float) -> None:
    mask = disc((5.5, 5.5), radius)
    assert torch.equal(foreground(image(mask)), mask)


def test_the_smaller_cluster_is_the_foreground_when_both_share_the_border() -> None:
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[:, :6] = True
    mask[4:8, 6:8] = True  # 80 of 144; both have half of the border
    assert torch.equal(foreground(image(mask)), ~mask)


def test_without_two_kinds_of_patches_all_is_foreground() -> None:
    assert foreground(torch.ones(4, 4, 3)).all()


def test_two_means_ends_at_a_fixed_point() -> None:
    tokens = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).double()
    side = two_means(tokens)
    centers = torch.stack([tokens[~side].mean(dim=0), tokens[side].mean(dim=0)])
    assert torch.equal(torch.cdist(tokens, centers).argmin(dim=1).bool(), side)


def test_the_same_tokens_agree_in_everything() -> None:
    mask = disc((5.5, 5.5))
    a, b = image(mask, 1), image(mask, 2)
    found = agreement((a, b), (a, b), (mask, mask))
    assert (found.patches, found.same, found.near) == (int(mask.sum()),) * 3
    assert 0 < found.mutual == found.kept
    assert found.inside == found.inside_second == found.patches


def test_a_turned_space_keeps_every_match_and_an_unrelated_one_none() -> None:
    mask = disc((5.5, 5.5))
    a, b = image(mask, 1), image(mask, 2)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(3)))[0]
    kept = agreement((a, b), (a @ turn * 7, b @ turn), (mask, mask)).shares()
    assert (kept["same_match"], kept["mutual_kept"]) == (1.0, 1.0)
    noise = [torch.randn(12, 12, 16, generator=torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    lost = agreement((a, b), (noise[0], noise[1]), (mask, mask)).shares()
    assert lost["same_match"] < 0.2
    assert lost["in_foreground_by_chance"] == float(mask.double().mean())


def test_counts_against_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(6)
    a, b, c, d = (torch.randn(5, 5, 4, generator=generator) for _ in range(4))
    masks = disc((5.5, 5.5))[3:8, 3:8], disc((7.0, 4.0))[3:8, 3:8]
    flat = [torch.nn.functional.normalize(tokens.flatten(0, 1), dim=1) for tokens in (a, b, c, d)]
    expected = dict.fromkeys(("patches", "same", "near", "mutual", "kept", "inside", "inside_second"), 0)
    for patch in range(25):
        if not masks[0].flatten()[patch]:
            continue
        one, two = int((flat[1] @ flat[0][patch]).argmax()), int((flat[3] @ flat[2][patch]).argmax())
        mutual = int((flat[0] @ flat[1][one]).argmax()) == patch
        expected["patches"] += 1
        expected["same"] += one == two
        expected["near"] += max(abs(one // 5 - two // 5), abs(one % 5 - two % 5)) <= 1
        expected["mutual"] += mutual
        expected["kept"] += mutual and one == two and int((flat[2] @ flat[3][two]).argmax()) == patch
        expected["inside"] += bool(masks[1].flatten()[one])
        expected["inside_second"] += bool(masks[1].flatten()[two])
    found = agreement((a, b), (c, d), masks)
    assert {name: getattr(found, name) for name in expected} == expected
    assert (found + found).same == 2 * found.same
