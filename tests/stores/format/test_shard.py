"""One computation of a shard's checksums says which records are damaged, and what the digest of its values is."""

import google_crc32c
import numpy as np
import pytest

from stores.format.shard import ShardFormat
from stores.format.spec import Part

FORM = ShardFormat(Part("features", (2, 2, 3), "float16", float("nan")), views=2, rows_per_shard=4)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 2, 2, 2, 3)).astype(np.float16)


@pytest.fixture
def records(values: np.ndarray) -> np.ndarray:
    data = b"".join(bytes(part) for part in FORM.encode(values))
    return np.frombuffer(data, np.uint8, 8 * FORM.stride).reshape(8, FORM.stride).copy()


def test_the_digest_is_that_of_the_values(values: np.ndarray, records: np.ndarray) -> None:
    damaged, digest = FORM.damaged_and_digest(records)
    assert (damaged.tolist(), digest) == ([], FORM.digest(values))


@pytest.mark.parametrize(("byte", "same"), [(0, False), (-1, True)], ids=["a value", "a checksum"])
def test_a_damaged_checksum_leaves_the_values_digest_alone(
    values: np.ndarray, records: np.ndarray, byte: int, same: bool
) -> None:
    records[[2, 5], byte] ^= 1
    damaged, digest = FORM.damaged_and_digest(records)
    assert damaged.tolist() == FORM.damaged(records, np.arange(8)).tolist() == [2, 5]
    assert (digest == FORM.digest(values)) == same


def test_each_checksum_is_computed_once(records: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    compute = google_crc32c.value
    monkeypatch.setattr(google_crc32c, "value", lambda body: seen.append(len(body)) or compute(body))
    FORM.damaged_and_digest(records)
    assert seen == [FORM.stride - 4] * 8
