"""torch and TensorFlow on one card: the arrangements, their table, and how they are tried, with a
card and processes that answer from a script. No figure here was measured."""

from __future__ import annotations

import contextlib
import math
import pathlib
import types

import pytest

from switchyard.runner import arrangements, sharing
from switchyard.runner.arrangements import (
    ALLOCATORS,
    ALONE,
    ARRANGEMENTS,
    CAPS,
    ENOUGH,
    MORE,
    REVERSED,
    TENSORFLOW,
    TORCH,
    TORCH_ALONE,
    UNDISTURBED,
    WORKSPACES,
    Arrangement,
)
from switchyard.runner.nvml import Sample
from switchyard.runner.standby import Ended, MeasuredProcess
from switchyard.worker.sharing import Tenant, Tenants


def test_every_arrangement_has_a_name_of_its_own_and_needs_are_measured_before_caps():
    names = [one.name for one in ARRANGEMENTS]
    assert len(set(names)) == len(names)
    assert ARRANGEMENTS[: len(ALONE) + len(ENOUGH)] == ALONE + ENOUGH
    for cap in CAPS:
        ways = [one for one in ARRANGEMENTS if one.cap == cap]
        assert {one.processes for one in ways} == {1, 2}
        assert {one.between for one in ways} == {"", "deleted", "emptied"}
        assert any(one.expandable for one in ways)
        alone = {(one.expandable, one.between) for one in TORCH_ALONE if one.cap == cap}
        assert {(e, b) for e in (False, True) for b in ("", "deleted", "emptied")} == alone


