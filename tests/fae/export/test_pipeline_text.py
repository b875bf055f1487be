"""The pipeline of a generator that takes captions: the same latents as the generator's own, and prompts alone."""

import pytest
import torch

from fae.encoders.text_encoders import TextEncoder
from fae.export.assemble import assemble_pipeline
from fae.export.pipeline_fae import FAEPipeline
from fae.export.pipeline_inputs import prompt_captions
from fae.generators.diffusion import DiffusionGenerator
from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.autoencoder import FeatureAutoencoder
from fae.models.mmdit import MMDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.intervals import parse_guidance
from fae.sampling.transport import Transport

transformers = pytest.importorskip("transformers", reason="needs the extra text")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "red", "car", "on", "grass"]
PROMPTS, TOKENS, STEPS = ["a dog on grass", "a red car", ""], 7, 3


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text encoder of random weights that knows a few words."""
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **sizes))
    tokenizer = transformers.BertTokenizerFast(str(file), model_max_length=16)
    return TextEncoder(tokenizer, model.eval(), torch.device("cpu"))


def generator_of(kind, text):
    """A generator of random weights, which captions move."""
    torch.manual_seed(0)
    sizes = {"context_dim": 16, "pooled_dim": 16, "in_channels": 4, "grid": (2, 2), "hidden_size": 32, "num_heads": 2}
    if kind == "starflow":
        model = StarFlow(**sizes, num_classes=0, deep_depth=2, num_blocks=2, shallow_depth=1)
    else:
        model = {"lightning-dit": TextLightningDiT, "mmdit": MMDiT}[kind](**sizes, depth=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    empty_caption = prompt_captions(text, [""], TOKENS).empty_caption
    mean, std = torch.linspace(-1, 1, 4), torch.linspace(0.5, 2, 4)
    family, training = (FlowGenerator, FlowLoss()) if kind == "starflow" else (DiffusionGenerator, Transport(shift=0.4))
    return family(model, training, mean, std, empty_caption).eval()


def pipe_of(generator, text):
    torch.manual_seed(1)
    autoencoder = FeatureAutoencoder(64, 4, (2, 2), heads=2, head_dim=32, decoder_depth=1).eval()
    decoder = PixelDecoder(64, (2, 2), 8, 64, 1, 2).eval()
    return quiet(assemble_pipeline(generator, autoencoder, decoder, text=text))


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe, prompt, **settings):
    settings = {"seeds": [5, 6, 7][: len(prompt)], "output_type": "latent", "num_inference_steps": STEPS} | settings
    return pipe(prompt=prompt, **settings).images


GUIDANCE = [{}, {"guidance_scale": 1.5, "guidance_interval": "0.9,0"}, {"guidance_interval": "paper"}]


@pytest.mark.parametrize("kind", ["lightning-dit", "mmdit", "starflow"])
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_prompts_make_the_generators_latents(kind, guidance, text):
    generator = generator_of(kind, text)
    encoded = text(PROMPTS, TOKENS)
    captions = generator.captions(encoded.states, encoded.lengths, encoded.pooled)
    intervals = parse_guidance(guidance.get("guidance_interval", "1,0"), guidance.get("guidance_scale", 1.0))
    with torch.no_grad():
        expected = generator.sample(
            captions, [5, 6, 7], steps=STEPS, guidance=intervals, solver="euler", guide_model=None
        )
    pipe = pipe_of(generator, text)
    found = run(pipe, PROMPTS, **guidance)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    others = run(pipe, ["a red car", "a dog on grass", ""], **guidance)
    assert float((found[:2] - others[:2]).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["lightning-dit", "mmdit", "starflow"])
def test_a_folder_brings_its_text_encoder(kind, text, tmp_path, caplog):
    pipe = pipe_of(generator_of(kind, text), text)
    pipe.save_pretrained(tmp_path)
    loaded = quiet(FAEPipeline.from_pretrained(tmp_path))
    assert "not expected and will be ignored" not in caplog.text
    assert loaded.config.max_tokens == TOKENS
    assert torch.equal(run(loaded, PROMPTS, guidance_scale=1.5), run(pipe, PROMPTS, guidance_scale=1.5))


def test_guidance_of_no_words_changes_nothing(text):
    pipe = pipe_of(generator_of("lightning-dit", text), text)
    torch.testing.assert_close(run(pipe, [""], guidance_scale=4.0), run(pipe, [""]), atol=1e-4, rtol=1e-4)
    assert float((run(pipe, ["a dog"], guidance_scale=4.0) - run(pipe, ["a dog"])).abs().max()) > 1e-3


def test_a_prompt_alone_is_one_image_and_longer_ones_are_cut(text):
    pipe = pipe_of(generator_of("lightning-dit", text), text)
    settings = {"seeds": [5], "num_inference_steps": STEPS, "output_type": "latent"}
    assert torch.equal(pipe(prompt="a dog", **settings).images, run(pipe, ["a dog"]))
    long = "a dog on grass a red car a dog"
    torch.testing.assert_close(run(pipe, [long]), run(pipe, [f"{long} on grass"]))


def test_half_precision_takes_prompts(text):
    generator = generator_of("lightning-dit", text)
    expected = run(pipe_of(generator, text), PROMPTS, guidance_scale=1.5)
    half = pipe_of(generator_of("lightning-dit", text), text)
    half.transformer.to(torch.bfloat16)
    found = run(half, PROMPTS, guidance_scale=1.5)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().mean() / expected.abs().mean()) < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "prompt: expected captions, and no class_labels"),
        ({"class_labels": [0]}, "prompt: expected captions, and no class_labels"),
        ({"class_labels": [0], "prompt": ["a dog"]}, "prompt: expected captions, and no class_labels"),
        ({"prompt": []}, r"prompt: expected a text or several; received \[\]"),
        ({"prompt": [3]}, r"prompt: expected a text or several; received \[3\]"),
        ({"prompt": ["a dog"], "seeds": [1, 2]}, "seeds: expected one for each of 1 images; received 2"),
    ],
)
def test_wrong_calls_are_named(text, settings, message):
    pipe = pipe_of(generator_of("lightning-dit", text), text)
    with pytest.raises(ValueError, match=message):
        pipe(num_inference_steps=1, **settings)


def test_a_text_encoder_is_there_exactly_for_generators_of_captions(text):
    generator = generator_of("lightning-dit", text)
    with pytest.raises(ValueError, match="expected the text encoder for a generator of captions; received none"):
        pipe_of(generator, None)
