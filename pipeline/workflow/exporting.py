"""Trained runs to one folder that diffusers loads: which facts of their lineage the card tells."""

import json
from pathlib import Path
from typing import Any

import torch

from fae.export import CardFacts, assemble_pipeline, export_pipeline, model_card
from fae.models import PixelDecoder
from jobs.runs import Models, RunFolder, load_feature_autoencoder, load_model, resolve_reference
from jobs.sampling import PromptEncoder, is_unconditional, takes_text
from jobs.train import load_generator
from pipeline.artifacts import SampleFolder, latents_of
from stores import Store, open_store
from stores.backends import name_of
from stores.core import reference_store

_SAMPLING_FACTS = ("guidance_scale", "guidance_interval", "internal_guidance_scale", "steps", "solver")


def export(
    models: Models, folder: Path, terms: str, license: str = "other", samples: SampleFolder | None = None
) -> Path:
    """Write the pipeline of these runs into a new or empty folder, with the text encoder where it takes captions.

    Args:
        models: the runs.
        folder: new or empty.
        terms: what they were trained on, and under which terms.
        license: identifier of the licence of the weights on the hub.
        samples: of these models (see `newest_samples`): the card shows them and recommends their settings.

    Raises:
        ValueError: the folder holds something, the runs do not fit each other, or a VAE of pixels decodes the latents.
    """
    if models.decoder is None:
        raise ValueError(
            f"{models.autoencoder.path}: expected an autoencoder of features and a pixel decoder; a VAE of pixels is "
            "not part of the pipeline that is exported"
        )
    cpu = torch.device("cpu")
    generator = load_generator(models.generator, cpu)
    text = PromptEncoder(models.generator, generator, cpu).encoder if generator.takes_text else None
    pipe = assemble_pipeline(
        generator,
        load_feature_autoencoder(models.autoencoder, cpu),
        load_model(PixelDecoder, models.decoder.model_path, cpu),
        models.class_names if generator.num_classes else None,
        text,
    )
    facts = card_facts(models, folder.name, terms, license, samples)
    return export_pipeline(pipe, folder, model_card(facts), samples.grid if samples else None)


def card_facts(
    models: Models, name: str, terms: str, license: str = "other", samples: SampleFolder | None = None
) -> CardFacts:
    """What the runs, stores and samples say of themselves."""
    latents = latents_of(models.generator)
    features = open_store(resolve_reference(latents.url, latents.attributes["features"]))
    assert models.decoder is not None
    runs = {"autoencoder": models.autoencoder, "pixel decoder": models.decoder, "generator": models.generator}
    lineage = [
        ("features", name_of(features.url), features.content_id),
        ("latents", name_of(latents.url), latents.content_id),
    ]
    if takes_text(models.generator):
        record = models.generator.record
        lineage.append(("text", Path(record.inputs["text"]).name, record.ingredients["text_content_id"]))
    lineage += [(stage, run.path.name, run.weights_sha256) for stage, run in runs.items()]
    metrics = {f"{stage}: {key}": value for stage, run in runs.items() for key, value in run.record.metrics.items()}
    recipe = {stage: run.record.config for stage, run in runs.items()}
    return CardFacts(
        name=name,
        encoder=features.manifest.ingredients["encoder"],
        recipe=json.dumps(recipe, indent=1),
        lineage=lineage,
        metrics=metrics,
        class_names=models.class_names or (),
        unconditional=is_unconditional(models.generator),
        **_text_facts(models.generator, reference_store(latents)),
        **_sampling_facts(models, samples),
        license=license,
        data=terms,
    )


def _text_facts(generator: RunFolder, latents: Store) -> dict[str, Any]:
    """Of a generator of captions: its text encoder, and a caption that it may have seen."""
    if not takes_text(generator):
        return {}
    names = ("text_encoder", "text_encoder_sha256", "max_tokens")
    captions = [row[0] for row in latents.index["caption"].to_pylist() if row]
    return {"text_encoder": {name: getattr(generator.record, name) for name in names}, "prompt": captions[0]}


def _sampling_facts(models: Models, samples: SampleFolder | None) -> dict[str, Any]:
    """The settings of samples, else the defaults; a flow has neither steps nor a solver."""
    record = samples.record() if samples else {}
    known = record.get("ingredients", {}).get("sample", {})
    facts = {name: known[name] for name in _SAMPLING_FACTS if name in known}
    if models.generator.record.config["model"] == "starflow":
        facts = {**{name: value for name, value in facts.items() if name != "solver"}, "steps": None}
    if samples is not None:
        shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
        facts["images"] = f"Samples that were not chosen: seeds from {known.get('seed', 0)} on, {shown}."
    return facts
