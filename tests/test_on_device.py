"""What a launch makes of its card: retakes, noise, foreign processes, figures that are missing."""

from __future__ import annotations

import dataclasses
import types

import pytest
from fake_nvml import Cards

from switchyard.runner import nvml, on_device
from switchyard.runner.device_rows import device_columns, unit_of
from switchyard.runner.launches import Launch
from switchyard.runner.nvml import Sample
from switchyard.runner.on_device import (
    RETAKEN_AT_MOST,
    OnDevice,
    Watch,
    contamination,
    foreign_processes,
    held_down,
    number_on_card,
    record,
    unknown,
)
from switchyard.runner.standby import Ended, Ready
from switchyard.runner.warming import Warmth
from switchyard.tables import schema
from switchyard.vocabulary import Outcome

OWN = 100
QUIET = Sample(sm_clock_mhz=1980, temperature_c=40, throttle=(), processes={}, used_mib=500)


def on_card(*pids, **more):
    return Sample(processes={pid: 64.0 for pid in pids}, throttle=(), **more)


@pytest.mark.parametrize("before, first, last, mine, foreign", [
    ((), (OWN,), (OWN,), OWN, 0),
    ((7,), (7, OWN), (7, OWN), OWN, 1),
    ((), (OWN,), (OWN, 8), OWN, 1),       # came while it was measured
    ((), (8, OWN), (OWN,), OWN, 1),       # went meanwhile: it was there all the same
    ((7,), (OWN,), (OWN,), OWN, 0),       # had gone before: a set taken again is a quiet one
    ((), (4711,), (4711,), 4711, 0),      # our process under the host's number
    ((7,), (7, 4711), (7, 4711), 4711, 1),
    ((), (4711, 4712), (4711, 4712), None, 2),  # which of the two is ours cannot be told
    ((), (), (), None, None),             # not even ours is shown, so nobody's would be
])  # fmt: skip
def test_processes_that_are_not_the_measured_one_are_foreign(before, first, last, mine, foreign):
    before, first, last = (on_card(*pids) for pids in (before, first, last))
    assert number_on_card(before, last, OWN) == mine
    assert foreign_processes(before, first, last, OWN) == foreign


def test_in_a_container_that_nobody_else_is_shown_does_not_mean_that_nobody_is_there():
    alone, other = (on_card(*pids, everybody=False) for pids in ((OWN,), (OWN, 7)))
    assert foreign_processes(Sample(), alone, alone, OWN) is None
    assert foreign_processes(Sample(), alone, other, OWN) == 1
    (said,) = unknown(alone, alone, None)
    assert "another container" in said
    assert unknown(alone, alone, 1) == []


@pytest.mark.parametrize("namespace, everybody", [
    ("pid:[4026531836]", True), ("pid:[4026532281]", False), (None, False),
])  # fmt: skip
def test_whether_a_process_sees_everybody_is_told_by_its_namespace(
    monkeypatch, namespace, everybody
):
    def readlink(path):
        if path != "/proc/self/ns/pid":
            raise AssertionError(path)
        if namespace is None:
            raise FileNotFoundError(path)
        return namespace

    monkeypatch.setattr(nvml.os, "readlink", readlink)
    assert nvml.sees_everybody() is everybody


def test_where_nvml_does_not_say_nothing_is_known():
    assert foreign_processes(Sample(), Sample(), Sample(), OWN) is None
    assert contamination((), None) == ""


@pytest.mark.parametrize("held, found", [
    (0.0, ()), (0.009, ()), (0.011, ("sw-power-cap",)), (1.0, ("sw-power-cap",)),
])  # fmt: skip
def test_a_clock_held_down_between_two_looks_is_seen_by_its_counter(held, found):
    first = Sample(throttle=(), violations={"sw-power-cap": (7.0, 100.0)})
    last = Sample(throttle=(), violations={"sw-power-cap": (7.0 + held, 101.0)})
    assert held_down(first, last) == found


def test_a_counter_that_only_one_look_had_says_nothing_and_no_reason_is_named_twice():
    power = {"sw-power-cap": (7.0, 100.0)}
    assert held_down(Sample(), Sample(violations=power)) == ()
    assert held_down(Sample(violations=power), Sample()) == ()
    capped = Sample(throttle=("sw-power-cap",), violations=power)
    later = Sample(throttle=("hw-slowdown",), violations={"sw-power-cap": (8.0, 101.0)})
    assert held_down(capped, later) == ("sw-power-cap", "hw-slowdown")


