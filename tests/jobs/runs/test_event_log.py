"""What TensorBoard shows of a run: curves by group, previews, settings."""

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.runs.event_log import EventLog, tag


@pytest.mark.parametrize(
    ("name", "held_out", "shown"),
    [
        ("loss", False, "train/loss"),
        ("gradient_norm", False, "train/gradient_norm"),
        ("val_velocity_mse", False, "val/velocity_mse"),
        ("psnr", True, "val/psnr"),
        ("val_psnr_raw", True, "val/psnr_raw"),
        ("rows_per_second", False, "system/rows_per_second"),
        ("mfu", False, "system/mfu"),
    ],
)
def test_curves_are_grouped_by_what_they_are_of(name, held_out, shown):
    assert tag(name, held_out) == shown


def test_a_board_has_curves_images_and_settings(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "preview.png")
    events = EventLog(tmp_path, 1)
    events.add_line({"loss": 0.5, "psnr": 20.0, "wait_share": 0.1}, 4, {"psnr"})
    events.add_image("preview", tmp_path / "preview.png", 4)
    events.add_settings({"steps": 4, "size": "tiny", "layers": (1, 2), "weights": None}, {"val_psnr": 20.0})
    events.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert {"train/loss", "val/psnr", "system/wait_share"} <= set(board.Tags()["scalars"])
    (shown,) = board.Images("preview")
    assert (shown.step, shown.height, shown.width) == (4, 6, 8)
    assert "_hparams_/session_start_info" in board.summary_metadata
