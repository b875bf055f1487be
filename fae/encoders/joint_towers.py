"""The vision half of a joint vision–text model: from stored tokens or from images to the space of its text half."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fae.weights import WeightsError, import_transformers, load_frozen, read_part


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
            config = read_part(transformers.AutoConfig, folder, local_files_only=True)
        except WeightsError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{folder}: expected a joint model that transformers reads; {error}") from error
        if config.model_type != "siglip" or not config.vision_config.vision_use_head:
            raise WeightsError(
                f"{folder}: expected a SigLIP model, whose pooling head takes patch tokens; received "
                f"{config.model_type}; give the folder of the joint model that the frozen encoder is the vision half of"
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


class ImageTower:
    """The vision half of a joint model (SigLIP, CLIP) from pixels on, prepared as the folder's own processor does.

    Raises:
        WeightsError: the folder holds no such model, or no processor of images.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        transformers = import_transformers()
        try:
            self.processor = read_part(transformers.AutoImageProcessor, folder, local_files_only=True)
            self.model = load_frozen(transformers.AutoModel, folder, device)
        except WeightsError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{folder}: expected a joint model with its image processor; {error}") from error
        if not hasattr(self.model, "get_image_features"):
            raise WeightsError(
                f"{folder}: expected a joint model such as SigLIP or CLIP; received {type(self.model).__name__}"
            )
        self.device = device

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Tensor:
        """Images uint8 (N, H, W, 3) → embeddings (N, D), float32."""
        prepared = self.processor(images=list(images), return_tensors="pt", input_data_format="channels_last")
        found = self.model.get_image_features(pixel_values=prepared["pixel_values"].to(self.device))
        embeddings: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return embeddings
