"""What a table lacks is gone only where its run was asked for it: two runs that options narrow, zoo
files that one could not use, and newer runs that a set's name did not mean."""

from __future__ import annotations

import json

import pytest
from compared_runs import GOOD, A, a_run, said  # noqa: F401
from made_tables import ABOUT, row, table

from switchyard.compare.comparison import compare

NOTHING = {"model": [], "route": [], "precision": [], "zoo": ["builtin"], "hop": [],
           "device": "cpu", "tf32": False}  # fmt: skip


def narrowed(every_question: bool = True, more=(), **asked) -> dict:
    """What a run says of itself whose options take something out."""
    return {**ABOUT, "whole_selection": False, "every_question": every_question,
            "asked": {**NOTHING, **asked}, **dict(more)}  # fmt: skip


def became(before: dict, after: dict, having=("a", "b"), lacking=("a",), **cell) -> dict:
    """What is said of the cells of two runs, of which the second lacks some models."""
    sides = [
        table([row(name, **cell) for name in names], about)
        for names, about in ((having, before), (lacking, after))
    ]
    comparison = compare(*sides)
    return {**comparison.counts, **comparison.outside}


NOT_SELECTED = {"same": 1, "not selected in after": 1}
GONE = {"gone": 1, "same": 1}
OWN_ZOO = {"zoo": ["builtin", "./zoo.py"]}
WHOLE = {**ABOUT, "asked": NOTHING, "every_question": True}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        # the same question twice
        (narrowed(**OWN_ZOO), narrowed(**OWN_ZOO), GONE),
        (narrowed(model=["a", "b"]), narrowed(model=["a", "b"]), GONE),
        (narrowed(route=["r"]), narrowed(route=["r"]), GONE),  # a baseline that nobody named
        # one that asks for more, or names the very cell
        (WHOLE, narrowed(**OWN_ZOO), GONE),
        (WHOLE, narrowed(model=["b", "c"]), GONE),
        (ABOUT, narrowed(model=["b"]), GONE),  # a table without ``asked`` that nothing narrowed
        (narrowed(model=["b"]), narrowed(model=["b"], precision=["float32"]), GONE),
        # one that asks for less
        (WHOLE, narrowed(model=["a"]), NOT_SELECTED),
        (WHOLE, narrowed(zoo=["./zoo.py"]), NOT_SELECTED),
        (WHOLE, narrowed(precision=["float16"]), NOT_SELECTED),
        (narrowed(hop=["./hop.py"], **OWN_ZOO), narrowed(**OWN_ZOO), NOT_SELECTED),
        (narrowed(model=["b"]), narrowed(route=["dynamo-ort"]), NOT_SELECTED),  # in any tier
        # what was asked is not known
        (narrowed(model=["b"]), narrowed(False, model=["b"]), NOT_SELECTED),  # -k beside it
        (None, narrowed(**OWN_ZOO), NOT_SELECTED),
        (narrowed(model=["b"]), {**ABOUT, "whole_selection": False}, NOT_SELECTED),
        ({**ABOUT, "whole_selection": False}, narrowed(model=["b"]), NOT_SELECTED),
    ],
)
def test_what_a_narrowed_run_was_asked_for_as_well_is_gone(before, after, found):
    assert became(before, after) == found


def test_of_two_whole_runs_what_an_option_adds_to_one_is_not_gone():
    cells = {"device": "cuda", "precision": "tf32"}
    with_, without = ({**WHOLE, "asked": {**NOTHING, "tf32": tf32}} for tf32 in (True, False))
    found = became(with_, without, **cells)
    assert found == {"same": 1, "after was not given --tf32": 1}
    assert became(with_, with_, **cells) == GONE
    own, none = ({**WHOLE, "asked": {**NOTHING, "hop": hop}} for hop in (["./hop.py"], []))
    theirs = row("a", route="mine-ort", hops="mine")
    ours = row("a", route="dynamo-onnxsim-ort", hops="dynamo>onnxsim")
    before = table([row("a"), theirs, ours], own)
    comparison = compare(before, table([row("a")], none))
    assert comparison.counts == {"gone": 1, "same": 1}  # what is built in was planned by both
    assert comparison.outside == {"of converters that after was not given (--hop)": 1}
    assert compare(before, table([row("a")], own)).counts == {"gone": 2, "same": 1}


def test_a_cell_in_tf32_was_asked_for_only_with_tf32():
    wide = narrowed(device="cuda:0", tf32=True, **OWN_ZOO)
    cells = {"device": "cuda", "precision": "tf32"}
    assert became(wide, {**wide, "asked": {**wide["asked"], "device": "cuda:1"}}, **cells) == GONE
    assert became(wide, narrowed(device="cuda:0", **OWN_ZOO), **cells) == NOT_SELECTED


def test_what_a_narrowed_run_alone_has_is_new_where_the_other_was_asked_for_it():
    sides = (narrowed(model=["a", "b"]), narrowed(model=["a", "b", "c"]))
    assert became(*sides, having=("a",), lacking=("a", "b")) == {"new": 1, "same": 1}
    found = became(*sides, having=("a",), lacking=("a", "c"))
    assert found == {"same": 1, "not selected in before": 1}


