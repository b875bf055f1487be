"""Trained runs to one folder that diffusers loads: which facts of their lineage the card tells."""

import json
from pathlib import Path

import torch

from fae.autoencoder import FeatureAutoencoder
from fae.export import export_pipeline
from fae.model_card import CardFacts, model_card
from fae.pipeline_fae import FAEPipeline
from fae.pixel_decoder import PixelDecoder
from jobs.models import load_model
from jobs.run_folder import Models
from jobs.train_gen import load_generator
from pipeline.lineage import latents_of
from stores import open_store


def export(models: Models, folder: Path, terms: str) -> Path:
    """Write the pipeline of these runs into a new or empty folder.

    Raises:
        ValueError: the folder holds something, or the runs do not fit each other.
    """
    cpu = torch.device("cpu")
    pipe = FAEPipeline.from_parts(
        load_generator(models.generator, cpu),
        load_model(FeatureAutoencoder, models.autoencoder.model_path, cpu),
        load_model(PixelDecoder, models.decoder.model_path, cpu),
        models.class_names,
    )
    return export_pipeline(pipe, folder, model_card(card_facts(models, folder.name, terms)))


def card_facts(models: Models, name: str, terms: str) -> CardFacts:
    """What the runs and stores say of themselves."""
    latents = latents_of(models.generator)
    features = open_store(Path(latents.attributes["features"]))
    runs = {"autoencoder": models.autoencoder, "pixel decoder": models.decoder, "generator": models.generator}
    lineage = [
        ("features", features.path.name, features.content_id),
        ("latents", latents.path.name, latents.content_id),
    ]
    lineage += [(stage, run.path.name, run.weights_sha256) for stage, run in runs.items()]
    figures = {f"{stage}: {key}": value for stage, run in runs.items() for key, value in run.record["figures"].items()}
    recipe = {stage: run.record["config"] for stage, run in runs.items()}
    return CardFacts(
        name=name,
        encoder=features.manifest.ingredients["encoder"],
        recipe=json.dumps(recipe, indent=1),
        lineage=lineage,
        figures=figures,
        class_names=models.class_names or (),
        data=terms,
    )
