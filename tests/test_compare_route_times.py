"""A route that became slower over all its models, though no cell of it is known to have."""

from __future__ import annotations

import json
import xml.etree.ElementTree as etree

import numpy
import pandas
import pytest
from made_tables import ABOUT, timed

from switchyard.cli import screen
from switchyard.compare import as_json, as_junit, as_markdown, as_text, route_times
from switchyard.compare.comparison import compare
from switchyard.compare.thresholds import Thresholds

TOGETHER = {**ABOUT, "started": "2026-11-27T00:00:00+00:00", "sets_in_turn": True}
SLOWED, OTHER, MISTAKE = "dynamo-ort", "torchscript-ort", "dynamo_left_in_train-ort"


def one_run(factor: float, models: int = 20, about=TOGETHER, **thresholds):
    """Three launches of each cell in both sets, spread by a quarter; one route ``factor`` times as
    long in the later set."""
    rng = numpy.random.default_rng(5)

    def medians(times: float):
        return {
            (f"m{number:02}", route): rng.lognormal(-7, 0.25, 3) * (times if route == SLOWED else 1)
            for number in range(models)
            for route in ("torch-eager", SLOWED, OTHER, MISTAKE)
        }

    sides = [timed(medians(times), about, version_set=name)
             for name, times in (("old", 1.0), ("new", factor))]  # fmt: skip
    return compare(*sides, Thresholds(**thresholds))


def statuses(comparison) -> dict[str, str]:
    return dict(zip(comparison.times["route"], comparison.times["status"]))


def test_what_no_cell_tells_the_route_does():
    comparison = one_run(1.2)
    assert comparison.worse == 0 and set(comparison.counts) == {"same"}
    assert statuses(comparison) == {"torch-eager": "as-before", SLOWED: "slower",
                                    OTHER: "as-before"}  # fmt: skip
    (row,) = comparison.times[comparison.times["route"] == SLOWED].to_dict("records")
    assert row["models"] == 20 and 1 < row["low"] < row["change"] < row["high"]
    assert 1.1 < row["change"] < 1.35
    assert (comparison.slower_routes, comparison.status) == (1, 1)


def test_the_interval_is_students_over_the_models():
    changes = numpy.array([1.1, 1.2, 1.3, 1.25, 1.15])
    judged = pandas.DataFrame({
        "device": "cpu", "precision": "float32", "model": list("abcde"), "route": SLOWED,
        "change": changes,
    })  # fmt: skip
    groups = judged[["device", "precision", "route"]].drop_duplicates()
    (row,) = route_times.by_route(judged, groups, Thresholds()).to_dict("records")
    logs = numpy.log(changes)
    half = 2.7764451 * logs.std(ddof=1) / 5**0.5  # t of 4 degrees of freedom at 0.975
    expected = [numpy.exp(logs.mean() + sign * half) for sign in (0, -1, 1)]
    assert [row["change"], row["low"], row["high"]] == pytest.approx(expected, rel=1e-6)
    assert row["status"] == "slower"


def test_a_change_below_the_threshold_is_none_and_one_not_surely_there_ambiguous():
    assert statuses(one_run(1.2, route_latency_ratio=1.5))[SLOWED] == "as-before"
    unsure = one_run(1.2, models=5, latency_confidence=0.9999)
    assert statuses(unsure)[SLOWED] == "ambiguous" and unsure.status == 0
    assert statuses(one_run(0.7))[SLOWED] == "faster" and one_run(0.7).status == 0


def test_few_models_are_no_sample_and_mistakes_on_purpose_no_route():
    assert not len(one_run(1.2, models=4).times)
    assert MISTAKE not in statuses(one_run(1.2))


def test_two_runs_say_nothing_of_a_route():
    comparison = one_run(1.2, about=ABOUT)
    assert comparison.times is None and comparison.slower_routes == 0
    assert "Time by route" not in "\n".join(as_text.report(comparison, screen.terminal()))
    assert "Time by route" not in "\n".join(as_markdown.comparison_lines(comparison))
    assert json.loads("".join(as_json.pieces(comparison)))["route_times"] is None


def test_every_report_tells_it():
    comparison = one_run(1.2)
    text = "\n".join(as_text.report(comparison, screen.terminal()))
    assert "Time by route, the geometric mean over its models" in text
    assert "  slower\n  2 others hold it." in text
    assert text.endswith("Worse: 1 route slower over all models.")

    page = as_markdown.comparison_lines(comparison)
    assert page[0] == "# Worse: 1 route slower over all models."
    lines = page[page.index("## Time by route") :]
    assert [line for line in lines if SLOWED in line and line.endswith("| slower |")]

    (row,) = [one for one in json.loads("".join(as_json.pieces(comparison)))["route_times"]
              if one["status"] == "slower"]  # fmt: skip
    assert row["route"] == SLOWED and row["models"] == 20

    suite = etree.fromstring(as_junit.document(comparison)).find("testsuite")
    (failure,) = suite.iter("failure")
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases[f"time of {SLOWED}"].find("failure") is failure
    assert suite.get("failures") == "1" and suite.get("tests") == str(len(cases))


def test_models_that_changed_by_chance_seldom_make_a_route_slower():
    """Changes spread by a fifth around none, over ten routes of thirty models, two hundred times:
    one comparison in twenty may err, and of 200 more than 20 with a chance of 0.1%."""
    rng = numpy.random.default_rng(3)
    keys = pandas.MultiIndex.from_product(
        [["cpu"], ["float32"], [f"r{i}-ort" for i in range(10)], [f"m{i}" for i in range(30)]],
        names=["device", "precision", "route", "model"],
    ).to_frame(index=False)
    groups = keys[["device", "precision", "route"]].drop_duplicates()
    thresholds, erred = Thresholds(route_latency_ratio=1.0001), 0
    for _ in range(200):
        judged = keys.assign(change=rng.lognormal(0, 0.2, len(keys)))
        found = route_times.by_route(judged, groups, thresholds)["status"]
        erred += bool(found.isin(["slower", "faster"]).any())
    assert 0 < erred <= 20
