"""A frozen encoder compiled for one number of images, its weights folded into the code."""

from typing import Any

import torch

from fae.encoders.image_encoder import FrozenEncoder


class CompiledEncoder:
    """`encoder` by torch.compile; fewer images than `rows` are filled up with black ones, so that nothing is anew.

    Call it on the thread that made it, or on others with as many threads for an operator: the compiler's code is for
    that number. Tokens differ from the eager ones by rounding.

    Args:
        encoder: a timm ViT.
        rows: images in a full batch.
        backend: of torch.compile.
    """

    def __init__(self, encoder: FrozenEncoder, rows: int, backend: str = "inductor") -> None:
        self.encoder, self.rows = encoder, rows
        self.input_size, self.dtype = encoder.input_size, encoder.dtype
        self._run: Any = torch.compile(encoder.tokens, backend=backend, dynamic=False)
        self._compile()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, 3) of the encoder's own size, at most `rows` → float32 (N, h, w, C)."""
        count, missing = len(pixels), self.rows - len(pixels)
        if missing:
            pixels = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])])
        with torch.no_grad():
            tokens: torch.Tensor = self._run(pixels)
        return tokens[:count]

    def _compile(self) -> None:
        import torch._inductor.config as inductor  # seconds, which only those who compile pay

        device = self.encoder.scale.device
        blank = torch.zeros(self.rows, *self.encoder.input_size, 3, dtype=torch.uint8, device=device)
        # One thread a pass: the code would else ask for as many as there are when it is made.
        own: dict[str, Any] = {"freezing": True, "cpp.threads": torch.get_num_threads()}
        with inductor.patch(own), torch.no_grad():
            self._run(blank)
