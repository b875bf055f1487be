"""The pipeline as diffusers' users call it: images a prompt, negative prompts, schedulers, offloading, the hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from fae.export.assemble import export_pipeline
from fae.export.pipeline_fae import FAEPipeline
from fae.nn.position_tables import POSITION_SCALINGS

FAMILIES = ("lightning-dit", "dit", "starflow", "unconditional", "text-lightning-dit", "mmdit", "text-starflow")
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 2.5}
ASKED = {"num_inference_steps": 4, "output_type": "latent"}


def condition(pipe, count=1):
    if pipe._unconditional:
        return {}
    return {"prompt": ["a red car", "a dog"][:count]} if pipe.text_encoder else {"class_labels": [1, 2][:count]}


@pytest.fixture
def pipe(pipe_of):
    return pipe_of("lightning-dit")


@pytest.fixture
def text_pipe(pipe_of):
    return pipe_of("text-lightning-dit")


def test_images_of_a_label_follow_each_other(pipe):
    found = pipe([0, 2], num_images_per_prompt=2, seeds=[5, 6, 7, 8], guidance_scale=2.0, **ASKED).images
    expected = pipe([0, 0, 2, 2], seeds=[5, 6, 7, 8], guidance_scale=2.0, **ASKED).images
    assert torch.equal(found, expected)
    assert len(pipe("dog", num_images_per_prompt=3, generator=torch.Generator().manual_seed(1), **ASKED).images) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_another_size_than_the_trained_one(pipe_of, family):
    pipe = pipe_of(family)
    how = {**condition(pipe), "seeds": [5], "num_inference_steps": 2}
    images = pipe(**how, height=32, width=24, output_type="np").images
    assert images.shape == (1, 32, 24, 3)
    latents = [pipe(**how, width=24, output_type="latent", positions=name).images for name in POSITION_SCALINGS]
    assert latents[0].shape == (1, 2, 3, 4), "the side that is not given is the trained one"
    assert not torch.allclose(*latents)


def test_sizes_are_whole_patches(pipe):
    with pytest.raises(ValueError, match="width: expected a multiple of 8 pixels; received 20"):
        pipe("dog", width=20, **ASKED)
    with pytest.raises(ValueError, match="position_scaling: expected one of interpolate, extrapolate"):
        pipe("dog", positions="stretch", **ASKED)


def test_negative_prompts_take_the_place_of_the_empty_caption(text_pipe):
    def run(**settings):
        return text_pipe(prompt=["a red car", "a dog"], seeds=[5, 6], guidance_scale=3.0, **ASKED, **settings).images

    torch.testing.assert_close(run(negative_prompt=""), run())
    away = run(negative_prompt="grass")
    assert float((away - run()).abs().max()) > 1e-3
    torch.testing.assert_close(run(negative_prompt=["grass", "grass"]), away)
    # Guidance of 0 shows what it leads away from.
    shown = text_pipe(prompt="a dog", negative_prompt="a red car", seeds=[5], guidance_scale=0.0, **ASKED).images
    torch.testing.assert_close(shown, text_pipe(prompt="a red car", seeds=[5], **ASKED).images)
    both = text_pipe(
        prompt=["a red car", "a dog"], negative_prompt=["grass", "a"], num_images_per_prompt=2, seeds=[5, 6, 5, 6],
        guidance_scale=3.0, **ASKED,
    ).images  # fmt: skip
    one = text_pipe(prompt="a dog", negative_prompt="a", seeds=[6], guidance_scale=3.0, **ASKED).images
    torch.testing.assert_close(both[3:], one, atol=1e-5, rtol=1e-5)
    with pytest.warns(UserWarning, match="negative_prompt is not used: guidance_scale is 1"):
        text_pipe(prompt="a dog", negative_prompt="a", seeds=[6], **ASKED)


def test_times_may_be_given_before_the_schedulers_shift_or_after_it(pipe):
    expected = pipe([0], seeds=[5], **ASKED).images
    assert torch.equal(pipe([0], seeds=[5], sigmas=[1.0, 0.75, 0.5, 0.25], output_type="latent").images, expected)
    t = [1000 * 2.5 * s / (1 + 1.5 * s) for s in (1.0, 0.75, 0.5, 0.25)]
    torch.testing.assert_close(pipe([0], seeds=[5], timesteps=t, output_type="latent").images, expected)
    torch.testing.assert_close(pipe.scheduler.timesteps, torch.tensor(t))
    assert pipe.num_timesteps == 4


GUIDED = {"seeds": [5, 6], "guidance_scale": 1.5, "output_type": "latent"}


@pytest.fixture(scope="module")
def exact(pipe_of):
    """The latents that all schedulers come to."""
    return pipe_of("lightning-dit")([0, 2], num_inference_steps=400, **GUIDED).images


# diffusers' multistep schedulers on numpy 2.
@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "steps", "error"),
    [
        (lambda: FlowMatchHeunDiscreteScheduler(shift=2.5), 24, 0.02),
        (lambda: DPMSolverMultistepScheduler(**FLOW), 24, 0.02),
        (lambda: UniPCMultistepScheduler(**FLOW), 24, 0.02),
    ],
    ids=["heun", "dpm++", "unipc"],
)
def test_other_schedulers_of_flows_come_to_the_same_latents(make, steps, error, pipe, exact):
    euler = pipe([0, 2], num_inference_steps=steps, **GUIDED).images
    pipe.scheduler = make()
    found = pipe([0, 2], num_inference_steps=steps, **GUIDED).images
    scale = float(exact.std())
    distance, euler_distance = (float((one - exact).abs().max()) / scale for one in (found, euler))
    assert distance < max(error, euler_distance)
    assert torch.equal(pipe([0, 2], num_inference_steps=steps, **GUIDED).images, found)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (lambda: DEISMultistepScheduler(**FLOW), "expected one that solves a flow .* received DEISMultistep"),
        (lambda: DDIMScheduler(), "expected one that solves a flow .* received DDIMScheduler"),
        (lambda: DPMSolverMultistepScheduler(), "with use_flow_sigmas=True; received False"),
        (
            lambda: UniPCMultistepScheduler(use_flow_sigmas=True),
            "with prediction_type='flow_prediction'; received",
        ),
        (lambda: DPMSolverMultistepScheduler(**FLOW, algorithm_type="sde-dpmsolver++"), "without noise of its own"),
        (
            lambda: FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            "use_dynamic_shifting=False; received",
        ),
        (lambda: FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "stochastic_sampling=False; received True"),
    ],
)
def test_schedulers_that_solve_something_else_are_refused(scheduler, message, pipe):
    pipe.scheduler = scheduler()
    with pytest.raises(ValueError, match=f"scheduler: expected .*{message.removeprefix('expected ')}"):
        pipe([0], seeds=[5], **ASKED)


NOISE = torch.zeros(2, 2, 2, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: expected at least 1; received 0"),
        (
            {"latents": NOISE},
            r"latents: expected the shape \(1, 2, 2, 4\), one for each image; received \(2, 2",
        ),
        ({"latents": NOISE[:1], "seeds": [1]}, "seeds: expected none beside latents"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt: expected at least 1; received 0"),
        ({"num_images_per_prompt": 2, "seeds": [1]}, "seeds: expected one for each of 2 images; received 1"),
        ({"negative_prompt": "a dog"}, "negative_prompt: expected none, since this model takes no captions"),
        ({"sigmas": [1.0], "timesteps": [1000.0]}, "sigmas, timesteps: expected one of them; received both"),
        ({"sigmas": [0.5, 1.0]}, "sigmas: expected descending numbers of at most 1 and above 0"),
        ({"sigmas": []}, "sigmas: expected descending numbers"),
        ({"timesteps": [1001.0]}, "timesteps: expected descending numbers of at most 1000 and above 0"),
    ],
)
def test_wrong_calls_say_what_is_expected(settings, message, pipe):
    with pytest.raises(ValueError, match=message):
        pipe([0], **({"num_inference_steps": 1} | settings))


def test_what_a_family_cannot_do_is_refused(pipe_of, text_pipe):
    flow = pipe_of("text-starflow")
    with pytest.raises(ValueError, match="this model is guided by the empty caption alone"):
        flow(prompt="a dog", negative_prompt="a", seeds=[5])
    with pytest.raises(ValueError, match="expected neither: this model makes latents without a scheduler"):
        flow(prompt="a dog", sigmas=[1.0], seeds=[5])
    with pytest.raises(ValueError, match=r"num_images_per_prompt: expected 1: .* give batch_size=2"):
        pipe_of("unconditional")(num_images_per_prompt=2, **ASKED)
    with pytest.raises(ValueError, match="negative_prompt: expected one, or one for each of 2 prompts; received 3"):
        text_pipe(prompt=["a", "a"], negative_prompt=["a"] * 3, guidance_scale=2.0, **ASKED)
    text_pipe.scheduler = FlowMatchHeunDiscreteScheduler()
    with pytest.raises(ValueError, match="expected neither with FlowMatchHeunDiscreteScheduler"):
        text_pipe(prompt="a dog", sigmas=[1.0], seeds=[5])


@pytest.mark.parametrize("family", ["lightning-dit", "text-starflow"])
def test_a_pipeline_of_another_ones_parts(family, pipe_of):
    pipe = pipe_of(family)
    scheduler = FlowMatchHeunDiscreteScheduler(shift=2.5) if pipe.scheduler else None
    other = FAEPipeline.from_pipe(pipe, scheduler=scheduler)
    other.set_progress_bar_config(disable=True)
    assert other.transformer is pipe.transformer
    assert other.scheduler is scheduler
    assert other.class_ids == pipe.class_ids
    assert len(other(**condition(pipe), seeds=[5], **ASKED).images) == 1


@contextmanager
def offloaded(pipe: FAEPipeline) -> Iterator[None]:
    """Every weight is where it can be read in the forward of its own module alone, as with accelerate's hooks."""
    handles = []
    for part in (pipe.transformer, pipe.autoencoder, pipe.pixel_decoder):
        for module in part.modules():
            handles += _hooks(module, buffers=bool(part._parameters))
    yield
    for handle in handles:
        handle.remove()


