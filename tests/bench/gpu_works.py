"""What tests/bench/gpu.py measures: each work returns metrics of one thing, whose sizes are the paper's or tiny."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpu_stores
import numpy as np
import torch
from gpu_stores import Shapes
from PIL import Image

from fae.encoders.image_encoder import FrozenEncoder
from fae.encoders.specs import EncoderSpec
from fae.encoders.timm_models import build_skeleton, find_architecture, tapped_layers
from fae.flops import forward_flops, on_meta
from fae.images import decode_image
from fae.sampling import parse_guidance
from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig, DecoderConfig
from jobs.config.training import TRAINING_PASSES, TrainConfig
from jobs.executors.device_stages import DeviceStages, host_buffer
from jobs.loop.parallel import with_loss
from jobs.loop.trainer import Trainer
from jobs.runs.run_folder import RunFolder
from jobs.train.autoencoder import prepare_autoencoder
from jobs.train.generator import prepare_generator
from jobs.train.pixel_decoder import prepare_decoder
from stores import Loader, Store

Metrics = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """Where and how long is measured, and the stores."""

    device: torch.device
    seconds: float
    tiny: bool
    folder: Path
    shapes: Shapes
    latents: Store
    features: Store
    text: Store

    @classmethod
    def make(cls, device: torch.device, seconds: float, tiny: bool, folder: Path) -> "Bench":
        shapes = gpu_stores.TINY if tiny else Shapes()
        stores = [make(folder, shapes) for make in (gpu_stores.latents, gpu_stores.features, gpu_stores.captions)]
        return cls(device, seconds, tiny, folder, shapes, *stores)

    def time(self, work: Callable[[], object], warm: int = 2) -> float:
        """Seconds of a call, on average over about `seconds`; the device is waited for at the end alone."""
        for _ in range(warm):
            work()
        once = self._run(work, 1)
        count = max(2, min(200, int(self.seconds / max(once, 1e-6))))
        return self._run(work, count) / count

    def _run(self, work: Callable[[], object], count: int) -> float:
        self.wait()
        started = time.perf_counter()
        for _ in range(count):
            work()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def memory(self) -> Metrics:
        """The most of the device's memory since the last look, in GB."""
        if self.device.type != "cuda":
            return {}
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return {"memory_gb": peak}


def ceilings(bench: Bench) -> Metrics:
    """What the device copies and multiplies at most, and what pinned memory gives it."""
    size = 1 << (20 if bench.tiny else 29)
    a, b = (torch.zeros(size, dtype=torch.uint8, device=bench.device) for _ in range(2))
    pinned = host_buffer((size,), torch.uint8, bench.device)
    width = 256 if bench.tiny else 8192
    x = torch.randn(width, width, device=bench.device, dtype=torch.bfloat16)
    return {
        "copy_gb_per_second": 2 * size / 1e9 / bench.time(lambda: b.copy_(a)),
        "pinned_gb_per_second": size / 1e9 / bench.time(lambda: b.copy_(pinned, non_blocking=True)),
        "bf16_tflops": 2 * width**3 / 1e12 / bench.time(lambda: x @ x),
    }


def generator_step(
    bench: Bench, model: str, size: str, rows: int, compiled: bool = False, online: FrozenEncoder | None = None
) -> Metrics:
    """A training step on latents; with `online` the frozen encoder runs before it, as without a cache."""
    text = bench.text if model == "mmdit" else None
    settings = _training(bench, rows) | {"condition": "class" if text is None else "text", "compile": compiled}
    config = GeneratorConfig(model=model, size="tiny" if bench.tiny else size, **settings)
    run = _run_folder(bench, "generators", config)
    trainer, loss = prepare_generator(run, bench.latents, text, config, bench.device)
    pixels = _pixels(bench, rows) if online else None
    return _step(bench, trainer, loss, before=(lambda: online(pixels)) if online else None)


def autoencoder_step(bench: Bench, rows: int, compiled: bool = False) -> Metrics:
    """A training step of the feature autoencoder from features on the device or in memory."""
    small: dict[str, Any] = {"heads": 2, "head_dim": 8, "decoder_depth": 1, "latent_channels": 8} if bench.tiny else {}
    config = AutoencoderConfig(**small, **_training(bench, rows), compile=compiled)
    trainer, loss = prepare_autoencoder(
        _run_folder(bench, "autoencoders", config), bench.features, config, bench.device
    )
    return _step(bench, trainer, loss)


def decoder_step(bench: Bench, rows: int, compiled: bool = False) -> Metrics:
    """A training step of the pixel decoder with its pixel loss alone: no weights of judges are at hand."""
    config = DecoderConfig(
        size="tiny" if bench.tiny else "L",
        perceptual="none",
        discriminator="none",
        **_training(bench, rows),
        compile=compiled,
    )
    run = _run_folder(bench, "decoders", config)
    trainer, loss, _ = prepare_decoder(run, bench.features, None, None, config, bench.device)
    return _step(bench, trainer, loss)


