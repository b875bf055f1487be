"""Decoding in threads: results, errors, and decoders that never come back."""

import threading
import time

import pytest

from jobs.extraction.decoders import Decoders


def test_every_image_is_read_and_decoded():
    decoders, room = Decoders(2, 60), {}
    images = [decoders.submit(lambda k=k: bytes([k]), lambda data: room.update({data[0]: True})) for k in range(50)]
    for image in images:
        decoders.wait(image)
    assert sorted(room) == list(range(50))


@pytest.mark.parametrize("where", ["read", "decode"])
def test_errors_are_raised_to_who_waits(where):
    def fail(*_):
        raise OSError(f"{where} failed")

    decoders = Decoders(1, 60)
    steps = {"read": lambda: b"", "decode": lambda data: None} | {where: fail}
    with pytest.raises(OSError, match=f"{where} failed"):
        decoders.wait(decoders.submit(**steps))
    decoders.wait(decoders.submit(lambda: b"", lambda data: None))


def test_images_that_hang_are_given_up_and_the_others_are_decoded():
    decoders, gate = Decoders(2, 0.5), threading.Event()
    others = []
    hanging = [decoders.submit(lambda: b"", lambda data: gate.wait(600)) for _ in range(5)]
    others = [decoders.submit(lambda: b"", lambda data: None) for _ in range(5)]
    for image in reversed(others):  # those who wait behind the ones that hang find them, too
        decoders.wait(image)
    for image in hanging:
        with pytest.raises(TimeoutError, match=r"not done after 0\.5 seconds"):
            decoders.wait(image)
    gate.set()


def test_threads_that_come_back_late_leave():
    before = threading.active_count()
    decoders, gate = Decoders(1, 0.1), threading.Event()
    image = decoders.submit(lambda: b"", lambda data: gate.wait(600))
    with pytest.raises(TimeoutError):
        decoders.wait(image)
    gate.set()
    deadline = time.monotonic() + 600
    while threading.active_count() > before + 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slow_disk_is_no_fault_of_the_images():
    decoders, decoded = Decoders(1, 0.1), []
    decoders.wait(decoders.submit(lambda: time.sleep(0.5) or b"image", decoded.append))
    assert decoded == [b"image"]


def test_threads_end_with_their_decoders():
    before = threading.active_count()
    decoders = Decoders(3, 60)
    decoders.wait(decoders.submit(lambda: b"", lambda data: None))
    del decoders
    deadline = time.monotonic() + 600
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
