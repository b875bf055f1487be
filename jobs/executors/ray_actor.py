"""The actor that does shards on a host; sent there by value, so that a host without this project can answer, too.

Nothing of this project is imported before a shard is asked for.
"""

import platform
from threading import Lock
from typing import Any

from jobs.cluster import HOST, host_facts


class RayActor:
    """A process with one worker that runs two shards at a time, so that reading and writing overlap.

    `factory` holds a reference to a `WorkerFactory`, which is read once there is a shard to do: what it needs may be
    absent here.
    """

    def __init__(self, factory: list[Any], threads: int) -> None:
        self.factory, self.threads, self.making = factory, threads, Lock()
        self.worker: Any = None

    def facts(self) -> dict[str, str | None]:
        """What its host runs."""
        return host_facts()

    def run(self, shard: int) -> dict[str, Any]:
        """One shard; what fails here names this host.

        Raises:
            WorkerStartError: this host cannot begin.
            HostError: it failed here; another host may do it.
            ValueError: a user's mistake.
        """
        import ray

        from jobs.executors.devices import use_threads
        from jobs.executors.worker import HostError, WorkerStartError

        # Made here and not in __init__, whose errors Ray passes on as text: so a user's error keeps its class.
        with self.making:
            try:
                if self.worker is None:
                    use_threads(self.threads)
                    self.worker = ray.get(self.factory[0])()
            except (HostError, OSError, ValueError) as error:
                raise WorkerStartError(error) from error
            except Exception as error:  # a package or a device that is absent
                raise WorkerStartError(HostError(_reason(error))) from error
        try:
            return {**self.worker.run(shard), HOST: platform.node()}
        except (HostError, ValueError):
            raise
        except Exception as error:
            raise HostError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
