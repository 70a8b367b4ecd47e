"""The measured process: one runtime, one artefact, and one primitive, ``burst(n)``.

Started fresh for each launch with nothing else imported. It answers frames on a private
pair of descriptors: ``prepare``, ``load`` and ``first_call`` with the seconds and the memory they
took, ``burst`` with n durations by its own clock and the cores it kept busy, ``memory`` with what
it holds now. It ends when its pipe does.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from switchyard import wire
from switchyard.worker.processor_time import cpu_seconds
from switchyard.worker.resident import memory_now

_MIB = 1024 * 1024


def memory_after(
    runtime: Any, call: Callable[[], Any]
) -> Tuple[Dict[str, Optional[float]], str]:
    """What the framework says of the device's memory behind one more call, and why it does not say
    all of it, if so."""
    try:
        return runtime.memory_after(call), ""
    except Exception as error:
        reason = f"not watched: {type(error).__name__}: {error}"
    return runtime.device_memory(), reason


#: Runs of the separate session that is asked about its memory: the first includes what is taken
#: once, the others do not.
WATCHED_RUNS = 3

#: Times that the example and another size are run in turn.
VARIED_RUNS = 10

#: Calls of a session that was made for one series, before those that count.
WARM_CALLS = 5

#: What a runtime lacks that does not offer a series.
OFFERED = {"device": "time between CUDA events", "graph": "CUDA graphs"}


def timed(call: Callable[[], Any], n: int, itself: bool = False) -> List[float]:
    """Seconds of ``n`` calls by ``perf_counter_ns``; ``itself``: the call's own answer is its
    seconds."""
    if itself:
        return [call() for _ in range(n)]
    clock, durations = time.perf_counter_ns, []
    for _ in range(n):
        started = clock()
        call()
        durations.append(clock() - started)
    return [ns / 1e9 for ns in durations]


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Without Python's garbage collector, which has just run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Measured:
    """What the process holds between frames."""

    def __init__(self) -> None:
        self._series: Dict[str, Any] = {}
        self.on_device = False

    def rules(self) -> Sequence[Any]:
        """What errors mean here beside what they mean everywhere."""
        from switchyard.worker.blame import ON_DEVICE_RULES

        return ON_DEVICE_RULES if self.on_device else ()

    def prepare(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Import the runtime; memory before and after. Others may be at it beside this one.

        numpy counts as part of the runtime's import: whoever serves with it pays for it.
        """
        points = {"start": memory_now()}
        started = time.perf_counter()
        from switchyard import hops, runtimes
        from switchyard.worker import loading  # noqa: F401  ``load`` wants it, and numpy
        from switchyard.worker.reference import Reference  # noqa: F401

        self._runtime = runtimes.builtin()[job["runtime"]]
        for name in self._runtime.requires:
            hops.import_required(name)
        import_seconds = time.perf_counter() - started
        points["import"] = memory_now()
        return {"memory": points, "facts": {"import_seconds": import_seconds}}

    def load(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Load and prepare the example's inputs; memory afterwards, and where torch has the model
        here also when it was built, which may import libraries or train it."""
        from switchyard.worker import loading
        from switchyard.worker.reference import Reference

        started = time.perf_counter()
        self._job = job
        self.on_device = job.get("device", "cpu") != "cpu"
        if job.get("record"):
            self._runtime.record()
        points: Dict[str, Any] = {}
        self._loaded = loading.load(
            self._runtime, job, built=lambda: points.update(build=memory_now())
        )
        self._reference = Reference.read(job["reference"])
        self._series = self._loaded.session.series(self._feeds("example"))
        facts = {"load_seconds": time.perf_counter() - started, "series": list(self._series)}
        points["load"] = self._memory()
        return {
            "memory": points, "device": self._device_memory(), "facts": facts
        }  # fmt: skip

    def first_call(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Call once; memory afterwards. A frame of its own, so that the runner can ask NVML of the
        model that is loaded and was not called."""
        started = time.perf_counter()
        self._series["resident"]()
        facts = {
            "first_call_seconds": time.perf_counter() - started,
            "tuned": self.on_device and self._runtime.tunes,
        }
        return {
            "memory": {"first_call": self._memory()}, "device": self._device_memory(),
            "facts": facts,
        }  # fmt: skip

    def settle(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Let go what choosing between kernels took, once the first call's memory was read."""
        self._runtime.settle()
        return {}

    def _feeds(self, probe: str) -> Mapping[str, Any]:
        return self._loaded.feeds(self._reference.inputs(probe))

    def burst(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """``n`` durations in seconds, by ``perf_counter_ns``, collector off meanwhile; those of
        the series ``device`` by the device's own clock. And how many cores were busy with them."""
        series, companions = job.get("series", "resident"), self._loaded.session.companions
        with collector_off():
            began, before = time.perf_counter(), cpu_seconds(companions)
            durations = timed(self._series[series], job["n"], itself=series == "device")
            busy = cpu_seconds(companions) - before
            wall = time.perf_counter() - began
        return {"durations_s": durations, "cores_busy": busy / wall}

    def aside(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """``n`` durations of the example in ``series``, which is ``device`` or ``graph``; none
        where the runtime does not offer it. The model is loaded once more for it: what another
        stream or a graph holds, and what a capture that failed leaves, is in no other figure."""
        from switchyard import runtimes
        from switchyard.worker import loading

        series, runtime = job["series"], self._runtime
        if series not in runtime.aside:
            return {"durations_s": [], "message": f"{runtime.name} offers no {OFFERED[series]}"}
        again = loading.load(runtime, self._job)
        make = again.session.graphed if series == "graph" else again.session.between_events
        try:
            call = make(again.feeds(self._reference.inputs("example")))
        except runtimes.NotOffered as reason:
            return {"durations_s": [], "message": str(reason)}
        timed(call, WARM_CALLS)
        with collector_off():
            return {"durations_s": timed(call, job["n"], itself=series == "device")}

    def memory(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        return {"memory": self._memory()}

    def _memory(self) -> Dict[str, Optional[float]]:
        return memory_now(self._loaded.session.companions)

    def _device_memory(self) -> Dict[str, Optional[float]]:
        """What the framework says of the device's memory; of the CPU nothing is asked."""
        return self._runtime.device_memory() if self.on_device else {}

    def device_memory(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """What the framework says now, or behind one more call where ``call`` asks for one; where
        it says nothing, ``over`` is what ``over`` can be asked for."""
        if not job.get("call"):
            return {"device": self._device_memory()}
        found, message = memory_after(self._runtime, self._series["resident"])
        return {"device": found, "message": message, "over": "" if found else "example"}

    def over(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """What is said by a session of its own over ``runs``, which are ``example`` or ``varied``.
        It leaves memory behind, so that the card is asked before."""
        from switchyard.worker.drawing import RESIZED

        runs = [self._feeds("example")] * WATCHED_RUNS
        if job["runs"] == "varied":
            runs = [self._feeds("example"), self._feeds(RESIZED)] * VARIED_RUNS
        try:
            said = self._loaded.session.memory_over(runs)
        except Exception as error:
            return {"device": {}, "message": f"not watched: {type(error).__name__}: {error}"}
        silent = "" if said else f"{self._runtime.name} says nothing of its allocator"
        return {"device": said[-1] if said else {}, "message": silent}

    def leak(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Bytes a call leaves behind, over ``rounds`` of ``calls``; None where nothing is said."""
        from switchyard.worker.fragmentation import slope

        made: List[float] = []
        held: List[Optional[float]] = []
        for number in range(1, job["rounds"] + 1):
            for _ in range(job["calls"]):
                self._series["resident"]()
            gc.collect()
            mib = self._device_memory().get("allocated_mib")
            made.append(number * job["calls"])
            held.append(mib)
        if held.count(None) == len(held):  # of a session of its own, where of none but such a one
            said = self._loaded.session.memory_over(
                [self._feeds("example")] * (job["rounds"] * job["calls"])
            )
            held = [one["in_run_allocated_mib"] for one in said[job["calls"] - 1 :: job["calls"]]]
        mib = slope(made, held)
        return {"leak_bytes": None if mib is None else mib * _MIB}

    def vary(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Memory once the example and another size were run in turn, ten times each."""
        from switchyard.worker.drawing import RESIZED

        if RESIZED not in self._reference.probes:
            return {"device": {}, "message": "the model declares no other size"}
        both = [self._feeds("example"), self._feeds(RESIZED)]
        for _ in range(VARIED_RUNS):
            for feeds in both:
                self._loaded.session.run(feeds)
        call = functools.partial(self._loaded.session.run, both[-1])
        found, message = memory_after(self._runtime, call)
        return {"device": found, "message": message, "over": "" if found else "varied"}

    def release(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Let the model go, and what the framework caches and its libraries hold; memory
        afterwards, and what those held."""
        self._series, self._loaded = {}, None
        gc.collect()
        held = self._runtime.release()
        return {"device": {**self._device_memory(), **held}}

    def record(self, job: Mapping[str, Any]) -> Dict[str, Any]:
        """Write the allocator's history to ``path``, in the framework's format: since ``load``, or
        of runs of the example and of another size in turn."""
        from switchyard.worker.drawing import RESIZED

        sizes = ["example", *([RESIZED] if RESIZED in self._reference.probes else [])]
        runs = [self._feeds(size) for size in sizes] * VARIED_RUNS
        self._loaded.session.write_record(job["path"], runs)
        return {}


def serve(measured: Any, program: str) -> None:
    """Answer frames by the methods of ``measured`` that they name, until the pipe ends."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--read", type=int, required=True)
    parser.add_argument("--write", type=int, required=True)
    options = parser.parse_args()
    from switchyard.worker.server import die_with, keep_orphans

    keep_orphans()
    # Its pipe's end is noticed between two frames only; a call that hangs needs the kernel.
    die_with(os.getppid())
    while True:
        job = wire.receive(options.read)
        if job is None:
            return
        try:
            reply = {"ok": True, **getattr(measured, job["do"])(job)}
        except Exception as error:
            from switchyard.worker.blame import outcome_of

            outcome = outcome_of(error, "measure", measured.rules())
            reply = {"ok": False, "outcome": outcome.as_dict()}
        wire.send(options.write, reply)


if __name__ == "__main__":
    serve(Measured(), "switchyard.worker.measuring")
