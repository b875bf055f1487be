"""The vision half of a joint vision–text model (SigLIP): from a frozen encoder's stored tokens to the text's space."""

from pathlib import Path

import torch
from torch import Tensor

from fae.weights.files import WeightsError
from fae.weights.transformers_folder import import_transformers, load_frozen


class TokenPooler:
    """The final norm and the attention-pooling head of SigLIP's vision tower, which take nothing but patch tokens.

    SigLIP compares what it returns with its text tower's pooled output (arXiv 2303.15343). CLIP cannot be had so: it
    pools a class token, which a feature store does not hold.

    Args:
        folder: a transformers folder of the joint model, of the vision encoder whose tokens were stored.
        norm: what the stored tokens went through after the last block, as in `EncoderSpec`: off, affine-free or model.

    Raises:
        WeightsError: the folder holds no such model.
    """

    def __init__(self, folder: Path, norm: str, device: torch.device) -> None:
        transformers = import_transformers()
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{folder}: expected a joint model that transformers reads; {error}") from error
        if config.model_type != "siglip" or not config.vision_config.vision_use_head:
            raise WeightsError(
                f"{folder}: expected a SigLIP model, whose pooling head takes patch tokens; found {config.model_type}; "
                "give the folder of the joint model that the frozen encoder is the vision half of"
            )
        vision = config.vision_config
        self.depth, self.channels, self.norm = vision.num_hidden_layers, vision.hidden_size, norm
        vision.num_hidden_layers = 0  # its blocks have run already
        self.model = load_frozen(transformers.SiglipVisionModel, folder, device, config=vision)

    @torch.inference_mode()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (N, h, w, C) as stored → embeddings (N, D), float32."""
        rows = self._normed(tokens.float().flatten(1, 2))  # (N, h, w, C) -> (N, h·w, C)
        pooled: Tensor = self.model.head(rows)
        return pooled

    def _normed(self, rows: Tensor) -> Tensor:
        """Rows (N, T, C) as the final norm leaves them, whatever part of it they went through."""
        last = self.model.post_layernorm
        if self.norm == "off":
            normed: Tensor = last(rows)
            return normed
        return rows if self.norm == "model" else rows * last.weight + last.bias
