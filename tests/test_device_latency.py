"""What is timed between two events on a device: the default set's torch, with the calls that reach
a card written down in its place."""

from __future__ import annotations

import pytest
from default_set import said_by

ON_TORCH = """
import json, time
import numpy, torch
from switchyard.runtimes import Target, torch_cuda as cuda

said = []

class Event:
    def __init__(self, enable_timing):
        pass
    def record(self):
        said.append("event")
    def elapsed_time(self, later):
        return 2.0

class Model:
    def arguments(self, feeds):
        return (), {}

torch.cuda.synchronize = lambda *given: said.append("wait")
torch.cuda._sleep = lambda cycles: said.append(["sleep", cycles])
torch.cuda.get_device_name = lambda: "a card"
torch.cuda.Event = Event

def call():
    said.append("call")
    time.sleep(LAUNCH)

session = cuda.CudaSession(Model(), torch.nn.Module(), call)
series = session.series({})
made = list(said)
first, said[:] = [series["device"](), list(said)], []
again = [series["device"](), list(said)]
print(json.dumps({"made": made, "first": first, "again": again}))
"""


@pytest.fixture
def timed(tmp_path):
    """What was asked of the card, with a model whose launch takes the host so many seconds."""

    def timed(seconds):
        return said_by(ON_TORCH.replace("LAUNCH", str(seconds)), tmp_path)

    return timed


def test_the_card_is_kept_waiting_until_all_of_a_call_lies_queued(timed):
    said = timed(0.01)
    assert said["made"] == []  # a model that was never called yet would launch too slowly
    seconds, asked = said["first"]
    assert seconds == 0.002
    assert asked[:6] == ["wait", "call"] * 3
    (_, cycles), *rest = asked[6:]
    assert rest == ["event", "call", "event", "wait"]
    # Longer than the launch took, also on the fastest clock there is.
    assert 2 * 0.01 * 2.5e9 <= cycles < 10 * 0.01 * 2.5e9
    # And no longer at the next: what waits makes the host's own launch seem slow.
    assert said["again"] == [0.002, [["sleep", cycles], *rest]]


def test_a_model_that_waits_for_the_device_itself_does_not_keep_it_for_long(timed):
    (_, cycles) = timed(0.2)["first"][1][6]
    assert cycles == 2 * 0.1 * 2.5e9
