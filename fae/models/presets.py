"""Sizes of the models, as dicts of constructor arguments; tiny is for digits and tests, the others are the field's."""

from dataclasses import dataclass

# The width of the feature decoder is the encoder's. 24 × 256 = 4 · 1536 hidden channels are the paper's (XL); the
# smaller ones keep 4 channels of attention for each of the frozen encoder's: ViT-S, B and L have 384, 768 and 1024.
AUTOENCODER: dict[str, dict[str, int]] = {
    "tiny": {"heads": 6, "head_dim": 64, "decoder_depth": 3},
    "S": {"heads": 6, "head_dim": 256, "decoder_depth": 6},
    "B": {"heads": 12, "head_dim": 256, "decoder_depth": 6},
    "L": {"heads": 16, "head_dim": 256, "decoder_depth": 6},
    "XL": {"heads": 24, "head_dim": 256, "decoder_depth": 6},
}

# ViT sizes; L is the paper's. XL has the width and depth of ViT-XL in MAE-style decoders.
PIXEL_DECODER: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "depth": 4, "num_heads": 4},
    "S": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "B": {"hidden_size": 768, "depth": 12, "num_heads": 12},
    "L": {"hidden_size": 1024, "depth": 24, "num_heads": 16},
    "XL": {"hidden_size": 1152, "depth": 28, "num_heads": 16},
}

# DiT's sizes (arXiv 2212.09748, table 1); XL is the paper's.
LIGHTNING_DIT: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "depth": 6, "num_heads": 4},
    "S": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "B": {"hidden_size": 768, "depth": 12, "num_heads": 12},
    "L": {"hidden_size": 1024, "depth": 24, "num_heads": 16},
    "XL": {"hidden_size": 1152, "depth": 28, "num_heads": 16},
}

# Layers = deep + shallow · (blocks - 1). XL is STARFlow's "18(6)" of width 2048 (arXiv 2506.06276), which FAE takes
# over; the others have the widths of DiT's sizes.
STARFLOW: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "deep_depth": 4, "num_blocks": 3, "shallow_depth": 1, "num_heads": 4},
    "S": {"hidden_size": 384, "deep_depth": 8, "num_blocks": 4, "shallow_depth": 2, "num_heads": 6},
    "B": {"hidden_size": 768, "deep_depth": 12, "num_blocks": 4, "shallow_depth": 2, "num_heads": 12},
    "L": {"hidden_size": 1024, "deep_depth": 18, "num_blocks": 6, "shallow_depth": 2, "num_heads": 16},
    "XL": {"hidden_size": 2048, "deep_depth": 18, "num_blocks": 6, "shallow_depth": 2, "num_heads": 32},
}

# L is the paper's (16 layers, 16 × 64); XL has the size of Stable Diffusion 3 medium (arXiv 2403.03206), 2.0 billion as
# the paper's largest; the others have the widths of DiT's sizes.
MMDIT: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 256, "depth": 6, "num_heads": 4},
    "S": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "B": {"hidden_size": 768, "depth": 12, "num_heads": 12},
    "L": {"hidden_size": 1024, "depth": 16, "num_heads": 16},
    "XL": {"hidden_size": 1536, "depth": 24, "num_heads": 24},
}


@dataclass(frozen=True)
class PaperGenerator:
    """A generator of the paper: its size here, the latents (h, w, c) it makes, and the parameters the paper tells."""

    name: str
    model: str
    size: str
    condition: str
    latents: tuple[int, int, int]
    published: str = ""


# Captions are flan-T5-XL's: 128 tokens of 2048 channels, and their mean.
PAPER_CAPTION = (128, 2048, 2048)
SMALL_LATENTS, LARGE_LATENTS = (16, 16, 32), (24, 24, 64)
PAPER_GENERATORS = (
    *(PaperGenerator(f"LightningDiT-{size}/1", "lightning-dit", size, "class", SMALL_LATENTS) for size in "SBL"),
    PaperGenerator("LightningDiT-XL/1", "lightning-dit", "XL", "class", SMALL_LATENTS, "675.26 M"),
    PaperGenerator("STARFlow 18(6)", "starflow", "XL", "class", SMALL_LATENTS, "1.4 B"),
    PaperGenerator("MMDiT 16 × 1024", "mmdit", "L", "text", SMALL_LATENTS, "603.46 M"),
    PaperGenerator("MMDiT 16 × 1024", "mmdit", "L", "text", LARGE_LATENTS),
    PaperGenerator("MMDiT 24 × 1536", "mmdit", "XL", "text", SMALL_LATENTS),
    PaperGenerator("MMDiT 24 × 1536", "mmdit", "XL", "text", LARGE_LATENTS, "2.0 B"),
)
