"""Pipelines of small models of every family, with weights that tell conditions apart."""

from collections.abc import Callable

import pytest
import torch

from fae.encoders.text_encoders import TextEncoder
from fae.export.assemble import assemble_pipeline
from fae.export.pipeline_fae import FAEPipeline
from fae.export.pipeline_inputs import prompt_captions
from fae.generators.diffusion import DiffusionGenerator
from fae.generators.flow import FlowGenerator, FlowLoss
from fae.models.autoencoder import FeatureAutoencoder
from fae.models.dit import DiT
from fae.models.lightning_dit import LightningDiT
from fae.models.mmdit import MMDiT
from fae.models.pixel_decoder import PixelDecoder
from fae.models.starflow import StarFlow
from fae.models.text_lightning_dit import TextLightningDiT
from fae.sampling.transport import Transport

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "red", "car", "on", "grass"]
TOKENS = 7
CLASSES = ["tench", "dog", "church"]
FAMILIES = ("lightning-dit", "dit", "starflow", "unconditional", "text-lightning-dit", "mmdit", "text-starflow")


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> TextEncoder:
    """A text encoder of random weights that knows a few words."""
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=16, **sizes))
    tokenizer = transformers.BertTokenizerFast(str(file), model_max_length=16)
    return TextEncoder(tokenizer, model.eval(), torch.device("cpu"))


@pytest.fixture(scope="session")
def pipe_of(request) -> Callable[[str], FAEPipeline]:
    """A new pipeline of a family: the same weights each time."""

    def make(family: str) -> FAEPipeline:
        text = request.getfixturevalue("words") if family in ("text-lightning-dit", "mmdit", "text-starflow") else None
        torch.manual_seed(0)
        model = _model(family)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.15)
        empty = prompt_captions(text, [""], TOKENS).empty_caption if text else None
        statistics = torch.linspace(-1, 1, 4), torch.linspace(0.5, 2, 4)
        flow = isinstance(model, StarFlow)
        kind, training = (FlowGenerator, FlowLoss()) if flow else (DiffusionGenerator, Transport(shift=0.4))
        autoencoder = FeatureAutoencoder(64, 4, (2, 2), heads=2, head_dim=32, decoder_depth=1)
        decoder = PixelDecoder(64, (2, 2), 8, 64, 1, 2)
        names = CLASSES if model.num_classes else None
        generator = kind(model, training, *statistics, empty).eval()
        pipe = assemble_pipeline(generator, autoencoder.eval(), decoder.eval(), names, text)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


def _model(family: str) -> torch.nn.Module:
    sizes = {"in_channels": 4, "grid": (2, 2), "hidden_size": 32, "num_heads": 2}
    text = {"context_dim": 16, "pooled_dim": 16}
    flow = {"deep_depth": 2, "num_blocks": 2, "shallow_depth": 1}
    if family == "text-starflow":
        return StarFlow(**sizes, **flow, **text)
    if family == "starflow":
        return StarFlow(**sizes, **flow, num_classes=3)
    if family in ("text-lightning-dit", "mmdit"):
        return {"text-lightning-dit": TextLightningDiT, "mmdit": MMDiT}[family](**sizes, **text, depth=2)
    classes = 0 if family == "unconditional" else 3
    return (DiT if family == "dit" else LightningDiT)(**sizes, depth=2, num_classes=classes)
