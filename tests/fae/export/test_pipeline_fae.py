import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from fae.export.assemble import assemble_pipeline, export_pipeline, make_scheduler
from fae.export.pipeline_fae import FAEPipeline
from fae.generators.diffusion import DiffusionGenerator
from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.autoencoder import FeatureAutoencoder
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.starflow import StarFlow
from fae.sampling.intervals import GuidanceInterval, parse_guidance
from fae.sampling.sizes import Sized, size_numbers
from fae.sampling.transport import Transport

STEPS = 4


def parts(latent_channels=4, feature_dim=64, **how):
    torch.manual_seed(0)
    model = LightningDiT(latent_channels, (2, 2), 3, 32, 2, 2, **how)
    # A fresh model has velocity 0; these must tell classes apart.
    for value in (model.final_layer.linear.weight, model.y_embedder.weight):
        torch.nn.init.normal_(value, std=0.3)
    for name, value in model.named_parameters():
        if name.endswith("adaLN_modulation.weight"):
            torch.nn.init.normal_(value, std=0.2)
    mean, std = torch.linspace(-1, 1, latent_channels), torch.linspace(0.5, 2, latent_channels)
    generator = DiffusionGenerator(model, Transport(shift=0.4), mean, std)
    autoencoder = FeatureAutoencoder(feature_dim, 4, (2, 2), heads=2, head_dim=32, decoder_depth=1)
    return generator.eval(), autoencoder.eval(), PixelDecoder(64, (2, 2), 8, 64, 1, 2, patch_overlap=2).eval()


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe():
    return quiet(assemble_pipeline(*parts(), class_names=["tench", "dog", "church"]))


def run(pipe, labels, **settings):
    settings = {"seeds": list(range(len(labels))), "output_type": "pt", "num_inference_steps": STEPS} | settings
    return pipe(labels, **settings).images


@pytest.mark.parametrize("guidance", [{}, {"guidance_scale": 2.0}, {"guidance_interval": "paper"}])
def test_the_pipeline_makes_the_generators_latents(pipe, guidance):
    generator, autoencoder, decoder = parts()
    intervals = parse_guidance(guidance.get("guidance_interval", "1,0"), guidance.get("guidance_scale", 1.0))
    expected = generator.sample(generator.classes(torch.tensor([0, 1, -1])), [7, 8, 9], steps=STEPS, guidance=intervals)
    latents = run(pipe, [0, 1, -1], seeds=[7, 8, 9], **guidance, output_type="latent")
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        images = decoder(autoencoder.decode(expected)) / 2 + 0.5
    found = run(pipe, [0, 1, -1], seeds=[7, 8, 9], **guidance)
    torch.testing.assert_close(found, images.clamp(0, 1), atol=1e-3, rtol=0)


