"""The demo's digits and its classifiers: real digits pass, noise does not."""

from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from fae.images import decode_image
from pipeline.artifacts.digits import DigitSet, as_record, digit_pixels, measure_digits, write_digits


@pytest.fixture(scope="module")
def halves():
    """Two halves of the real digits as 32x32 images."""
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    gray = np.round(digits.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images = np.repeat(gray.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(labels))
    return [DigitSet(images[part], labels[part].astype(np.int64)) for part in (order[::2], order[1::2])]


def test_the_file_is_the_same_every_time_and_holds_every_digit(tmp_path):
    first, second = write_digits(tmp_path / "a" / "digits.parquet"), write_digits(tmp_path / "b" / "digits.parquet")
    assert first.read_bytes() == second.read_bytes()
    table = pq.read_table(first)
    assert table.num_rows == 1797
    assert np.bincount(table["label"].to_numpy()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_that_is_there_is_left_alone(tmp_path):
    file = tmp_path / "digits.parquet"
    file.write_bytes(b"mine")
    assert write_digits(file).read_bytes() == b"mine"


def test_images_hold_the_original_values(tmp_path):
    from sklearn.datasets import load_digits

    originals = load_digits(return_X_y=True)[0][:20]
    images = pq.read_table(write_digits(tmp_path / "digits.parquet"))["image"].to_pylist()[:20]
    small = np.stack([decode_image(image["bytes"], 8) for image in images])
    np.testing.assert_allclose(digit_pixels(small), originals, atol=0.04)
    large = small.repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_allclose(digit_pixels(large), originals, atol=0.04)


def test_real_digits_pass_as_samples(halves):
    train, heldout = halves
    metrics = measure_digits(train, heldout, guided=train, unguided=train, reconstructed=heldout)
    assert metrics.classifier_on_other_half > 0.97
    assert metrics.guided_recognized > 0.97
    assert metrics.unguided_recognized > 0.97
    assert metrics.reconstructions_recognized > 0.97
    assert metrics.recall_unguided == 1.0  # the very same images
    assert 0.8 < metrics.recall_heldout < 1.0
    assert metrics.copies_unguided > 0.95  # they are copies, and are told so
    assert (metrics.samples_guided, metrics.samples_unguided) == (len(train.labels), len(train.labels))


def test_other_real_digits_have_the_recall_of_held_out_ones_and_are_no_copies(halves):
    train, heldout = halves
    half = len(heldout.labels) // 2
    samples = DigitSet(heldout.images[:half], heldout.labels[:half])
    rest = DigitSet(heldout.images[half:], heldout.labels[half:])
    metrics = measure_digits(train, rest, guided=samples, unguided=samples, reconstructed=rest)
    assert 0.93 < metrics.recall_ratio < 1.07
    assert metrics.copies_unguided < 0.2
    assert metrics.unguided_recognized > 0.94


def test_noise_and_wrong_labels_do_not_pass(halves):
    train, heldout = halves
    noise = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), np.uint8)
    made = DigitSet(noise, np.arange(500) % 10)
    shifted = DigitSet(train.images, (train.labels + 1) % 10)
    metrics = measure_digits(train, heldout, guided=shifted, unguided=made, reconstructed=made)
    assert metrics.guided_recognized < 0.02
    assert metrics.unguided_recognized < 0.25
    assert metrics.reconstructions_recognized < 0.25
    assert metrics.recall_unguided < 0.1


def test_one_image_a_class_has_little_recall(halves):
    train, heldout = halves
    first = [int(np.flatnonzero(train.labels == digit)[0]) for digit in range(10)]
    collapsed = DigitSet(train.images[first].repeat(50, axis=0), np.arange(10).repeat(50))
    metrics = measure_digits(train, heldout, guided=collapsed, unguided=collapsed, reconstructed=heldout)
    assert metrics.unguided_recognized > 0.95
    assert metrics.recall_ratio < 0.4


def test_metrics_are_plain_numbers_for_json(halves):
    train, heldout = halves
    metrics = measure_digits(train, heldout, train, train, heldout)
    record = as_record(metrics)
    assert record.keys() == asdict(metrics).keys()
    assert all(type(value) in (int, float) for value in record.values())
