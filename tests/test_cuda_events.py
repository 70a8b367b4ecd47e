"""Time between events on a stream of the driver's: what it is asked, in which order."""

from __future__ import annotations

import ctypes
import time

import pytest

from switchyard.runtimes import cuda_events


class Function:
    def __init__(self, name, driver):
        self.name, self.driver = name, driver

    def __call__(self, *arguments):
        self.driver.asked.append((self.name, arguments))
        return self.driver.answer(self.name, *arguments)


class Driver:
    """A driver whose stream takes 3 ms for anything, and which fails at what it is told to."""

    def __init__(self, fails=""):
        self.asked, self.fails = [], fails

    def __getattr__(self, name):
        return Function(name, self)

    def answer(self, name, *arguments):
        if name == "cuGetErrorName":
            arguments[1]._obj.value = b"CUDA_ERROR_DEVICES_UNAVAILABLE"
        if name == "cuStreamCreate":
            arguments[0]._obj.value = 4711
        if name == "cuEventElapsedTime":
            arguments[0]._obj.value = 3.0
        return 46 if name == self.fails else 0


@pytest.fixture
def driven(monkeypatch):
    def driven(**how):
        driver = Driver(**how)
        libraries = {"libcuda.so.1": driver, None: ctypes.CDLL(None)}
        monkeypatch.setattr(cuda_events.ctypes, "CDLL", libraries.__getitem__)
        return driver

    return driven


def test_a_call_lies_between_two_events_behind_a_wait_that_is_longer_than_its_launch(driven):
    driver = driven()
    stream = cuda_events.Stream()
    assert stream.address == 4711

    def launch():
        driver.asked.append(("launch", ()))
        time.sleep(0.01)

    driver.asked.clear()
    assert stream.seconds(launch) == pytest.approx(0.003)
    asked = [name for name, _ in driver.asked]
    assert asked[:6] == ["cuStreamSynchronize", "launch"] * 3
    timed = ["cuStreamSynchronize", "cuLaunchHostFunc", "cuEventRecord", "launch",
             "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime"]  # fmt: skip
    assert asked[6:] == timed
    begin, end = (given[0] for name, given in driver.asked if name == "cuEventRecord")
    assert begin is not end
    # All on its own stream; it sleeps for so many microseconds, twice what a launch took.
    assert {given[0].value for name, given in driver.asked if name == timed[0]} == {4711}
    (where, sleep, microseconds) = next(given for name, given in driver.asked if name == timed[1])
    assert where.value == 4711 and 2 * 10_000 <= microseconds.value < 10 * 10_000
    assert sleep.value == ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p).value

    driver.asked.clear()
    stream.seconds(launch)
    assert [name for name, _ in driver.asked] == timed  # the wait stays as long as it was


def test_an_error_of_the_driver_is_named(driven):
    driven(fails="cuDevicePrimaryCtxRetain")
    with pytest.raises(RuntimeError, match=r"Retain: CUDA_ERROR_DEVICES_UNAVAILABLE \(46\)"):
        cuda_events.Stream()
