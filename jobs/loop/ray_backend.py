"""Ray Train with as few processes as a training needs; workers form torch's group themselves (`ray_worker`)."""

from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

# Each starts an actor for every training: one shares out Ray Data's sets, of which there are none, the other tidies up
# a cluster after a controller that died, but an embedded Ray ends with the command.
LEFT_OUT = ("DatasetsCallback", "PlacementGroupCleanerCallback")


class EmbeddedTrainer(DataParallelTrainer):
    """Ray's trainer without the helpers that only a cluster has use for; they cost seconds at every start."""

    def _create_default_callbacks(self) -> list[Any]:
        return [callback for callback in super()._create_default_callbacks() if type(callback).__name__ not in LEFT_OUT]


class _SharedGpusBackend(Backend):
    share_cuda_visible_devices = True


class SharedGpusConfig(BackendConfig):
    """The workers of a node see each other's GPUs, as nccl wants it.

    Unlike Ray's TorchConfig it needs no torch in the controller, which costs seconds at the start of every training.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray calls at the group's start and end."""
        return _SharedGpusBackend
