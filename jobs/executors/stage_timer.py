"""A stopwatch for the parts of a shard's work: what a worker waited for."""

import time


class StageTimer:
    """A stopwatch that adds the seconds since the last lap to a named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Close the lap that was running and count it for `part`."""
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now