FAILED = {"zoo_failures": {"torch2.13-tf2.21": {"models_zoo/conv.py": "no module named x"}}}


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (narrowed(False, FAILED), GONE),
        (narrowed(False, FAILED, model=["b"]), GONE),
        (narrowed(False, FAILED, model=["a"]), NOT_SELECTED),
        ({**ABOUT, **FAILED, "tier": "smoke"}, GONE),
        (narrowed(False, {"zoo_failures": {"s": {"models_zoo/other.py": ""}}}), NOT_SELECTED),
    ],
)
def test_models_of_a_zoo_file_that_could_not_be_used_are_not_left_out(after, found):
    assert became(ABOUT, after) == found  # all of the family conv


def test_a_zoo_file_that_one_run_could_not_use_is_named():
    sides = ({**ABOUT, **FAILED}, ABOUT)
    said_of = [compare(table([row()], one), table([row()], other)).conditions
               for one, other in (sides, sides[::-1], sides[:1] * 2)]  # fmt: skip
    words = "could not use models_zoo/conv.py of the zoo (no module named x)"
    assert said_of == [[f"before {words}"], [f"after {words}"], []]


# which run a set's name means

OLD, NEW = "torch2.0-tf2.13", "torch2.13-tf2.21"
PART = {"whole": False, "provenance": {"whole_selection": False}}


def test_newer_runs_that_a_sets_name_does_not_mean_are_named_in_every_report(
    said, tmp_path  # noqa: F811
):
    a_run(tmp_path, {A: GOOD}, set_name=OLD)
    a_run(tmp_path, {A: GOOD}, hours=1, **PART)  # older than the one that is taken
    taken = a_run(tmp_path, {A: GOOD}, hours=2)
    command = ("compare", OLD, NEW, "--results", tmp_path)
    assert "was not taken" not in said(*command)[1]
    a_run(tmp_path, {A: GOOD}, hours=3, **PART)
    unfinished = a_run(tmp_path, {A: GOOD, ("b", "r"): {"state": "planned"}}, hours=4)
    note = (
        f"{unfinished}, a newer run of {NEW}, was not taken: it left 1 of its cells unfinished; "
        "nor were 1 more that are not whole"
    )
    _, out, _ = said(*command)
    assert f"after   {taken}" in out and f"Note: {note}." in " ".join(out.split())
    assert note in json.loads(said(*command, "--json", "-")[1])["conditions"]
    page = said(*command, "--markdown", "-")[1]
    assert f"- Note: {note}." in page.replace("&#95;", "_")
    # a run that is named is what was asked for
    assert "was not taken" not in said("compare", OLD, taken, "--results", tmp_path)[1]


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"whole_selection": False}, "was asked for a part of its tier"),
        ({}, "was broken off"),
        ({"state": "running", "whole_selection": None}, "has not ended"),
        ({"whole_selection": False, "devices": ["cuda"]}, ""),  # of no use here if it were whole
    ],
)
def test_it_is_said_why_a_newer_run_was_not_taken(said, tmp_path, about, why):  # noqa: F811
    a_run(tmp_path, {A: GOOD}, set_name=OLD)
    a_run(tmp_path, {A: GOOD}, hours=1)
    newer = a_run(tmp_path, {A: GOOD}, hours=2, whole=False)
    record = newer / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **about}))
    found = json.loads(said("compare", OLD, NEW, "--results", tmp_path, "--json", "-")[1])
    notes = [one for one in found["conditions"] if "was not taken" in one]
    assert notes == ([f"{newer}, a newer run of {NEW}, was not taken: it {why}"] if why else [])


@pytest.mark.parametrize("asked, cell, found", [
    ({"model": ["a"]}, {"model": "a", "route": "dear"}, NOT_SELECTED),
    ({"route": ["dear"]}, {"model": "a", "route": "dear"}, NOT_SELECTED),
    ({"precision": ["float16"]}, {"model": "a", "precision": "float16"}, NOT_SELECTED),
    ({"zoo": ["builtin", "./mine.py"]}, {"model": "b", "family": "mine"}, NOT_SELECTED),
    ({"zoo": ["builtin", "./mine.py"]}, {"model": "b", "family": "conv"}, GONE),
    ({"zoo": ["builtin"]}, {"model": "b"}, GONE),
    ({"model": ["a", "b"]}, {"model": "b"}, GONE),  # every model is planned on some route
])  # fmt: skip
def test_what_was_named_is_asked_of_no_whole_run(asked, cell, found):
    """A whole run plans what its tier plans; what is named is planned in any."""
    some = table([row("a"), row(**cell)], narrowed(**asked))
    whole = table([row("a")], WHOLE)
    after = compare(some, whole)
    assert {**after.counts, **after.outside} == found
    assert after.status == (1 if found is GONE else 0)
    before = compare(whole, some)
    assert before.counts.get("new", 0) == after.counts.get("gone", 0)