@pytest.mark.parametrize("expandable", [False, True])
def test_an_arrangement_says_itself_how_memory_is_allocated(expandable):
    users = dict.fromkeys(ALLOCATORS, "expandable_segments:True,max_split_size_mb:64")
    users["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    given = arrangements.variables({**users, "PATH": "/bin"}, Arrangement(expandable=expandable))
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF") if expandable else ()
    assert given == {
        "PATH": "/bin", **WORKSPACES, **dict.fromkeys(names, "expandable_segments:True")
    }  # fmt: skip


def test_a_name_says_what_is_done():
    assert Arrangement((TORCH,)).name == "alone torch-eager"
    one = Arrangement(between="emptied", expandable=True, cap=0.25)
    assert one.name == "1-process emptied expandable cap-25%"
    assert Arrangement(processes=2, growth=False).name == "2-process no-growth"
    assert Arrangement(REVERSED, growth=False).name == "1-process tf-first no-growth"
    assert {one.processes for one in ARRANGEMENTS if one.tenants == REVERSED} == {1, 2}


def test_a_cap_is_a_share_of_what_each_needs_alone():
    needs = {TORCH: 400.0, TENSORFLOW: 100.0}
    assert arrangements.limits(Arrangement(), needs) == {}
    assert arrangements.limits(Arrangement(cap=0.5), needs) == {TORCH: 200.0, TENSORFLOW: 50.0}
    odd = arrangements.limits(Arrangement(cap=0.25), {TORCH: 10.0, TENSORFLOW: 11.5})
    assert odd == {TORCH: 2.5, TENSORFLOW: 3.0}
    with pytest.raises(KeyError, match=TENSORFLOW):
        arrangements.limits(Arrangement(cap=0.5), {TORCH: 400.0, TENSORFLOW: None})


def test_the_table_keeps_what_is_not_of_a_cell_that_is_tried_again(tmp_path):
    table = arrangements.SharingTable(tmp_path)
    table.forget(model="a")
    assert table.rows() == []
    for model in ("a", "b"):
        table.add({"model": model, "kind": None, "turns_done": 3})
    assert table.rows(model="a")[0]["kind"] == "" and table.rows()[1]["turns_done"] == "3"
    table.forget(model="a")
    assert [row["model"] for row in table.rows()] == ["b"]
    with pytest.raises(ValueError, match="unheard"):
        table.add({"unheard": 1})


class Process(MeasuredProcess):
    """One that answers by a function, and writes down what it was asked."""

    def __init__(self, answer, log, variables):
        self.log, self.variables, self._answers = log, variables, answer
        self.asked, self.closed = [], False

    def ask(self, do, **job):
        self.asked.append((do, job))
        reply = self._answers(self, do, job)
        if isinstance(reply, Exception):
            raise reply
        return {"ok": True, **reply}

    def close(self):
        self.closed = True


class Script:
    """Processes by what a function answers to their frames."""

    def __init__(self, answer):
        self.answer, self.made = answer, []

    def __call__(self, environment, variables, log, limits, module):
        self.made.append(Process(self.answer, log, variables))
        assert module == sharing.MODULE
        return self.made[-1]


FIGURES = {TORCH: {"reserved_peak_mib": 400, "slack": 0.25}, TENSORFLOW: {"peak_mib": 100}}


def well(process, do, job):
    """Answers as where nothing runs out."""
    if do == "enter":
        process.tenants = job["tenants"]
    if do == "turns":
        return {"seconds": [0.5] * job["n"], "outcome": None}
    if do == "memory":
        return {"device": {name: FIGURES[name] for name in process.tenants}}
    return {}


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Try arrangements with processes that answer by a function: rows by arrangement, and the
    processes."""
    cell = types.SimpleNamespace(
        version_set="current", model="tiny", route="manual-tf", precision="float32",
        device="cuda", short="tiny-manual-tf",
    )  # fmt: skip
    planned = types.SimpleNamespace(
        cell=cell, model={"file": "zoo.py", "tags": ["sharing"]},
        route=types.SimpleNamespace(runtime=TENSORFLOW),
    )  # fmt: skip
    found = types.SimpleNamespace(folder=pathlib.Path("somewhere"))
    crew = types.SimpleNamespace(
        gate=types.SimpleNamespace(alone=contextlib.nullcontext), logs=tmp_path, limits=None,
        environment=lambda *of: None,
        variables=lambda of: {"A": "1", "PYTORCH_ALLOC_CONF": "expandable_segments:True"},
    )  # fmt: skip
    used = iter(range(0, 100_000, 50))
    run = types.SimpleNamespace(
        config=types.SimpleNamespace(getoption=lambda name: None),
        folder=types.SimpleNamespace(path=tmp_path), resumed=(), crew=crew,
        progress=types.SimpleNamespace(watch=lambda words: lambda: None),
        yard=types.SimpleNamespace(
            converted=lambda of: found, reference=lambda of: found, lost=lambda of: None
        ),
        card=types.SimpleNamespace(
            sample=lambda: Sample(used_mib=float(next(used))), exclusive=False
        ),
    )  # fmt: skip

    def attempt(answer, *which, exclusive=False):
        run.card.exclusive = exclusive
        script = Script(answer)
        monkeypatch.setattr(sharing, "MeasuredProcess", script)
        monkeypatch.setattr(sharing, "ARRANGEMENTS", which or ARRANGEMENTS)
        rows = sharing.share(run, planned)
        assert all(process.closed for process in script.made)
        return {row["arrangement"]: row for row in rows}, script.made

    attempt.route = planned.route
    attempt.judged = lambda: sharing.judged(run, planned)  # by what was last tried
    return attempt


def test_a_card_for_one_process_is_not_asked_to_take_two(tried):
    one, two = Arrangement(), Arrangement(processes=2)
    rows, made = tried(well, one, two, exclusive=True)
    assert rows[one.name]["turns_done"] == "20" and len(made) == 1
    assert rows[two.name]["turns_done"] == "0" and "one process" in rows[two.name]["message"]


def test_who_enters_first_is_who_is_named_first(tried):
    which = [Arrangement(), Arrangement(REVERSED), Arrangement(REVERSED, processes=2)]
    rows, made = tried(well, *which)
    assert [rows[one.name]["first"] for one in which] == [TORCH, TENSORFLOW, TENSORFLOW]
    entered = [list(job["tenants"]) for process in made for do, job in process.asked
               if do == "enter"]  # fmt: skip
    assert entered == [[TORCH, TENSORFLOW], [TENSORFLOW, TORCH], [TENSORFLOW], [TORCH]]


def test_all_are_tried_and_caps_come_from_what_was_seen_alone(tried):
    rows, processes = tried(well)
    assert list(rows) == [one.name for one in ARRANGEMENTS]
    assert {row["turns_done"] for row in rows.values()} == {str(arrangements.TURNS)}
    assert {row["card_mib"] for row in rows.values()} == {"50.0"}
    capped = rows["1-process cap-50%"]
    assert (capped["torch_cap_mib"], capped["tensorflow_cap_mib"]) == ("200.0", "50.0")
    assert capped["torch_slack"] == "0.25" and capped["kind"] == ""
    assert rows["2-process"]["turn_median_ms"] == "1000.0"  # of both, one after the other
    enters = [job["tenants"] for one in processes for do, job in one.asked if do == "enter"]
    limits = {(name, job["memory_limit_mib"]) for each in enters for name, job in each.items()}
    assert (TORCH, 100.0) in limits and (TENSORFLOW, None) in limits
    # Whose memory is short on purpose, by a cap or a neighbour that takes nearly all, is told so.
    short = [job["short"] for one in processes for do, job in one.asked if do == "enter"]
    assert short == [one.cap is not None or not one.growth for one in ARRANGEMENTS
                     for _ in range(one.processes)]  # fmt: skip
    assert len(processes) == sum(one.processes for one in ARRANGEMENTS)
    expandable = [one for one in processes if "PYTORCH_ALLOC_CONF" in one.variables]
    assert len(expandable) == sum(one.expandable for one in ARRANGEMENTS)


@pytest.mark.parametrize("wants, cap", [(100, 100.0), (120, 125.0), (301, None)])
def test_what_a_framework_needs_is_the_least_with_which_it_ran_alone(tried, wants, cap):
    """TensorFlow's pool of one size has holes that one that grows did not have."""

    def with_holes(process, do, job):
        reply = well(process, do, job)
        limit = process.tenants[TENSORFLOW]["memory_limit_mib"]
        if do == "turns" and limit and limit < wants:
            out = {"kind": "device-oom", "message": "no"}
            return {"seconds": [], "outcome": out, "device": {}}
        return reply

    rows, processes = tried(with_holes, ALONE[1], ENOUGH[1], Arrangement((TENSORFLOW,), cap=0.5))
    enough, half = rows["alone tf cap-100%"], rows["alone tf cap-50%"]
    assert enough["turns_done"] == ("20" if cap else "0")
    assert enough["tensorflow_cap_mib"] == (str(cap) if cap else "300.0")
    assert half["tensorflow_cap_mib"] == (str(float(math.ceil(cap / 2))) if cap else "")
    assert cap or half["message"] == "what tf needs alone is not known"
    assert len(processes) == (2 + (MORE.index(cap / 100) + 1) if cap else 1 + len(MORE))


def test_one_that_runs_out_of_memory_is_a_row_and_the_next_is_tried(tried):
    out = {"kind": "device-oom", "message": "CUDA out of memory in /some/where/x.py"}

    def capped(process, do, job):
        reply = well(process, do, job)
        if do == "turns" and process.tenants.get(TORCH, {}).get("memory_limit_mib"):
            return {"seconds": [0.5] * 3, "outcome": out, "device": {TORCH: {"slack": 0.01}}}
        return reply

    rows, _ = tried(capped, *ALONE, Arrangement(cap=0.5), Arrangement())
    stopped = rows["1-process cap-50%"]
    assert (stopped["turns_done"], stopped["kind"]) == ("3", "device-oom")
    assert stopped["message"] == "CUDA out of memory in x.py"
    # As it stood when memory ran out, not once all was let go.
    assert (stopped["torch_slack"], stopped["torch_reserved_peak_mib"]) == ("0.01", "")
    assert stopped["tensorflow_peak_mib"] == "100" and rows["1-process"]["torch_slack"] == "0.25"
    assert rows["1-process"]["turns_done"] == str(arrangements.TURNS)


@pytest.mark.parametrize("end", [
    {"ok": False, "outcome": {"kind": "device-oom", "message": "at loading", "detail": ""}},
    Ended("crash", "the process was ended by SIGABRT"),
])  # fmt: skip
def test_one_that_cannot_even_enter_is_a_row_and_what_it_needs_stays_unknown(tried, end):
    def refused(process, do, job):
        reply = well(process, do, job)
        return end if do == "enter" and TENSORFLOW in job["tenants"] else reply

    rows, _ = tried(refused, *ALONE, Arrangement(cap=1.0))
    assert rows["alone tf"]["kind"] in ("device-oom", "crash") and rows["alone tf"]["message"]
    capped = rows["1-process cap-100%"]
    assert (capped["turns_done"], capped["kind"]) == ("0", "")
    assert capped["message"] == "what tf needs alone is not known"


def test_two_processes_stop_where_one_of_them_does(tried):
    def second_turn(process, do, job):
        reply = well(process, do, job)
        turns = sum(asked == "turns" for asked, _ in process.asked)
        if do == "turns" and TENSORFLOW in process.tenants and turns == 2:
            out = {"kind": "device-oom", "message": "no"}
            return {"seconds": [], "outcome": out, "device": {TENSORFLOW: {"peak_mib": 7}}}
        return reply

    rows, _ = tried(second_turn, Arrangement(processes=2))
    assert (rows["2-process"]["turns_done"], rows["2-process"]["kind"]) == ("1", "device-oom")
    assert rows["2-process"]["tensorflow_peak_mib"] == "7"  # as it stood when it stopped
    assert rows["2-process"]["torch_reserved_peak_mib"] == "400"


@pytest.mark.parametrize("change, asked", [
    ({}, True), ({"device": "cpu"}, False), ({"precision": "float16"}, False),
    ({"runtime": "ort"}, False), ({"tags": []}, False), ({"runtime": TORCH}, True),
    ({"runtime": "torch-compile"}, False),
])  # fmt: skip
def test_only_tensorflows_cells_and_torchs_of_tagged_models_on_a_card_are_asked(change, asked):
    has = {"device": "cuda", "precision": "float32", "runtime": "tf", "tags": ["sharing"], **change}
    planned = types.SimpleNamespace(
        cell=types.SimpleNamespace(device=has["device"], precision=has["precision"]),
        route=types.SimpleNamespace(runtime=has["runtime"]), model={"tags": has["tags"]},
    )  # fmt: skip
    assert sharing.applies(planned) is asked


def test_torchs_own_cell_asks_it_alone_on_a_smaller_card_and_needs_no_tensorflow(tried):
    def no_room(process, do, job):
        if do == "turns" and process.tenants[TORCH]["memory_limit_mib"] == 100:
            out = {"kind": "device-oom", "message": "no"}
            return {"seconds": [], "outcome": out, "device": {}}
        return well(process, do, job)

    tried.route.runtime = TORCH
    rows, processes = tried(no_room)
    assert {name for one in processes for name in one.tenants} == {TORCH}
    caps = {cap: [one for one in rows.values() if one["cap"] == str(cap)] for cap in CAPS}
    for cap, of_it in caps.items():
        ways = {(one["between"], one["expandable"]) for one in of_it}
        done = ("", "deleted", "emptied")
        assert ways == {(each, told) for each in done for told in ("False", "True")}
        assert {one["torch_cap_mib"] for one in of_it} == {str(400 * cap)}
        assert {one["kind"] for one in of_it} == {"device-oom" if cap == 0.25 else ""}
    assert len(rows) == 1 + 6 * len(CAPS) and rows["alone torch-eager"]["turns_done"] == "20"
    assert tried.judged() is None  # what runs out on a capped card is a finding


class Frameworks:
    """Two tenants whose outputs say when they are let go, and what was done in which order."""

    def __init__(self, fails=False):
        self.done = []

        class Output:
            def __init__(self, name):
                self.name = name

            def __del__(output):
                self.done.append(f"free {output.name}")

        def tenant(name):
            def outputs(feeds):
                if fails:
                    raise MemoryError("no room")
                self.done.append(f"call {name}")
                return Output(name)

            session = types.SimpleNamespace(outputs=outputs)
            runtime = types.SimpleNamespace(
                empty_cache=lambda: self.done.append(f"empty {name}"),
                device_memory=lambda: self.done.append(f"ask {name}") or {"allocated_mib": 4},
            )
            return Tenant(runtime, session, [{}])

        self.tenants = Tenants()
        self.tenants._tenants = {"a": tenant("a"), "b": tenant("b")}


@pytest.mark.parametrize("between, order", [
    ("", ["call a", "call b", "call a", "free a", "call b", "free b"]),
    ("deleted", ["call a", "free a", "call b", "free b"] * 2),
    ("emptied", ["call a", "free a", "empty a", "call b", "free b", "empty b"] * 2),
])  # fmt: skip
def test_outputs_live_until_their_own_next_turn_or_are_let_go_between(between, order):
    both = Frameworks()
    reply = both.tenants.turns({"n": 2, "between": between})
    assert both.done == order
    assert len(reply["seconds"]) == 2 and reply["outcome"] is None


def test_what_stops_a_turn_is_told_and_not_raised_with_what_was_held_then():
    both = Frameworks(fails=True)
    reply = both.tenants.turns({"n": 2})
    assert reply["seconds"] == [] and reply["outcome"]["message"].endswith("no room")
    assert reply["device"] == dict.fromkeys("ab", {"allocated_mib": 4})


def test_what_a_turn_had_on_the_card_is_asked_for_before_it_is_let_go():
    both = Frameworks()
    outputs = both.tenants._tenants["b"].session.outputs

    def no_room(feeds):
        activation = outputs(feeds)
        raise MemoryError(f"no room beside {activation.name}")

    both.tenants._tenants["b"].session.outputs = no_room
    both.tenants.turns({"n": 2})
    assert both.done == ["call a", "call b", "ask a", "ask b", "free b"]


def rows_of(turns):
    """As ``sharing.csv`` has them: all texts."""
    why = {"20": {"kind": "", "message": ""}}
    return [
        {"arrangement": one.name, "turns_asked": "20", "turns_done": done,
         **why.get(done, {"kind": "device-oom", "message": "no room"})}
        for one, done in turns.items()
    ]  # fmt: skip


def test_every_framework_must_run_with_the_card_to_itself_and_need_not_where_it_is_capped():
    everywhere = dict.fromkeys(ARRANGEMENTS, "0")
    well_alone = {**everywhere, **dict.fromkeys(UNDISTURBED, "20")}
    assert {one.tenants for one in UNDISTURBED} == {(TORCH,), (TENSORFLOW,)}
    assert arrangements.stopped_undisturbed(rows_of(well_alone)) == {}
    one = ALONE[1]
    for done in ("3", "9"):  # as a text 9 is more than 20
        stopped = arrangements.stopped_undisturbed(rows_of({**well_alone, one: done}))
        assert stopped == {one: f"did {done} of 20 turns: device-oom: no room"}
    assert arrangements.stopped_undisturbed([]) == dict.fromkeys(UNDISTURBED, "was not tried")


def test_what_stopped_one_that_was_alone_leads_to_its_log(tried):
    def torch_alone_dies(process, do, job):
        process.log.write_text("the last words of torch\n")
        reply = well(process, do, job)
        if do == "turns" and list(process.tenants) == [TORCH]:
            return Ended("crash", "status -11 in /some/where/x.py")
        return reply

    rows, _ = tried(torch_alone_dies)
    assert rows["1-process"]["turns_done"] == "20"
    stopped = tried.judged()
    assert stopped.message == "alone torch-eager did 0 of 20 turns: crash: status -11 in x.py"
    place, said = stopped.detail.splitlines()
    assert said == "the last words of torch"
    assert place.endswith("sharing-tiny-manual-tf-alone-torch-eager-0.log")


def test_where_all_run_alone_nothing_has_stopped(tried):
    tried(well)
    assert tried.judged() is None
