"""A small head that aligns latents with captions: trained on real pairs, it tells whose caption is whose."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# exp of the logit scale is at most this (CLIP, arXiv 2103.00020, section 2.5).
MOST_SCALE = 100.0


@dataclass(frozen=True)
class AlignmentSettings:
    """Size and training of the head; it is to be small, for a few thousand pairs are what there is."""

    hidden_size: int = 256
    embedding_size: int = 128
    dropout: float = 0.3
    steps: int = 600
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    seed: int = 0


class AlignmentHead(nn.Module):
    """Latents (N, h, w, c) and pooled text vectors (N, P) as unit vectors (N, D) of one space.

    Args:
        latent_mean, latent_std: per channel (c,) of real latents; text_mean, text_std: per channel (P,) of real texts.
    """

    latent_mean: Tensor
    latent_std: Tensor
    text_mean: Tensor
    text_std: Tensor

    def __init__(
        self,
        latent_mean: Tensor,
        latent_std: Tensor,
        text_mean: Tensor,
        text_std: Tensor,
        settings: AlignmentSettings,
    ) -> None:
        super().__init__()
        hidden, size, dropout = settings.hidden_size, settings.embedding_size, settings.dropout
        spread = {"latent_mean": latent_mean, "latent_std": latent_std, "text_mean": text_mean, "text_std": text_std}
        for name, values in spread.items():
            self.register_buffer(name, values.float())
        # Squares of 2 × 2 tokens, whose mean stands for the image: a second layer of convolutions costs ten times as
        # much and recognises no more captions of held-out images.
        self.squares = nn.Sequential(nn.Conv2d(len(latent_mean), hidden, 2, 2), nn.GELU())
        self.image = nn.Sequential(nn.LayerNorm(hidden), nn.Dropout(dropout), nn.Linear(hidden, size))
        self.text = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(text_mean), size))
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def images(self, latents: Tensor) -> Tensor:
        """Of latents (N, h, w, c), (N, D)."""
        x = ((latents.float() - self.latent_mean) / self.latent_std).permute(0, 3, 1, 2)  # -> (N, c, h, w)
        return F.normalize(self.image(self.squares(x).mean(dim=(2, 3))), dim=1)

    def captions(self, pooled: Tensor) -> Tensor:
        """Of pooled text vectors (N, P), (N, D)."""
        return F.normalize(self.text((pooled.float() - self.text_mean) / self.text_std), dim=1)

    def loss(self, latents: Tensor, pooled: Tensor) -> Tensor:
        """InfoNCE both ways between N images and their captions (CLIP, arXiv 2103.00020, figure 3)."""
        scale = self.log_scale.exp().clamp(max=MOST_SCALE)
        logits = scale * self.images(latents) @ self.captions(pooled).T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def fit_alignment(
    latents: Tensor, texts: Tensor, settings: AlignmentSettings, on_step: Callable[[int], None] = lambda step: None
) -> AlignmentHead:
    """Train a head on real pairs, by AdamW with a cosine schedule; every draw comes from `settings.seed`.

    Args:
        latents: (N, h, w, c) of real images.
        texts: (N, K, P), the pooled vectors of each image's captions; one of them is drawn at each visit.
        settings: of the head and its training.
        on_step: called with the number of each finished step.

    Raises:
        ValueError: not a row of texts for each of the latents, or fewer than 2.
    """
    if len(latents) != len(texts) or len(latents) < 2:
        raise ValueError(
            f"alignment: expected at least 2 images and captions of each; received {len(latents)} and {len(texts)}"
        )
    with torch.random.fork_rng(devices=[latents.device] if latents.is_cuda else []):
        torch.manual_seed(settings.seed)
        head = _new_head(latents, texts, settings).to(latents.device).train()
        batch = min(settings.batch_size, len(latents))
        optimizer = torch.optim.AdamW(head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        for step in range(settings.steps):
            rows = torch.randperm(len(latents))[:batch].to(latents.device)
            views = torch.randint(texts.shape[1], (batch,)).to(latents.device)
            loss = head.loss(latents[rows], texts[rows, views])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            on_step(step + 1)
    return head.eval().requires_grad_(False)


def _new_head(latents: Tensor, texts: Tensor, settings: AlignmentSettings) -> AlignmentHead:
    tokens, words = latents.flatten(0, 2).float(), texts.flatten(0, 1).float()  # -> (N·h·w, c), (N·K, P)
    return AlignmentHead(
        *(tokens.mean(dim=0), tokens.std(dim=0).clamp(min=1e-6)),
        *(words.mean(dim=0), words.std(dim=0).clamp(min=1e-6)),
        settings,
    )