def extraction(bench: Bench, name: str, rows: int, from_files: bool = False) -> Metrics:
    """Images through a frozen encoder of random weights, in the worker's three stages; from JPEG files too."""
    encoder = frozen_encoder(bench, name)
    stages, size = DeviceStages(bench.device), encoder.input_size[0]
    outputs = [host_buffer((rows, *encoder.grid, encoder.dim), torch.float16, bench.device) for _ in range(4)]
    batches = _decoded(bench, rows, size) if from_files else _endless(_pixels(bench, rows, size))
    arrivals: list[Any] = []

    def work() -> None:
        arrivals.append(stages.run(next(batches), lambda x: (encoder(x).half(),), (outputs[len(arrivals) % 4],)))

    seconds = bench.time(work)
    for arrival in arrivals[-4:]:
        arrival.wait()
    blank = on_meta(encoder).float()
    image = torch.zeros(1, 3, *encoder.input_size, device="meta")
    tflops = forward_flops(blank, lambda: blank.tapped(image)) * rows / seconds / 1e12
    return {"images_per_second": rows / seconds, "tflops": tflops, **bench.memory()}


def loader(bench: Bench, store: Store, array: str, residency: str, rows: int) -> Metrics:
    """Rows a second into the device."""
    batches = iter(Loader(store, (array,), batch_size=rows, residency=residency, device=bench.device))
    seconds = bench.time(lambda: next(batches))
    batches.close()  # type: ignore[attr-defined]
    row_bytes = store.arrays[array].record_bytes
    return {"rows_per_second": rows / seconds, "gb_per_second": rows * row_bytes / seconds / 1e9}


def sampling(bench: Bench, steps: int, rows: int) -> Metrics:
    """Guided samples of LightningDiT-XL."""
    config = GeneratorConfig(size="tiny" if bench.tiny else "XL", condition="class", **_training(bench, 8))
    trainer, _ = prepare_generator(_run_folder(bench, "generators", config), bench.latents, None, config, bench.device)
    model: Any = trainer.model.eval()
    labels, steps = torch.zeros(rows, dtype=torch.long, device=bench.device), 4 if bench.tiny else steps
    guidance = parse_guidance("1,0", 2.5)

    def work() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            model.sample(
                model.classes(labels), range(rows), steps=steps, guidance=guidance, solver="euler", guide_model=None
            )

    seconds = bench.time(work, warm=1)
    tflops = model.num_function_evaluations(steps, guidance, "euler") * (trainer.row_flops or 0) * rows / seconds / 1e12
    return {"images_per_second": rows / seconds, "tflops": tflops, **bench.memory()}


def frozen_encoder(bench: Bench, name: str) -> FrozenEncoder:
    """An encoder of random weights in bf16; its first block alone where sizes are tiny."""
    spec = EncoderSpec.from_preset(
        "dinov2-s" if bench.tiny else name, input_size=28 if bench.tiny else None, layer=0 if bench.tiny else None
    )
    architecture = find_architecture(spec)
    skeleton = build_skeleton(spec, architecture)
    mean, std = architecture.mean_std
    skeleton = skeleton.to_empty(device=bench.device)
    with torch.no_grad():
        for value in skeleton.parameters():
            value.normal_(std=0.02)
    taps = {"layers": tapped_layers(spec, skeleton), "norm": spec.norm, "mean": mean, "std": std}
    return FrozenEncoder(skeleton, **taps, device=bench.device, dtype=torch.bfloat16)  # type: ignore[arg-type]


def _step(bench: Bench, trainer: Trainer, loss: Any, before: Callable[[], object] | None = None) -> Metrics:
    module, batches = with_loss(trainer.model, loss, trainer.ranks), iter(trainer.loader)

    def step() -> None:
        if before:
            before()
        trainer.optimizer_step(trainer.forward_backward(module, next(batches)))

    seconds, rows = bench.time(step), trainer.config.batch_rows
    batches.close()  # type: ignore[attr-defined]
    tflops = TRAINING_PASSES * (trainer.row_flops or 0) * rows / seconds / 1e12
    return {"images_per_second": rows / seconds, "ms": seconds * 1e3, "tflops": tflops, **bench.memory()}


def _training(bench: Bench, rows: int) -> dict[str, Any]:
    return {"batch_size": min(rows, 8) if bench.tiny else rows, "precision": "bf16"}


def _run_folder(bench: Bench, kind: str, config: TrainConfig) -> RunFolder:
    return RunFolder.create(bench.folder, kind, f"bench-{time.monotonic_ns()}", {}, asdict(config), {})


