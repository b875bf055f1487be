"""The device of these tests, small stores of random numbers, and steps of small models on them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_tests import chosen_device
from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig, DecoderConfig
from jobs.loop.parallel import SINGLE_PROCESS, Ranks, with_loss
from jobs.loop.trainer import Trainer
from jobs.runs.run_folder import RunFolder
from jobs.train.autoencoder import prepare_autoencoder
from jobs.train.generator import prepare_generator
from jobs.train.pixel_decoder import prepare_decoder
from stores import ArraySpec, Store, StoreWriter, new_index

ROWS, GRID, CHANNELS, FEATURE_DIM = 64, 4, 8, 64
SHARED: dict[str, Any] = {"batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 2, "seed": 0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    name = chosen_device(request.config)
    assert name is not None, "these tests are left out without a device"
    return torch.device(name)


@pytest.fixture(scope="session")
def steps(request: pytest.FixtureRequest) -> int:
    """Of a training that is compared."""
    return 6 if request.config.getoption("--tiny") else 50


@pytest.fixture
def on_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("asks CUDA itself")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    root, size = tmp_path_factory.mktemp("gpu"), 4 * GRID
    draws = torch.Generator().manual_seed(0)

    def store(kind: str, **arrays: torch.Tensor) -> Store:
        specs = [
            ArraySpec(name, tuple(values.shape[2:]), "uint8" if values.dtype == torch.uint8 else "float16")
            for name, values in arrays.items()
        ]
        index = new_index([f"{row:03d}" for row in range(ROWS)], label=[row % 4 for row in range(ROWS)])
        writer = StoreWriter.create(root / kind, kind, "gpu", specs, index, {}, rows_per_shard=16, permute=False)
        for shard in range(writer.num_shards):
            rows = writer.shard_rows(shard)
            writer.write_shard(shard, {name: values[rows.start : rows.stop].numpy() for name, values in arrays.items()})
        return writer.finalize()

    latents = torch.randn(ROWS, 1, GRID, GRID, CHANNELS, generator=draws).half()
    features = torch.randn(ROWS, 1, GRID, GRID, FEATURE_DIM, generator=draws).half()
    pixels = torch.randint(0, 256, (ROWS, 1, size, size, 3), dtype=torch.uint8, generator=draws)
    return {
        "latents": store("latents", latents=latents),
        "features": store("features", features=features, pixels=pixels),
    }


@pytest.fixture
def training(stores: dict[str, Store], tmp_path: Path) -> Callable[..., tuple[Trainer, Callable[[], torch.Tensor]]]:
    """(model, device, **settings) -> its trainer, and a function that does a step and returns the loss."""

    def prepare(
        name: str, device: torch.device, run: str = "run", ranks: Ranks = SINGLE_PROCESS, **settings: Any
    ) -> tuple[Trainer, Callable[[], torch.Tensor]]:
        how = SHARED | {"steps": 100, "precision": "fp32"} | settings

        def folder(kind: str, config: Any) -> RunFolder:
            return RunFolder.create(tmp_path, kind, f"{name}-{run}-{device.type}", {}, asdict(config), {})

        if name == "autoencoder":
            config = AutoencoderConfig(heads=2, head_dim=16, decoder_depth=1, latent_channels=CHANNELS, **how)
            trainer, loss = prepare_autoencoder(
                folder("autoencoders", config), stores["features"], config, device, ranks
            )
        elif name == "pixel-decoder":
            plain = DecoderConfig(size="tiny", perceptual="none", discriminator="none", **how)
            made = prepare_decoder(folder("decoders", plain), stores["features"], None, None, plain, device, ranks)
            trainer, loss, _ = made
        else:
            own = GeneratorConfig(model=name, size="tiny", condition="class", **how)
            trainer, loss = prepare_generator(folder("generators", own), stores["latents"], None, own, device, ranks)
        module, open_batches = with_loss(trainer.model, loss, ranks), []

        def step() -> torch.Tensor:
            if not open_batches:  # once the trainer was resumed
                open_batches.append(iter(trainer.loader))
            losses = trainer.forward_backward(module, next(open_batches[0]))
            trainer.optimizer_step(losses)
            return losses["loss"].detach()

        return trainer, step

    return prepare
