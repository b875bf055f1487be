"""Three stages: on processors all is there at once; on CUDA, here a double, old batches alone are waited for."""

from contextlib import contextmanager

import torch

from jobs.executors import device_stages
from jobs.executors.device_stages import IN_FLIGHT, DeviceStages, host_buffer

CPU = torch.device("cpu")


class FakeCuda:
    """Streams and events that note what is asked of them."""

    def __init__(self):
        self.asked, self.waited, self.inside, self.events = [], [], "passes", 0

    def Stream(self, device):
        name = ("in", "out")[len([one for one in self.asked if one[0] == "stream"])]
        self.asked.append(("stream", name))
        return FakeStream(self, name)

    def current_stream(self, device):
        return FakeStream(self, "passes")

    @contextmanager
    def stream(self, stream):
        before, self.inside = self.inside, stream.name
        yield
        self.inside = before

    def Event(self):
        self.events += 1
        return FakeEvent(self, self.events)


class FakeStream:
    def __init__(self, cuda, name):
        self.cuda, self.name = cuda, name

    def wait_stream(self, other):
        self.cuda.asked.append((self.name, "waits for", other.name))


class FakeEvent:
    def __init__(self, cuda, number):
        self.cuda, self.number = cuda, number

    def record(self, stream):
        self.cuda.asked.append(("event", self.number, stream.name))

    def synchronize(self):
        self.cuda.waited.append(self.number)


def test_a_processors_results_are_there_at_once():
    stages, made = DeviceStages(CPU), host_buffer((3,), torch.float32, CPU)
    arrival = stages.run(torch.arange(3.0), lambda batch: (2 * batch,), (made,))
    assert made.tolist() == [0.0, 2.0, 4.0]
    arrival.wait()


def test_stages_wait_for_each_other_on_the_device_and_the_host_for_old_batches_alone(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setattr(device_stages, "_CUDA", cuda)
    stages = DeviceStages(torch.device("cuda"))
    monkeypatch.setattr(stages, "device", CPU)  # where the copies of this test go
    on = []

    def forward(batch):
        on.append(cuda.inside)
        return batch + 1, batch.sum()

    batches = [(host_buffer((2,), torch.float32, CPU), host_buffer((), torch.float32, CPU)) for _ in range(4)]
    arrivals = []
    for number, outputs in enumerate(batches):
        arrivals.append(stages.run(torch.full((2,), float(number)), forward, outputs))
        assert cuda.waited == list(range(1, number + 2 - IN_FLIGHT))
    assert on == ["passes"] * 4
    once = [("passes", "waits for", "in"), ("out", "waits for", "passes")]
    assert cuda.asked[2:5] == [*once, ("event", 1, "out")]
    assert [(values.tolist(), float(total)) for values, total in batches][3] == ([4.0, 4.0], 6.0)
    arrivals[3].wait()
    assert cuda.waited[-1] == 4
