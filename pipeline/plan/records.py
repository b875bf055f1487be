"""What a recipe will take, as tables for people and JSON values for programs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.console import format_bytes, format_number, format_seconds


@dataclass(frozen=True)
class Machines:
    """What there is: `rate` images a second that a GPU encodes, `storage_rate` bytes a second of all GPUs together.

    `image_bytes` is the mean size of an image's file, `caption_tokens` the mean of a caption's; costs are per
    GPU and hour, and per TB and month. Without a rate `tflops` says what a GPU gets done at each stage, as it was
    measured on a `gpu` of this name.
    """

    gpus: int
    rate: float | None
    storage_rate: float
    image_bytes: float
    classes: int
    gpu_hour_cost: float | None = None
    disk_cost: float | None = None
    caption_tokens: int = 32
    gpu: str | None = None
    tflops: Mapping[str, float] = field(default_factory=dict)

    def speed(self, stage: str, encoder_flops: float) -> float:
        """Operations a second of a GPU at a stage: by the rate, else as measured."""
        return self.tflops[stage] * 1e12 if self.rate is None else self.rate * encoder_flops


@dataclass(frozen=True)
class StoreNeed:
    """One array of a store."""

    array: str
    row: str
    rows_per_shard: int
    shards: int
    num_bytes: int

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        return {
            "array": self.array,
            "row": self.row,
            "rows a shard": f"{self.rows_per_shard:,}",
            "shards": f"{self.shards:,}",
            "bytes": format_bytes(self.num_bytes),
        }


@dataclass(frozen=True)
class ModelNeed:
    """A model: operations of a forward pass, and bytes a GPU holds while training it, without activations."""

    model: str
    parameters: int
    flops: int
    ddp_bytes: int | None
    fsdp_bytes: int | None

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        trained = self.ddp_bytes is not None and self.fsdp_bytes is not None
        return {
            "model": self.model,
            "parameters": f"{self.parameters / 1e6:,.1f} M",
            "GFLOP an image": format_number(self.flops / 1e9),
            "a GPU's memory, DDP": format_bytes(self.ddp_bytes or 0) if trained else "",
            "FSDP": format_bytes(self.fsdp_bytes or 0) if trained else "",
        }


@dataclass(frozen=True)
class GeneratorNeed:
    """A generator of the paper beside what the paper says of it (empty where it says nothing)."""

    generator: str
    latents: tuple[int, int, int]
    condition: str
    parameters: int
    published: str
    flops: int
    ddp_bytes: int
    fsdp_bytes: int

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        return {
            "generator": self.generator,
            "latents": "×".join(map(str, self.latents)),
            "condition": self.condition,
            "parameters": f"{self.parameters:,}",
            "the paper": self.published,
            "GFLOP a pass": format_number(self.flops / 1e9),
            "a GPU's memory, DDP": format_bytes(self.ddp_bytes),
            "FSDP": format_bytes(self.fsdp_bytes),
        }


@dataclass(frozen=True)
class StageNeed:
    """A stage: its time is that of its arithmetic or of its bytes, whichever takes longer."""

    stage: str
    flops: float
    bytes_read: float
    bytes_written: float
    seconds: float
    gpu_hours: float
    bound_by: str

    def as_cells(self) -> dict[str, Any]:
        """The row as cells of a table."""
        return {
            "stage": self.stage,
            "time": format_seconds(self.seconds),
            "GPU hours": format_number(self.gpu_hours),
            "bound by": self.bound_by,
            "reads": f"{format_bytes(self.bytes_read / self.seconds)}/s",
            "writes": f"{format_bytes(self.bytes_written / self.seconds)}/s",
        }


@dataclass(frozen=True)
class Plan:
    """The needs of a recipe; totals are over all stages and stores."""

    images: int
    machines: Machines
    stores: list[StoreNeed]
    models: list[ModelNeed]
    stages: list[StageNeed]

    @property
    def seconds(self) -> float:
        """Duration of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def gpu_hours(self) -> float:
        """GPU hours of all stages."""
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def num_bytes(self) -> int:
        """Bytes of all stores."""
        return sum(store.num_bytes for store in self.stores)

    @property
    def gpu_cost(self) -> float | None:
        """Price of the GPU hours; None without a price of one."""
        price = self.machines.gpu_hour_cost
        return None if price is None else price * self.gpu_hours

    @property
    def disk_cost_per_month(self) -> float | None:
        """Price of the stores for a month; None without a price of a TB."""
        price = self.machines.disk_cost
        return None if price is None else price * self.num_bytes / 1e12

    def as_record(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "images": self.images,
            "machines": vars(self.machines),
            "stores": [vars(store) for store in self.stores],
            "models": [vars(model) for model in self.models],
            "stages": [vars(stage) for stage in self.stages],
            "seconds": self.seconds,
            "gpu_hours": self.gpu_hours,
            "num_bytes": self.num_bytes,
            "gpu_cost": self.gpu_cost,
            "disk_cost_per_month": self.disk_cost_per_month,
        }

    def summary(self) -> list[str]:
        """The totals in words."""
        lines = [
            f"in all: {format_seconds(self.seconds)} on {self.machines.gpus} GPUs, "
            f"{format_number(self.gpu_hours)} GPU hours, {format_bytes(self.num_bytes)} of stores"
        ]
        if self.gpu_cost is not None:
            lines.append(f"cost of the GPUs: {self.gpu_cost:,.0f}")
        if self.disk_cost_per_month is not None:
            lines.append(f"cost of the disks: {self.disk_cost_per_month:,.0f} a month")
        return lines
