"""What a person should know of an objective before hours of training."""

from dataclasses import fields

from jobs.config import PIXEL_VAE, AutoencoderConfig, GeneratorConfig
from jobs.train.families import FAMILIES

DEFAULTS = GeneratorConfig()
OF_FAMILIES = set().union(*(family.settings for family in FAMILIES.values()))
OF_METHODS = [
    part.name for part in fields(GeneratorConfig) if part.metadata["omit_default"] and part.name in OF_FAMILIES
]


def method_notes(config: GeneratorConfig) -> list[str]:
    """Settings that work against each other, or that this family does not read."""
    unread = set(OF_METHODS) - FAMILIES[config.model].settings
    changed = [name for name in OF_METHODS if name in unread and getattr(config, name) != getattr(DEFAULTS, name)]
    notes = [f"generator.{name} is not used: {config.model} has no such method" for name in changed]
    if config.internal_guidance_depth is not None and not config.internal_guidance_weight:
        notes.append("generator.internal_guidance_depth is not used: generator.internal_guidance_weight is 0")
    if "prediction" not in unread and config.prediction == "x" and config.time_distribution == "uniform":
        notes.append(
            "generator.prediction x with uniform times: nearly all of the loss is of small t (mean weight 39, with "
            "logit-normal times 3 to 11); set generator.time_distribution logit-normal"
        )
    return notes


def autoencoder_notes(config: AutoencoderConfig) -> list[str]:
    """Settings of the objective that this autoencoder does not read."""
    plain = AutoencoderConfig()
    if config.encoder in ("pca", PIXEL_VAE):
        names = ("objective", "latent_norm", "latent_noise_std", *(f"{name}_weight" for name in config.term_weights))
        changed = [name for name in names if getattr(config, name) != getattr(plain, name)]
        return [f"autoencoder.{name} is not used with encoder {config.encoder}" for name in changed]
    if config.of_objective("latent_norm") == "rms" and config.kl_weight != plain.kl_weight:
        return ["autoencoder.kl_weight is not used: latents of unit root mean square have no variance and no KL"]
    return []