def test_the_pipeline_takes_size_and_crop(pipe):
    generator, *others = parts(size_conditioning=True)
    torch.nn.init.normal_(generator.model.size_embedder.linear2.weight, std=0.3)
    sized = quiet(assemble_pipeline(generator, *others, class_names=["tench", "dog", "church"]))
    classes = generator.classes(torch.tensor([0, 1]))
    found = []
    for original, crop in ((None, None), ((64, 48), (8, 0))):
        sizes = size_numbers(2, (16, 16), original, crop or (0, 0))
        expected = generator.sample(Sized(classes, sizes), [7, 8], steps=STEPS, guidance=parse_guidance("1,0", 2.0))
        how = {"original_size": original, "crops_coords_top_left": crop, "guidance_scale": 2.0}
        found.append(run(sized, [0, 1], seeds=[7, 8], output_type="latent", **how))
        torch.testing.assert_close(found[-1], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(*found, atol=1e-3)
    with pytest.raises(ValueError, match="original_size, crops_coords_top_left: expected neither"):
        run(pipe, [0], original_size=(64, 48))


def test_a_folder_goes_round(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = quiet(FAEPipeline.from_pretrained(tmp_path))
    assert torch.equal(
        run(loaded, ["dog", "church"], guidance_scale=2.0), run(pipe, ["dog", "church"], guidance_scale=2.0)
    )
    assert loaded.scheduler.config.shift == pytest.approx(2.5)
    assert torch.equal(loaded.autoencoder.latent_std, pipe.autoencoder.latent_std)


def test_a_folder_keeps_what_the_model_predicts(tmp_path):
    generator, autoencoder, decoder = parts()
    generator.transport = Transport(shift=0.4, prediction="x")
    assemble_pipeline(generator, autoencoder, decoder).save_pretrained(tmp_path)
    loaded = quiet(FAEPipeline.from_pretrained(tmp_path))
    expected = generator.sample(generator.classes(torch.tensor([0, 1])), [7, 8], steps=STEPS)
    latents = run(loaded, [0, 1], seeds=[7, 8], output_type="latent")
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    velocity = run(quiet(assemble_pipeline(*parts())), [0, 1], seeds=[7, 8], output_type="latent")
    assert float((latents - velocity).abs().max()) > 0.1


def test_a_folder_keeps_the_head_for_internal_guidance(tmp_path):
    plain, autoencoder, decoder = parts()
    torch.manual_seed(1)
    model = LightningDiT(4, (2, 2), 3, 32, 2, 2, internal_guidance_depth=1)
    for value in model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.2)
    generator = DiffusionGenerator(model, Transport(), plain.latent_mean, plain.latent_std).eval()
    assemble_pipeline(generator, autoencoder, decoder).save_pretrained(tmp_path)
    loaded = quiet(FAEPipeline.from_pretrained(tmp_path))
    interval = (GuidanceInterval(1.0, 0.1, 1.8),)
    conditions = generator.classes(torch.tensor([0, 1]))
    expected = generator.sample(conditions, [7, 8], steps=STEPS, internal_guidance=interval)
    settings = {"seeds": [7, 8], "output_type": "latent"}
    latents = run(loaded, [0, 1], internal_guidance_scale=1.8, **settings)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    assert float((latents - run(loaded, [0, 1], **settings)).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="this model has no head for internal guidance"):
        run(quiet(assemble_pipeline(*parts())), [0], internal_guidance_scale=1.8)


def test_diffusers_own_dit_is_a_drop_in_generator(tmp_path):
    generator, autoencoder, decoder = parts()
    torch.manual_seed(0)
    model = DiT(4, (2, 2), 3, 32, 1, 2)
    torch.nn.init.normal_(model.transformer.proj_out_2.weight, std=0.3)
    dit = DiffusionGenerator(model, generator.transport, generator.latent_mean, generator.latent_std).eval()
    pipe = quiet(assemble_pipeline(dit, autoencoder, decoder))
    expected = dit.sample(
        dit.classes(torch.tensor([2, -1])), [0, 1], steps=STEPS, guidance=(GuidanceInterval(1, 0, 2.0),)
    )
    latents = run(pipe, [2, -1], guidance_scale=2.0, output_type="latent")
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    pipe.save_pretrained(tmp_path)
    assert torch.equal(run(quiet(FAEPipeline.from_pretrained(tmp_path)), [2]), run(pipe, [2]))


def test_the_folder_holds_safetensors_json_and_python_alone(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".json", ".safetensors", ".py"}
    for file in files:
        if file.suffix == ".py":
            compile(file.read_text(), file, "exec")
        else:
            assert load_file(file) if file.suffix == ".safetensors" else json.loads(file.read_text())


def test_diffusers_own_loader_takes_an_exported_folder(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = export_pipeline(pipe, tmp_path / "model", "# card")
    loaded = quiet(DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(folder), trust_remote_code=True))
    assert type(loaded).__name__ == "FAEPipeline"
    assert type(loaded).__module__.startswith("diffusers_modules.local.fae_code_")
    assert torch.equal(run(loaded, [0]), run(pipe, [0]))


def test_an_export_is_whole_and_never_over_something(pipe, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    assert export_pipeline(pipe, folder, "# card, σ") == folder
    assert (folder / "README.md").read_text(encoding="utf-8") == "# card, σ"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    before = (folder / "README.md").stat().st_mtime_ns
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        export_pipeline(pipe, folder, "# other")
    assert (folder / "README.md").stat().st_mtime_ns == before
    assert torch.equal(run(quiet(FAEPipeline.from_pretrained(folder)), [0]), run(pipe, [0]))


def test_a_seed_gives_its_image_whatever_the_batch(pipe):
    together = run(pipe, [0, 1, 2], seeds=[5, 6, 7], guidance_scale=2.0)
    alone = torch.cat([run(pipe, [k], seeds=[5 + k], guidance_scale=2.0) for k in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert float((together[0] - together[1]).abs().max()) > 0.01


def test_generators_give_the_same_images_whatever_the_batch(pipe):
    def one():
        return torch.Generator().manual_seed(3)

    long, short = (run(pipe, [0] * count, seeds=None, generator=one()) for count in (3, 2))
    torch.testing.assert_close(long[:2], short, atol=1e-5, rtol=0)
    listed = run(pipe, [0, 0], seeds=None, generator=[one(), torch.Generator().manual_seed(4)])
    torch.testing.assert_close(listed[:1], short[:1], atol=1e-5, rtol=0)


def test_output_types(pipe):
    pil, array, tensor = (run(pipe, [0, 1], output_type=kind) for kind in ("pil", "np", "pt"))
    assert all(isinstance(image, Image.Image) and image.size == (16, 16) for image in pil)
    assert array.shape == (2, 16, 16, 3)
    assert tensor.shape == (2, 3, 16, 16)
    np.testing.assert_allclose(array, tensor.permute(0, 2, 3, 1).numpy())
    np.testing.assert_array_equal(np.asarray(pil[0]), (array[0] * 255).round().astype(np.uint8))
    assert isinstance(pipe([0], num_inference_steps=1, seeds=[0], return_dict=False), tuple)


def test_names_and_ids_are_the_same_classes(pipe):
    assert torch.equal(run(pipe, ["dog"]), run(pipe, [1]))
    assert torch.equal(run(pipe, torch.tensor([1])), run(pipe, [1]))
    assert torch.equal(pipe("dog", seeds=[0], output_type="pt", num_inference_steps=STEPS).images, run(pipe, [1]))
    assert not torch.equal(run(pipe, ["dog"]), run(pipe, ["tench"]))


def test_given_noise_is_used(pipe):
    noise = torch.randn(1, 2, 2, 4)
    first, second = (run(pipe, [0], seeds=None, latents=noise) for _ in range(2))
    assert torch.equal(first, second)


def test_the_callback_sees_every_step_and_may_replace_latents(pipe):
    seen = []

    def note(pipeline, step, timestep, tensors):
        seen.append((step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == STEPS - 1 else {}

    latents = run(pipe, [0], output_type="latent", callback_on_step_end=note)
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert [t for _, t in seen] == sorted([t for _, t in seen], reverse=True)
    assert seen[0][1] == 1000
    torch.testing.assert_close(latents[0, 0, 0], pipe.autoencoder.latent_mean)


def test_a_callback_may_stop(pipe):
    seen = []

    def stop(pipeline, step, timestep, tensors):
        seen.append(step)
        pipeline._interrupt = step == 1
        return {}

    run(pipe, [0], callback_on_step_end=stop)
    assert seen == [0, 1]
    assert pipe.interrupt
    assert pipe.num_timesteps == STEPS


def test_a_compiled_transformer_makes_the_same_images(pipe):
    expected = run(pipe, [0, 1], guidance_scale=2.0)
    compiled = quiet(assemble_pipeline(*parts()))
    # "eager" traces the whole graph as any backend does and needs no compiler.
    compiled.transformer.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(run(compiled, [0, 1], guidance_scale=2.0), expected)
    wrapped = quiet(assemble_pipeline(*parts()))
    wrapped.transformer = torch.compile(wrapped.transformer, backend="eager")
    torch.testing.assert_close(run(wrapped, [0, 1], guidance_scale=2.0), expected)


def test_half_precision_stays_close(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    # Without accelerate, diffusers' from_pretrained passes over its dtype.
    half = quiet(FAEPipeline.from_pretrained(tmp_path)).to(torch.bfloat16)
    assert half.transformer.dtype == torch.bfloat16
    found, expected = run(half, [0, 1], guidance_scale=2.0), run(pipe, [0, 1], guidance_scale=2.0)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().mean()) < 0.05


def test_the_scheduler_has_the_solvers_shift():
    assert make_scheduler(Transport(shift=1.0, sampling_shift=0.25)).config.shift == pytest.approx(4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_labels": ["cat"]}, "expected a name of this model .* received 'cat'"),
        ({"class_labels": [3]}, r"ids from 0 to 2, or -1 for none; received \[3\]"),
        ({"class_labels": []}, "class_labels"),
        ({"class_labels": [0], "seeds": [1, 2]}, "seeds: expected one for each of 1 images; received 2"),
        ({"class_labels": [0, 1], "generator": [torch.Generator()]}, "expected one for each of 2 images; received 1"),
        ({"class_labels": [0], "output_type": "jpeg"}, "output_type: expected one of pil, np, pt, latent"),
        ({"class_labels": [0], "callback_on_step_end_tensor_inputs": ["noise"]}, "received noise"),
        ({"class_labels": [0], "guidance_interval": [(0.5, 0.9, 2.0)]}, "t_hi >= t_lo"),
    ],
)
def test_wrong_calls_are_named(pipe, settings, message):
    with pytest.raises(ValueError, match=message):
        pipe(num_inference_steps=1, **settings)


def test_parts_that_do_not_fit_are_refused():
    generator, _, decoder = parts()
    other = FeatureAutoencoder(64, 8, (2, 2), heads=2, head_dim=32, decoder_depth=1)
    with pytest.raises(ValueError, match=r"expected latents \(2, 2, 8\) of the autoencoder"):
        assemble_pipeline(generator, other, decoder)
    with pytest.raises(ValueError, match=r"expected features \(2, 2, 128\) of the autoencoder"):
        assemble_pipeline(generator, parts(feature_dim=128)[1], decoder)


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(0)
    model = StarFlow(4, (2, 2), 3, 32, deep_depth=2, num_blocks=2, shallow_depth=1, num_heads=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    _, *others = parts()
    generator = FlowGenerator(model, FlowLoss(), torch.linspace(-1, 1, 4), torch.linspace(0.5, 2, 4))
    return generator.eval(), quiet(assemble_pipeline(generator, *others, class_names=["tench", "dog", "church"]))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_flow_needs_no_scheduler_and_makes_its_generators_latents(flow, guidance):
    generator, pipe = flow
    expected = generator.sample(
        generator.classes(torch.tensor([0, 1, -1])), [7, 8, 9], guidance=(GuidanceInterval(1, 0, guidance),)
    )
    latents = run(pipe, ["tench", "dog", -1], seeds=[7, 8, 9], guidance_scale=guidance, output_type="latent")
    assert pipe.scheduler is None
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)


def test_an_exported_flow_makes_the_same_images(flow, tmp_path):
    _, pipe = flow
    export_pipeline(pipe, tmp_path / "flow", "card")
    loaded = quiet(FAEPipeline.from_pretrained(tmp_path / "flow"))
    assert isinstance(loaded.transformer, StarFlow)
    assert torch.equal(run(loaded, [0, 1]), run(pipe, [0, 1]))


@pytest.mark.parametrize("family", [LightningDiT, StarFlow])
def test_an_unconditional_model_takes_seeds_alone(family):
    generator, autoencoder, decoder = parts()
    torch.manual_seed(0)
    sizes = {"deep_depth": 1, "num_blocks": 2, "shallow_depth": 1} if family is StarFlow else {"depth": 2}
    model = family(4, (2, 2), num_classes=0, hidden_size=32, num_heads=2, **sizes)
    settings = FlowLoss() if family is StarFlow else Transport()
    kind = FlowGenerator if family is StarFlow else DiffusionGenerator
    generator = kind(model, settings, generator.latent_mean, generator.latent_std).eval()
    pipe = quiet(assemble_pipeline(generator, autoencoder, decoder))
    asked = {"num_inference_steps": STEPS, "output_type": "latent"}
    made = pipe(seeds=[7, 8], **asked).images
    expected = generator.sample(generator.classes(torch.tensor([-1, -1])), [7, 8], steps=STEPS, guidance=())
    torch.testing.assert_close(made, expected)
    assert len(pipe(batch_size=3, **asked).images) == 3
    assert len(pipe(**asked).images) == 1
    assert len(pipe(generator=[torch.Generator().manual_seed(n) for n in range(2)], **asked).images) == 2
    for wrong in ({"class_labels": [0]}, {"prompt": "a dog"}):
        with pytest.raises(ValueError, match="class_labels, prompt: expected neither: this model is unconditional"):
            pipe(**wrong, **asked)
    with pytest.raises(ValueError, match="guidance_scale: expected 1, since this model is unconditional; received 2"):
        pipe(seeds=[0], guidance_scale=2.0, **asked)


def test_labels_alone_say_how_many_images_there_are(pipe):
    with pytest.raises(ValueError, match="batch_size: expected none; give num_images_per_prompt"):
        pipe([0, 1], batch_size=2)
