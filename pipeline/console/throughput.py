"""How fast work goes: rows a second of this run on average and of late, and the time that is left."""

from collections import deque

RECENT_SECONDS = 60.0


class Throughput:
    """Takes in how much was done at what second; what an earlier run did counts in no rate."""

    def __init__(self, seconds: float) -> None:
        self.started, self.first, self.done = seconds, 0, 0
        self._recent: deque[tuple[float, int]] = deque()

    def start(self, seconds: float, done: int) -> None:
        """Begin, or begin anew, with what is done already."""
        self.started, self.first, self.done = seconds, done, done
        self._recent = deque([(seconds, done)])

    def add(self, seconds: float, done: int) -> None:
        """So much is done now, in all."""
        self.done = done
        self._recent.append((seconds, done))
        while len(self._recent) > 2 and seconds - self._recent[0][0] > RECENT_SECONDS:
            self._recent.popleft()

    def per_second(self, seconds: float) -> float:
        """Rate of this run at a second; 0 while nothing is done."""
        return (self.done - self.first) / (seconds - self.started) if seconds > self.started else 0.0

    def per_second_now(self, seconds: float) -> float:
        """Rate of the last minute, or since the step before the last when one takes longer; falls when work stalls."""
        if not self._recent or seconds <= self._recent[0][0]:
            return 0.0
        start, done = self._recent[0]
        return (self.done - done) / (seconds - start)

    def seconds_left(self, seconds: float, total: int | None) -> float | None:
        """Time left at the average rate; None while there is no rate or no total."""
        rate = self.per_second(seconds)
        return (total - self.done) / rate if total is not None and rate > 0 else None
