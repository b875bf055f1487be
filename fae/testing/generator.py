"""What a trainer, a sampler and an export expect of every family of generators."""

from abc import ABC, abstractmethod

import pytest
import torch

from fae.generators import Generator
from fae.sampling import Conditions, GuidanceInterval

STEPS = 3
GUIDED = (GuidanceInterval(1.0, 0.0, 2.0),)


class GeneratorContract(ABC):
    """Tests of a family of generators; a subclass named Test… says how to make a tiny one.

    Attributes:
        conditional: False for a family that takes no conditions, whose samples depend on seeds alone.
        tolerance: between a sample made alone and in a batch, where GEMMs may round differently.
    """

    conditional = True
    tolerance = 1e-4

    @abstractmethod
    def make(self) -> Generator:
        """A generator with at least 2 classes or any captions, equal at each call.

        Its weights are not those of a fresh model where these make it the identity: the velocity or the flow must
        depend on latents, times and conditions.
        """

    @abstractmethod
    def batch(self, generator: Generator, rows: int) -> dict[str, torch.Tensor]:
        """Stored rows (`latents` and conditions), equal at each call; the first two have different conditions."""

    def conditions(self, generator: Generator, rows: int) -> Conditions:
        """The conditions of that batch."""
        return generator.conditions(self.batch(generator, rows))

    def sample(
        self,
        generator: Generator,
        seeds: list[int],
        conditions: Conditions,
        guided: bool = False,
        grid: tuple[int, int] | None = None,
    ) -> torch.Tensor:
        """Latents by Euler's method, where there is one."""
        spans = GUIDED if guided else ()
        return generator.eval().sample(
            conditions, seeds, steps=STEPS, guidance=spans, solver="euler", guide_model=None, grid=grid
        )

    def test_the_loss_is_finite_and_reaches_every_parameter(self) -> None:
        generator = self.make().train()
        losses = generator.loss(self.batch(generator, 6), torch.Generator().manual_seed(0))
        assert all(value.ndim == 0 and bool(torch.isfinite(value)) for value in losses.values())
        losses["loss"].backward()
        for name, value in generator.named_parameters():
            if value.requires_grad:
                assert value.grad is not None, name
                assert bool(torch.isfinite(value.grad).all()), name

    def test_every_draw_of_the_loss_comes_from_the_generator(self) -> None:
        generator = self.make().train()
        batch = self.batch(generator, 6)
        first, again, other = (generator.loss(batch, torch.Generator().manual_seed(k))["loss"] for k in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_stored_moments_are_sampled(self) -> None:
        generator = self.make()
        batch = self.batch(generator, 4)
        certain = torch.cat([batch["latents"], torch.full_like(batch["latents"], -60.0)], dim=-1)
        expected = generator.normalize(batch["latents"])
        torch.testing.assert_close(generator.sample_posterior(certain, torch.Generator().manual_seed(0)), expected)

    def test_normalizing_has_an_inverse(self) -> None:
        generator = self.make()
        latents = self.batch(generator, 2)["latents"]
        torch.testing.assert_close(generator.denormalize(generator.normalize(latents)), latents)

    def test_held_out_metrics_are_finite_and_need_no_gradients(self) -> None:
        generator = self.make().eval()
        metrics = generator.held_out(self.batch(generator, 4), torch.Generator().manual_seed(0))
        assert all(bool(torch.isfinite(value)) and not value.requires_grad for value in metrics.values())

    @pytest.mark.parametrize("guided", [False, True])
    def test_a_sample_depends_on_its_seed_and_condition_alone(self, guided: bool) -> None:
        generator = self.make()
        conditions, seeds = self.conditions(generator, 3), [7, 8, 9]
        together = self.sample(generator, seeds, conditions, guided)
        assert together.shape == (3, *generator.grid, generator.channels)
        assert together.dtype == torch.float32
        for row, seed in enumerate(seeds):
            alone = self.sample(generator, [seed], conditions.index_select(torch.tensor([row])), guided)
            torch.testing.assert_close(together[row : row + 1], alone, atol=self.tolerance, rtol=self.tolerance)

    def test_latents_of_other_grids_have_their_shape_and_are_as_good_alone(self) -> None:
        generator = self.make()
        conditions, (height, width) = self.conditions(generator, 2), generator.grid
        for grid in ((height + 1, width + 3), (height, width + 1)):
            made = self.sample(generator, [7, 8], conditions, grid=grid)
            assert made.shape == (2, *grid, generator.channels)
            assert bool(torch.isfinite(made).all())
            alone = self.sample(generator, [8], conditions.index_select(torch.tensor([1])), grid=grid)
            torch.testing.assert_close(made[1:], alone, atol=self.tolerance, rtol=self.tolerance)

    def test_another_seed_gives_another_sample(self) -> None:
        generator = self.make()
        first, second = self.sample(generator, [1, 2], self.conditions(generator, 1).index_select(torch.tensor([0, 0])))
        assert float((first - second).abs().max()) > 1e-3

    def test_the_condition_and_its_guidance_change_the_sample(self) -> None:
        generator = self.make()
        conditions = self.conditions(generator, 2)
        first, second = self.sample(generator, [1, 1], conditions)
        assert (float((first - second).abs().max()) > 1e-3) == self.conditional
        if self.conditional:
            guided = self.sample(generator, [1, 1], conditions, guided=True)
            assert float((guided[0] - first).abs().max()) > 1e-3
            empty = self.sample(generator, [1, 1], conditions.empty())
            torch.testing.assert_close(empty[0], empty[1], atol=self.tolerance, rtol=self.tolerance)

    def test_a_loaded_state_samples_the_same_bits(self) -> None:
        generator, loaded = self.make(), self.make()
        with torch.no_grad():
            for value in generator.parameters():
                value.mul_(1.25)
        loaded.load_state_dict({name: value.clone() for name, value in generator.state_dict().items()})
        conditions = self.conditions(generator, 2)
        made = self.sample(generator, [1, 2], conditions)
        assert torch.equal(made, self.sample(loaded, [1, 2], conditions))
        assert not torch.equal(made, self.sample(self.make(), [1, 2], conditions))

    def test_the_number_of_function_evaluations_is_positive_and_grows_with_guidance(self) -> None:
        generator = self.make()
        plain, guided = (generator.num_function_evaluations(STEPS, spans, "euler") for spans in ((), GUIDED))
        assert 0 < plain < guided

    def test_conditions_must_be_one_for_each_seed(self) -> None:
        generator = self.make()
        with pytest.raises(ValueError, match="conditions: expected one for each of 2 seeds; received 1"):
            self.sample(generator, [1, 2], self.conditions(generator, 1))
