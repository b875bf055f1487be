"""Colors are a pure function of the tokens, whatever signs the eigenvectors come with."""

import pytest
import torch

from fae.probes import PrincipalColors


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 3, 1, 27, 1.0])


def test_the_strongest_components_have_unit_variance(tokens: torch.Tensor) -> None:
    components = PrincipalColors.fit(tokens).components(tokens)
    torch.testing.assert_close(torch.cov(components.T), torch.eye(3, dtype=torch.float64))
    assert [int(column.abs().argmax()) for column in PrincipalColors.fit(tokens).directions.T] == [4, 1, 2]


def test_signs_do_not_depend_on_the_solver(tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PrincipalColors.fit(tokens).to_rgb(tokens)
    solve = torch.linalg.eigh

    def other_signs(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = solve(matrix)
        return values, -vectors

    monkeypatch.setattr(torch.linalg, "eigh", other_signs)
    assert torch.equal(PrincipalColors.fit(tokens).to_rgb(tokens), expected)


def test_a_turned_copy_is_turned_back(tokens: torch.Tensor) -> None:
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    colors, target = PrincipalColors.fit(tokens @ turn), PrincipalColors.fit(tokens)
    turned = colors.turned_to(tokens @ turn, target.components(tokens))
    torch.testing.assert_close(turned.components(tokens @ turn), target.components(tokens), atol=1e-4, rtol=1e-4)


def test_the_mean_is_gray_and_far_tokens_are_clipped(tokens: torch.Tensor) -> None:
    colors = PrincipalColors.fit(tokens)
    assert set(colors.to_rgb(colors.mean).tolist()) <= {127, 128}
    assert colors.to_rgb(tokens * 1000).double().sub(127.5).abs().median() == 127.5
    assert colors.to_rgb(torch.ones(2, 3, 6)).shape == (2, 3, 3)


def test_equal_tokens_and_few_channels() -> None:
    assert set(PrincipalColors.fit(torch.ones(10, 4)).to_rgb(torch.ones(4)).tolist()) <= {127, 128}
    with pytest.raises(ValueError, match="at least 3 channels"):
        PrincipalColors.fit(torch.ones(10, 2))
