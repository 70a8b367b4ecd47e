"""The columns of a row, from what a run learnt of its cell."""

import pathlib

import pytest

from switchyard.runner.expectations import Expectation, Expectations
from switchyard.runner.launches import Launch
from switchyard.runner.rows import (
    expectation_columns,
    finite,
    latency_columns,
    memory_columns,
)
from switchyard.vocabulary import Cell, Outcome

CELL = Cell("some-set", "cpu", "float32", "some_model", "dynamo-ort")
REFUSED = Outcome("convert:dynamo", "refused", "unsupported-operator", "aten::fft", "no fft")
PASSED = Outcome("compare", "excellent")


def table(tmp_path: pathlib.Path, outcome=None, exists=True) -> Expectations:
    found = Expectations(tmp_path / "some-set-cpu.csv")
    if outcome is not None:
        found.accept([(CELL, outcome)], "because")
    if exists:
        found.write()
    return found


@pytest.mark.parametrize(
    "recorded, found, said",
    [
        (None, PASSED, "as-expected"),
        (None, REFUSED, "new"),
        (REFUSED, REFUSED, "as-expected"),
        (REFUSED, PASSED, "fixed"),
        (REFUSED, Outcome("load", "failed", "load-rejected"), "changed"),
    ],
)
def test_an_outcome_stands_to_its_expectation(tmp_path, recorded, found, said):
    assert expectation_columns(table(tmp_path, recorded), CELL, found)["expected"] == said


def test_a_set_without_a_table_expects_nothing(tmp_path):
    columns = expectation_columns(table(tmp_path, exists=False), CELL, REFUSED)
    assert columns == {"expected": "no-expectation"}


def test_an_expectation_binds_to_the_suite_of_its_stage():
    assert Expectation("convert:dynamo", "timeout", "failed", "x").suite == "conversion"
    assert Expectation("load", "load-rejected", "failed", "x").suite == "accuracy"


def test_latency_is_the_median_of_the_launches_medians():
    launches = [Launch([0.001, 0.002, 0.003]), Launch([0.004, 0.004, 0.004])]
    columns = latency_columns(launches)
    assert columns["latency_median_ms"] == pytest.approx(3.0)
    assert columns["latency_min_ms"] == pytest.approx(1.0)
    assert (columns["latency_samples"], columns["launches"]) == (6, 2)
    assert columns["cores_busy"] is None


def test_busy_cores_are_the_middle_launchs():
    launches = [Launch([0.001], cores_busy=busy) for busy in (1.0, 1.9, 1.2)]
    assert latency_columns(launches)["cores_busy"] == 1.2


def test_p99_needs_662_samples():
    assert latency_columns([Launch([0.001] * 661)])["latency_p99_ms"] is None
    assert latency_columns([Launch([0.001] * 662)])["latency_p99_ms"] == pytest.approx(1.0)


def test_a_failed_launch_says_why_and_measures_nothing():
    failed = Launch(outcome=Outcome("measure", "failed", "crash", message="it died"))
    assert latency_columns([Launch([0.001]), failed]) == {
        "measure_kind": "crash",
        "measure_message": "it died",
    }
    assert memory_columns([failed]) == {}


def test_import_cost_stands_apart_from_the_models_and_data_from_program():
    def point(rss, peak, program):
        return {"rss_mib": rss, "peak_mib": peak, "program_mib": program, "heap_free_mib": None}

    points = {
        "start": point(10, 10, 5),
        "import": point(60, 60, 30),
        "load": point(70, 88, 31),  # the peak was here, with a MiB of program more than before
        "after_runs": point(75, 90, 38),
    }
    columns = memory_columns([Launch([0.001], points)])
    assert (columns["memory_import_mib"], columns["memory_model_mib"]) == (50, 15)
    assert (columns["memory_peak_mib"], columns["heap_free_mib"]) == (90, None)
    assert (columns["memory_model_data_mib"], columns["memory_peak_data_mib"]) == (7, 57)


def test_a_kernel_that_tells_no_peak_leaves_it_empty():
    point = {"rss_mib": 60.0, "peak_mib": None, "program_mib": 20.0, "heap_free_mib": None}
    points = dict.fromkeys(("start", "import", "after_runs"), point)
    columns = memory_columns([Launch([0.001], points)])
    assert columns["memory_peak_mib"] is columns["memory_peak_data_mib"] is None
    assert columns["memory_steady_mib"] == 60


def test_infinity_and_the_empty_string_are_not_numbers():
    assert finite({"mse": float("inf"), "nmse": 0.0, "dynamic": ""}) == {"mse": None, "nmse": 0.0}