def test_a_counter_that_both_looks_had_decides_alone_and_bits_only_where_there_is_none():
    """A bit that is set before and after, as of an idle card, while no time was counted."""
    bits = ("sw-power-cap", "hw-slowdown")
    first = Sample(throttle=bits[:1], violations={"sw-power-cap": (7.0, 100.0)})
    last = Sample(throttle=bits[:1], violations={"sw-power-cap": (7.0, 101.0)})
    assert held_down(first, last) == ()
    assert held_down(first, dataclasses.replace(last, throttle=bits)) == bits[1:]
    one_look = dataclasses.replace(last, violations={})
    assert held_down(first, one_look) == held_down(one_look, first) == bits[:1]
    assert held_down(first, first) == bits[:1], "a counter that stands still says nothing"


class Card:
    """A card that is in each state once, and then stays as it was last."""

    def __init__(self, *samples):
        self.samples = list(samples)

    def sample(self):
        return self.samples.pop(0) if len(self.samples) > 1 else self.samples[0]


class Process:
    """A measured process that answers by what it is asked to do."""

    pid = OWN

    def __init__(self, **replies):
        self.replies, self.asked, self.closed = replies, [], False
        self.stages = []

    def begin(self):
        """What comes from here on has the time of a stage for itself."""
        self.stages.append([])

    def ask(self, do, **job):
        self.asked.append((do, job))
        if self.stages:
            self.stages[-1].append(do)
        reply = self.replies.get(job["series"] if do == "aside" else do, {})
        if isinstance(reply, Exception):
            raise reply
        return {"ok": True, "device": {}, "durations_s": [0.002], **reply}

    def close(self):
        self.closed = True


def burst(process, count):
    return process.ask(do="burst", n=count)["durations_s"]


def test_a_quiet_sample_set_is_taken_once():
    seen = dataclasses.replace(QUIET, processes={OWN: 64.0})
    watch = Watch(Card(QUIET, seen), Process())
    assert watch.sample_set(5, burst) == [0.002]
    assert (watch.found.retaken, watch.found.noisy, watch.found.foreign) == (0, "", 0)


@pytest.mark.parametrize("missing, silent", [
    ((), ""),
    (["EventReasons"], ""),  # what is counted says it as well
    (["EventReasons", "ViolationStatus"], "whether the clock was held down"),
    (["ComputeRunningProcesses"], "who else is on the card"),
])  # fmt: skip
def test_what_nvml_does_not_answer_is_said_and_is_not_quiet(monkeypatch, missing, silent):
    queries = {"EventReasons": "nvmlDeviceGetCurrentClocksEventReasons",
               "ViolationStatus": "nvmlDeviceGetViolationStatus",
               "ComputeRunningProcesses": "nvmlDeviceGetComputeRunningProcesses"}  # fmt: skip
    cards = Cards(processes=[(OWN, 2**26)], violations={0: (0, 5e6)},
                  missing=[queries[one] for one in missing])  # fmt: skip
    monkeypatch.setattr(nvml, "_library", lambda: cards)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    watch = Watch(nvml.find(0), Process())
    watch.sample_set(5, burst)
    assert watch.found.messages == [f"NVML does not say {silent}"] * bool(silent)
    columns = device_columns([Launch([0.002], device=watch.found)])
    assert columns["gpu_message"].endswith(silent) and "measure_kind" not in columns


def test_a_disturbed_sample_set_is_taken_again_until_it_is_quiet():
    hot = Sample(throttle=("hw-thermal-slowdown",), processes={})
    # Made (2), first set (2: the second is hot), second set (2).
    watch = Watch(Card(QUIET, QUIET, QUIET, hot, QUIET, QUIET), process := Process())
    watch.sample_set(5, burst)
    assert (watch.found.retaken, watch.found.noisy) == (1, "")
    assert len(process.asked) == 2


