"""How fast a training goes: rows a second, what the arithmetic reaches of the device's peak, and where time goes."""

from dataclasses import dataclass

from jobs.config import TRAINING_PASSES

# Keys of a line of metrics that the clock decides: two runs of the same weights differ in them.
CLOCK_METRICS = frozenset(
    {
        "rows_per_second",
        "rows_per_second_per_device",
        "tflops_per_device",
        "mfu",
        "wait_share",
        "device_share",
        "host_share",
        "processor_seconds",
    }
)


@dataclass(frozen=True)
class Interval:
    """Steps between two lines of metrics, in seconds of one process.

    Attributes:
        steps: Their number.
        seconds: From the first line to the second.
        waited: Of these the host waited for a batch.
        device: Of these the device worked on a step, from its first operation to its last.
        processor: Seconds that processors worked for this process meanwhile, all its threads together.
    """

    steps: int
    seconds: float
    waited: float
    device: float
    processor: float


@dataclass(frozen=True)
class TrainingSpeed:
    """What turns seconds into rates.

    Attributes:
        batch_rows: Rows of a global batch, or the mean of batches of several sizes.
        devices: Devices that share it.
        row_flops: Operations of the model's forward pass for a row; None where they were not counted.
        peak_flops: Operations a second of a device at most, dense bf16; None where that is not known.
    """

    batch_rows: float
    devices: int = 1
    row_flops: int | None = None
    peak_flops: float | None = None

    def metrics(self, interval: Interval) -> dict[str, float]:
        """The keys of CLOCK_METRICS that are known.

        The shares add up to 1. A wait counts as far as the device stood still meanwhile; the host's is the rest: log,
        checkpoints, previews and held-out metrics.
        """
        rate = interval.steps * self.batch_rows / interval.seconds
        idle = max(0.0, interval.seconds - interval.device)
        wait = min(interval.waited, idle) / interval.seconds
        device = min(1.0, interval.device / interval.seconds)
        return {
            "rows_per_second": rate,
            "rows_per_second_per_device": rate / self.devices,
            **self._arithmetic(rate / self.devices),
            "wait_share": wait,
            "device_share": device,
            "host_share": max(0.0, 1 - wait - device),
            "processor_seconds": interval.processor,
        }

    def _arithmetic(self, rate: float) -> dict[str, float]:
        """TFLOP/s of a device and its share of the peak: model FLOPs, without what is computed twice to save memory."""
        if self.row_flops is None:
            return {}
        flops = TRAINING_PASSES * self.row_flops * rate
        return {"tflops_per_device": flops / 1e12} | ({"mfu": flops / self.peak_flops} if self.peak_flops else {})