def _pixels(bench: Bench, rows: int, size: int | None = None) -> torch.Tensor:
    side = size or (28 if bench.tiny else 224)
    pixels = host_buffer((min(rows, 8) if bench.tiny else rows, side, side, 3), torch.uint8, bench.device)
    return pixels.random_(0, 256)


def _endless(batch: torch.Tensor) -> Iterator[torch.Tensor]:
    while True:
        yield batch


def _decoded(bench: Bench, rows: int, size: int) -> Iterator[torch.Tensor]:
    """Batches of JPEG files of about 110 kB, decoded by as many threads as there are processors, one batch ahead."""
    files = [_jpeg(seed, 64 if bench.tiny else 400) for seed in range(16)]
    with ThreadPoolExecutor() as threads:

        def start() -> Any:
            return [threads.submit(decode_image, files[row % len(files)], size) for row in range(rows)]

        ahead = start()
        while True:
            now, ahead = ahead, start()
            batch = host_buffer((rows, size, size, 3), torch.uint8, bench.device)
            np.stack([one.result() for one in now], out=batch.numpy())
            yield batch


def _jpeg(seed: int, size: int) -> bytes:
    """A photograph's worth of detail: noise of several scales."""
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray(draws.integers(0, 256, (size // 8, size // 8, 3), np.uint8)).resize((size, size))
    noise = draws.integers(0, 64, (size, size, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray((np.asarray(coarse) // 2 + noise).astype(np.uint8)).save(out, "JPEG", quality=92)
    return out.getvalue()


def works(bench: Bench, names: Sequence[str]) -> Iterator[tuple[str, Callable[[], Metrics]]]:
    """(name, work) of all that is measured, or of those whose name has one of `names` in it; ceilings come first."""
    all_works = {"ceilings": lambda: ceilings(bench), **_training_works(bench), **_other_works(bench)}
    for name, work in all_works.items():
        if name == "ceilings" or not names or any(part in name for part in names):
            yield name, work


def _training_works(bench: Bench) -> dict[str, Callable[[], Metrics]]:
    found: dict[str, Callable[[], Metrics]] = {}
    for rows in (8,) if bench.tiny else (256, 512, 1024):
        found[f"train LightningDiT-XL eager {rows}"] = lambda rows=rows: generator_step(
            bench, "lightning-dit", "XL", rows
        )
    rows = 8 if bench.tiny else 256
    if not bench.tiny:
        found["train LightningDiT-XL compiled 512"] = lambda: generator_step(
            bench, "lightning-dit", "XL", 512, compiled=True
        )
    found[f"train LightningDiT-XL encoder online {rows}"] = lambda: generator_step(
        bench, "lightning-dit", "XL", rows, online=frozen_encoder(bench, "dinov2-g")
    )
    found[f"train DiT-XL of diffusers {rows}"] = lambda: generator_step(bench, "dit", "XL", rows)
    found["train STARFlow-XL 64"] = lambda: generator_step(bench, "starflow", "XL", 64)
    found["train MMDiT-B 128"] = lambda: generator_step(bench, "mmdit", "B", 128)
    found["train-ae 64"] = lambda: autoencoder_step(bench, 64)
    found["train-decoder 64"] = lambda: decoder_step(bench, 64)
    if not bench.tiny:
        found["train-ae compiled 64"] = lambda: autoencoder_step(bench, 64, compiled=True)
        found["train-decoder compiled 64"] = lambda: decoder_step(bench, 64, compiled=True)
    return found


def _other_works(bench: Bench) -> dict[str, Callable[[], Metrics]]:
    rows = 4 if bench.tiny else 128
    found: dict[str, Callable[[], Metrics]] = {}
    for name in ("dinov2-g",) if bench.tiny else ("dinov2-g", "siglip2-gopt"):
        found[f"extract {name} from memory"] = lambda name=name: extraction(bench, name, rows)
        found[f"extract {name} from JPEG"] = lambda name=name: extraction(bench, name, rows, from_files=True)
    residencies = ("ram", "stream") if bench.device.type != "cuda" else ("device", "ram", "stream")
    for residency in residencies:
        found[f"loader latents {residency}"] = lambda residency=residency: loader(
            bench, bench.latents, "latents", residency, 8 if bench.tiny else 256
        )
    found["loader features stream"] = lambda: loader(
        bench, bench.features, "features", "stream", 8 if bench.tiny else 64
    )
    for steps in (50,) if bench.tiny else (50, 250):
        found[f"sample LightningDiT-XL {steps} steps"] = lambda steps=steps: sampling(
            bench, steps, 4 if bench.tiny else 64
        )
    return found