def test_one_that_is_always_disturbed_is_noisy_at_last_and_keeps_its_durations():
    watch = Watch(Card(on_card(7)), process := Process())
    assert watch.sample_set(5, burst) == [0.002]
    assert len(process.asked) == 1 + RETAKEN_AT_MOST == 1 + watch.found.retaken
    assert watch.found.noisy == "1 other process(es) on the card"
    columns = device_columns([Launch([0.002], device=watch.found)])
    assert columns["measure_kind"] == "noisy" and "1 other process" in columns["measure_message"]
    assert columns["gpu_foreign_processes"] == 1 and columns["gpu_samples_retaken"] == 3


def test_foreign_processes_that_nobody_can_count_are_not_none():
    hot = Sample(throttle=("hw-thermal-slowdown",), processes=None)
    watch = Watch(Card(hot), Process(graph={"durations_s": [], "message": "none offered"}))
    watch.sample_set(5, burst)
    watch.others(5, ["device"])
    assert "series device: " in watch.found.noisy and watch.found.foreign is None


def test_the_other_series_are_taken_again_as_well_and_say_which_of_them_was_disturbed():
    quiet = dataclasses.replace(QUIET, processes={OWN: 64.0})
    seen = dataclasses.replace(quiet, processes={OWN: 64.0, 8: 64.0})
    nothing = {"durations_s": [], "message": "none offered"}
    process = Process(graph=nothing)
    # Made (2), the first set (2), memory (1), ``device`` (2); then another process comes and stays.
    watch = Watch(Card(QUIET, *[quiet] * 6, seen), process)
    watch.sample_set(5, burst)
    watch.others(5, ["resident", "device", "from_host"])
    taken = [job.get("series", "") for do, job in process.asked if do == "burst"]
    assert taken == ["", "device", *["from_host"] * (1 + RETAKEN_AT_MOST)]
    assert watch.found.noisy == "series from_host: 1 other process(es) on the card"
    assert (watch.found.retaken, watch.found.foreign) == (RETAKEN_AT_MOST, 1)
    # What is not offered is not asked for again, whatever goes on.
    assert [job["series"] for do, job in process.asked if do == "aside"] == ["graph"]


def test_what_cannot_be_asked_costs_its_own_figures_and_says_why():
    no = {"ok": False, "outcome": {"kind": "device-oom", "message": "CUDA out of memory"}}
    process = Process(vary=no, release=Ended("timeout", "no end after 300 s"))
    watch = Watch(Card(QUIET), process)
    watch.others(5, ["resident", "from_host"])
    assert watch.found.series == {"from_host": [0.002]}
    assert watch.found.messages == ["varied: device-oom: CUDA out of memory",
                                    "released: timeout: no end after 300 s"]  # fmt: skip
    assert set(watch.found.memory) == {"import", "after_runs"}


def test_what_takes_a_session_of_its_own_comes_when_all_memory_was_read():
    nothing = {"durations_s": [], "message": "tf offers no CUDA graphs"}
    watch = Watch(Card(QUIET), process := Process(graph=nothing))
    watch.others(5, ["resident"])
    asked = [(do, job.get("series")) for do, job in process.asked]
    assert asked[-3:] == [("release", None), ("aside", "device"), ("aside", "graph")]
    # None offered is no series, and a sentence.
    assert watch.found.series == {"device": [0.002]}
    assert watch.found.messages == ["graph: tf offers no CUDA graphs"]


def test_a_series_of_the_session_that_failed_is_not_asked_of_another():
    lost = {"ok": False, "outcome": {"kind": "device-lost", "message": "an ECC error"}}
    process = Process(burst=lost)
    watch = Watch(Card(QUIET), process)
    watch.others(5, ["resident", "device"])
    assert [job["series"] for do, job in process.asked if do == "aside"] == ["graph"]
    assert watch.found.messages == ["series device: device-lost: an ECC error"]
    columns = device_columns([Launch([0.002], device=watch.found)])
    assert columns["measure_kind"] == "device-lost"
    assert columns["measure_message"] == "series device: an ECC error"


def test_a_session_of_its_own_is_asked_once_nvml_was_and_adds_to_what_it_said():
    said = {"device": {"reserved_mib": 16, "peak_mib": None}, "message": ""}
    process = Process(
        device_memory={"device": {}, "over": "example"}, vary={"device": {}, "over": "varied"},
        over=said,
    )  # fmt: skip
    watch = Watch(Card(dataclasses.replace(QUIET, used_mib=900)), process)
    watch.others(5, ["resident"])
    asked = [do for do, _ in process.asked]
    read = ["device_memory", "device_memory", "vary", "leak"]
    assert asked == [*read, "over", "over", "release", "aside", "aside"]
    assert [job["runs"] for do, job in process.asked if do == "over"] == ["example", "varied"]
    for point in ("after_runs", "varied"):
        found = watch.found.memory[point]
        assert (found["used_mib"], found["reserved_mib"]) == (900, 16) and "peak_mib" not in found