def _hooks(module, buffers):
    places = [module._parameters, *([module._buffers] if buffers else [])]
    kept = [dict(place) for place in places]

    def away(*_):
        for place in places:
            for name, value in place.items():
                meta = value if value is None else torch.empty_like(value, device="meta")
                is_parameter = isinstance(value, torch.nn.Parameter)
                place[name] = torch.nn.Parameter(meta, requires_grad=False) if is_parameter else meta

    def here(*_):
        for place, values in zip(places, kept, strict=True):
            place.update(values)

    away()
    return [module.register_forward_pre_hook(here), module.register_forward_hook(away, always_call=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_weight_is_read_outside_of_its_modules_forward(family, pipe_of, monkeypatch):
    pipe = pipe_of(family)
    settings = {**condition(pipe), "seeds": [5], "num_inference_steps": 2, "output_type": "pt"}
    expected = pipe(**settings, guidance_scale=1.0 if pipe._unconditional else 2.0).images
    monkeypatch.setattr(FAEPipeline, "_execution_device", property(lambda self: torch.device("cpu")))
    with offloaded(pipe):
        found = pipe(**settings, guidance_scale=1.0 if pipe._unconditional else 2.0).images
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_saving_and_uploading_keep_code_and_card(pipe, tmp_path, monkeypatch):
    exported = export_pipeline(pipe, tmp_path / "digits", "# The card, σ\n")
    (exported / "samples.png").write_bytes(b"png")
    loaded = FAEPipeline.from_pretrained(exported)
    loaded.save_pretrained(tmp_path / "again")
    kept = {"README.md", "samples.png", "pipeline.py", "model_index.json", "fae_modeling.py", "rng.py"}
    for folder in (exported, tmp_path / "again"):
        assert kept <= {file.name for file in folder.rglob("*")}
    assert (tmp_path / "again" / "README.md").read_text() == "# The card, σ\n"
    assert "_name_or_path" not in json.loads((tmp_path / "again" / "model_index.json").read_text())
    seen = {}

    def upload(repo_id, folder_path, **_):
        seen[repo_id] = {file.relative_to(folder_path).as_posix(): file.read_bytes() for file in _files(folder_path)}

    monkeypatch.setattr("diffusers.utils.hub_utils.upload_folder", upload)
    for module in ("diffusers.utils.hub_utils", "diffusers.pipelines.pipeline_utils"):
        monkeypatch.setattr(f"{module}.create_repo", lambda repo_id, **_: type("Repo", (), {"repo_id": repo_id}))
        monkeypatch.setattr(f"{module}.load_or_create_model_card", lambda *_, **__: Card())
        monkeypatch.setattr(f"{module}.populate_model_card", lambda card, **_: card)
    loaded.push_to_hub("me/digits")
    loaded.save_pretrained(str(tmp_path / "pushed"), push_to_hub=True, repo_id="me/other")
    want = {file.relative_to(exported).as_posix() for file in _files(exported)}
    for repo in ("me/digits", "me/other"):
        assert seen[repo].keys() == want
        assert seen[repo]["README.md"].decode() == "# The card, σ\n"


def _files(folder):
    return [file for file in Path(folder).rglob("*") if file.is_file()]


class Card:
    """The empty card that diffusers writes."""

    def save(self, path):
        with open(path, "w") as file:
            file.write("empty")


@pytest.mark.parametrize("family", ["lightning-dit", "text-lightning-dit", "mmdit", "starflow"])
def test_accelerates_sequential_offloading_makes_the_same_images(family, pipe_of):
    pytest.importorskip("accelerate", reason="needs the extra frameworks")
    from accelerate import cpu_offload

    pipe = pipe_of(family)
    settings = {**condition(pipe), "seeds": [5], "num_inference_steps": 2, "output_type": "pt", "guidance_scale": 2.0}
    expected = pipe(**settings).images
    # diffusers' enable_sequential_cpu_offload without its wish for another device; the text encoder is shared.
    for part in (pipe.transformer, pipe.autoencoder, pipe.pixel_decoder):
        cpu_offload(part, torch.device("cpu"), offload_buffers=bool(part._parameters))
    torch.testing.assert_close(pipe(**settings).images, expected, atol=1e-5, rtol=1e-5)
