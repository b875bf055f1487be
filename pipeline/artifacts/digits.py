"""The demo's images, scikit-learn's 1,797 real handwritten digits, and independent classifiers of generated ones."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from fae.metrics import copy_share, knn_recall

DIGIT_PIXELS = 8
RECALL_NEIGHBORS = 3


def write_digits(file: Path) -> Path:
    """Write the digits as a Parquet file in the Hugging Face layout (image bytes, label); the same bytes every time."""
    import pyarrow.parquet as pq  # a fifth of a second, which listings do without
    from sklearn.datasets import load_digits

    if file.exists():
        return file
    images, labels = load_digits(return_X_y=True)
    images = [
        {"bytes": _png(image), "path": f"{number:04d}.png"}
        for number, image in enumerate(images.reshape(-1, DIGIT_PIXELS, DIGIT_PIXELS))
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    pq.write_table(pa.table({"image": images, "label": pa.array(labels, pa.int32())}), temporary)
    temporary.rename(file)
    return file


def _png(image: np.ndarray) -> bytes:
    """One digit, (8, 8) values from 0 to 16, as a grayscale PNG."""
    out = io.BytesIO()
    Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def digit_pixels(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, 3) -> float (N, 64) in [0, 16]: gray values averaged over the original 8x8 pixels."""
    count, size = len(images), images.shape[1]
    cell = size // DIGIT_PIXELS
    gray = images.astype(np.float64).mean(axis=-1)  # (N, H, W)
    cells = gray.reshape(count, DIGIT_PIXELS, cell, DIGIT_PIXELS, cell)  # (N, H, W) -> (N, 8, H/8, 8, W/8)
    return np.asarray(cells.mean(axis=(2, 4)).reshape(count, -1) * (16 / 255))


@dataclass(frozen=True)
class DigitSet:
    """Real digits of one half: images uint8 (N, H, W, 3) and labels int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class DigitMetrics:
    """What the demo prints; shares from 0 to 1."""

    classifier_on_other_half: float
    guided_recognized: float
    unguided_recognized: float
    reconstructions_recognized: float
    recall_unguided: float
    recall_heldout: float
    recall_ratio: float
    copies_unguided: float
    samples_guided: int
    samples_unguided: int


def measure_digits(
    train: DigitSet, heldout: DigitSet, guided: DigitSet, unguided: DigitSet, reconstructed: DigitSet, seed: int = 0
) -> DigitMetrics:
    """Measure generated digits (labels = the classes asked for) and rebuilt held-out digits against the real ones.

    Generated digits are judged by a classifier trained on the held-out half, which no stage of the pipeline has seen;
    rebuilt held-out digits by one trained on the other half. Recall is Kynkäänniemi et al. 2019, k = 3, on pixels,
    with as many held-out digits as there are unguided samples.
    """
    on_heldout, on_train = _classifier(heldout, seed), _classifier(train, seed)
    real, other = digit_pixels(train.images), digit_pixels(heldout.images)
    made = digit_pixels(unguided.images)
    order = np.random.default_rng(seed).permutation(max(len(made), len(other)))
    count = min(len(made), len(other))
    made_part, other_part = made[order[order < len(made)][:count]], other[order[order < len(other)][:count]]
    recall, reference = (knn_recall(real, part, RECALL_NEIGHBORS) for part in (made_part, other_part))
    return DigitMetrics(
        classifier_on_other_half=_accuracy(on_heldout, train),
        guided_recognized=_accuracy(on_heldout, guided),
        unguided_recognized=_accuracy(on_heldout, unguided),
        reconstructions_recognized=_accuracy(on_train, reconstructed),
        recall_unguided=recall,
        recall_heldout=reference,
        recall_ratio=recall / reference,
        copies_unguided=copy_share(made, real, other),
        samples_guided=len(guided.labels),
        samples_unguided=len(unguided.labels),
    )


def _classifier(half: DigitSet, seed: int):  # type: ignore[no-untyped-def]
    from sklearn.svm import SVC

    return SVC(gamma=0.001, C=10.0, random_state=seed).fit(digit_pixels(half.images), half.labels)


def _accuracy(classifier, half: DigitSet) -> float:  # type: ignore[no-untyped-def]
    return float((classifier.predict(digit_pixels(half.images)) == half.labels).mean())


def as_record(metrics: DigitMetrics) -> dict[str, float]:
    """The metrics as plain numbers for JSON."""
    return {name: round(value, 4) for name, value in asdict(metrics).items()}