def test_memory_is_kept_at_every_point_with_what_nvml_says():
    card = Card(*[on_card(used_mib=500)] * 3, on_card(4711, used_mib=900))
    watch = Watch(card, Process(device_memory={"device": {"allocated_mib": 6, "ooms": None}}))
    watch.enter("load", {"allocated_mib": 4})
    watch.enter("first_call", {"allocated_mib": 5})
    watch.called()
    watch.warmed_up(Warmth(1e-3, 7, settled=True))
    watch.others(5, ["resident"])
    memory = watch.found.memory
    assert memory["warm_up"]["allocated_mib"] == 6
    assert memory["load"] == {"allocated_mib": 4, "used_mib": 500, "process_mib": None}
    assert memory["first_call"] == {"allocated_mib": 5, "used_mib": 900, "process_mib": 64}
    assert memory["after_runs"]["allocated_mib"] == 6 and "ooms" not in memory["after_runs"]


def test_the_card_is_looked_at_until_the_driver_has_let_go_of_an_ended_process(monkeypatch):
    monkeypatch.setattr(on_device, "LOOK_SECONDS", 0)
    before, there = on_card(), on_card(OWN, used_mib=900)
    watch = Watch(Card(before, before, there, there, there, on_card(used_mib=510)), Process())
    assert watch.ended(watch.on_card()) == ""
    assert watch.found.memory["ended"] == {"used_mib": 510}


@pytest.mark.parametrize("held, said", [
    (64.0, "still holds 64 MiB of the card"),
    (None, "is still on the card"),
])
def test_what_the_driver_does_not_let_go_of_is_said(monkeypatch, held, said):
    monkeypatch.setattr(on_device, "LET_GO_SECONDS", 0)
    before = on_card()
    there = dataclasses.replace(before, processes={**(before.processes or {}), OWN: held})
    watch = Watch(Card(before, before, there), Process())
    assert said in watch.ended(watch.on_card()) and "ended" not in watch.found.memory


def test_where_nvml_does_not_say_who_is_there_nothing_is_said_of_the_end():
    watch = Watch(Card(dataclasses.replace(on_card(), processes=None)), Process())
    assert watch.on_card() is None and watch.ended(None) == ""
    assert "ended" not in watch.found.memory


def test_what_a_launch_left_is_in_its_row_also_where_it_failed():
    lost = Launch(outcome=Outcome("measure", "failed", "timeout"), left_on_card="still there")
    assert device_columns([lost]) == {"gpu_message": "still there"}
    good = Launch(device=OnDevice(messages=["no graph"]), left_on_card="still there")
    assert device_columns([good])["gpu_message"] == "no graph; still there"
    assert device_columns([Launch()]) == {}


def test_a_warm_up_that_did_not_become_stable_is_said():
    watch = Watch(Card(QUIET), Process())
    watch.warmed_up(Warmth(1e-3, 70, settled=True))
    assert watch.found.messages == []
    watch.warmed_up(Warmth(1e-3, 900, settled=False))
    (said,) = watch.found.messages
    assert "not stable after 900 calls" in said and "10%" in said


def test_memory_after_the_runs_is_read_before_another_series_holds_inputs_of_its_own():
    class Growing(Process):
        def ask(self, do, **job):
            reply = super().ask(do, **job)
            held = 5 + sum(job.get("series") == "from_host" for _, job in self.asked)
            watched = {"external_fragmentation": 0.5} if job.get("call") else {}
            return {**reply, "device": {"allocated_mib": held, **watched}}

    watch = Watch(Card(QUIET), process := Growing())
    watch.others(5, ["from_host"])
    # What is told only of a watched call is added: it may slow down what is timed behind it.
    found = watch.found.memory["after_runs"]
    assert (found["allocated_mib"], found["external_fragmentation"]) == (5, 0.5)
    assert watch.found.memory["varied"]["allocated_mib"] == 6
    watched = process.asked.index(("device_memory", {"call": True}))
    assert watched > [do for do, _ in process.asked].index("burst")


def test_what_is_asked_behind_the_latency_and_each_loading_anew_has_a_stages_time():
    """A model that takes long to load had run out of it by the third time."""
    process = Process(device_memory={"device": {}, "over": "example"})
    Watch(Card(QUIET), process).others(5, ["from_host"])
    behind, *anew = process.stages
    assert behind == ["device_memory", "burst", "device_memory", "vary", "leak"]
    speaks = Process(device_memory={"device": {"allocated_mib": 1}})
    Watch(Card(QUIET), speaks).others(5, ["from_host"])
    assert speaks.stages[0] == ["device_memory", "burst", "device_memory", "leak", "vary", "release"]
    assert anew == [["over", "release"], ["aside"], ["aside"]]


def test_the_columns_of_a_launch_on_the_device_are_of_the_schema():
    found = OnDevice(
        series={"device": [0.001, 0.003, 0.002], "from_host": [0.004], "graph": [0.0005]},
        memory={
            "after_runs": {"allocated_mib": 6, "slack": 0.25, "process_mib": 600},
            "varied": {"external_fragmentation": 0.5}, "released": {"allocated_mib": 0},
        },
        leak_bytes=0.0, sample=QUIET, foreign=0, messages=["varied: cut /some/where/model.onnx"],
    )  # fmt: skip
    columns = device_columns([Launch([0.002], device=found)])
    columns = {name: schema.checked(name, value) for name, value in columns.items()}
    assert columns["latency_device_median_ms"] == pytest.approx(2)
    assert columns["latency_from_host_median_ms"] == pytest.approx(4)
    assert columns["latency_graph_median_ms"] == pytest.approx(0.5)
    assert (columns["gpu_slack"], columns["gpu_external_fragmentation"]) == (0.25, 0.5)
    # Of a model without other sizes it is as the runs left it.
    alone = OnDevice(memory={"after_runs": {"external_fragmentation": 0.125}, "varied": {}})
    columns_alone = device_columns([Launch([0.002], device=alone)])
    assert columns_alone["gpu_external_fragmentation"] == 0.125
    assert (columns["gpu_leak_bytes"], columns["gpu_kept_mib"]) == (0, 0)
    assert columns["gpu_requested_mib"] is None  # not said, so empty
    assert columns["gpu_message"] == "varied: cut model.onnx"
    assert "measure_kind" not in columns


def test_launches_on_the_cpu_have_no_such_columns():
    assert device_columns([Launch([0.002])]) == {}
    failed = Launch(outcome=Outcome("measure", "failed", "device-lost"), device=OnDevice())
    assert device_columns([failed]) == {}


def test_units_are_in_the_names():
    assert (unit_of("used_mib"), unit_of("leak_bytes"), unit_of("slack")) == ("MiB", "bytes", "")


def test_a_recording_is_written_by_the_process_and_a_failure_is_a_sentence(tmp_path):
    path = tmp_path / "memory" / "model-torch-eager.pickle"
    process = Process(vary={"ok": False})
    assert record(Ready(process), {"model": "model"}, path) == ""
    assert process.asked[0] == ("load", {"model": "model", "record": True})
    assert process.asked[-1] == ("record", {"path": str(path)})
    assert process.closed and path.parent.is_dir()
    no = {"ok": False, "outcome": {"kind": "device-oom", "message": "CUDA out of memory"}}
    assert record(Ready(Process(load=no)), {}, path) == "load: CUDA out of memory"
    assert record(Ready(Process(), ended=Ended("crash", "died")), {}, path) == "crash: died"


def test_a_frame_that_came_to_a_limit_is_the_last_one_that_is_asked():
    """Its answer, come late, would be taken for the next frame's."""

    class Slow:
        pid, asked = OWN, []

        def begin(self):
            pass

        def ask(self, do, **job):
            self.asked.append(do)
            raise Ended("host-oom", "9 MiB of private memory where 1 are allowed")

    watch = Watch(types.SimpleNamespace(sample=lambda: on_card(OWN)), Slow())
    watch.others(10, ["device", "from_host"])
    assert len(Slow.asked) == 1 and watch.found.series == {}
    said = "after_runs: host-oom: 9 MiB of private memory where 1 are allowed"
    assert watch.found.messages == [said] and watch.found.broke[0] == "host-oom"
