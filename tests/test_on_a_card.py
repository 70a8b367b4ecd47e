"""``pytest bench/ --gpu --version-set current`` on a real card, with the packages of the
interpreter that runs the tests. Never run on one yet.
"""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest

PLANTED = Path(__file__).parent / "planted"
ZOO = ("--zoo", PLANTED / "tiny.py", "--zoo", PLANTED / "products.py")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def on_card(bench):
    def run(*arguments):
        return bench("--gpu", "--version-set", "current", *arguments, files=["bench/"])

    return run


@pytest.fixture(scope="module")
def ended(on_card):
    """Of torch with and without its compiler and of ONNX Runtime, in float32 and in TF32."""
    return on_card(
        *ZOO, "--model", "tiny_mlp", "--model", "products", "--route", "torch-eager",
        "--route", "torch-compile", "--route", "torchscript-ort", "--tf32", "--record-memory",
        "-k", "not sharing",
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(ended):
    """By model, route and precision."""
    with open(ended.folder / "cells.csv", newline="") as table:
        return {(row["model"], row["route"], row["precision"]): row
                for row in csv.DictReader(table)}  # fmt: skip


def hosted(row, *reasons):
    """The row, where the packages can do it at all; else why not is one of the reasons."""
    if row["verdict"] == "unavailable":
        assert any(reason in row["message"] for reason in reasons), row["message"]
        pytest.skip(row["message"])
    return row


def test_torch_eager_is_right_there_and_its_row_is_full(rows, ended):
    row = rows["tiny_mlp", "torch-eager", "float32"]
    assert row["verdict"] in ("excellent", "acceptable"), ended.output
    assert row["providers"] == "cuda" and row["placement_kind"] == ""
    assert int(row["nodes_on_device"]) > 0 and float(row["share_on_cpu"]) == 0
    for name in ("latency_median_ms", "latency_from_host_median_ms", "latency_device_median_ms",
                 "latency_graph_median_ms", "gpu_allocated_mib", "gpu_reserved_mib",
                 "gpu_requested_mib", "gpu_slack", "gpu_external_fragmentation", "gpu_used_mib",
                 "sm_clock_mhz", "gpu_temperature"):  # fmt: skip
        assert row[name], (name, row["gpu_message"])


def test_a_compiled_model_is_right_there_and_replayed_from_a_graph(rows):
    row = hosted(rows["tiny_mlp", "torch-compile", "float32"], "triton", "C compiler", "Python.h",
                 "ldconfig")  # fmt: skip
    assert row["verdict"] in ("excellent", "acceptable"), row["message"]
    assert row["providers"] == "cuda" and row["latency_graph_median_ms"], row["gpu_message"]


def test_onnx_runtime_runs_on_the_card_or_says_why_not(rows):
    row = hosted(rows["tiny_mlp", "torchscript-ort", "float32"], "has no CUDAExecutionProvider",
                 "no module named")  # fmt: skip
    assert row["providers"].startswith("CUDAExecutionProvider"), row["message"]
    assert int(row["nodes_on_device"]) > 0 and row["placement_kind"] == ""


def test_tf32_rounds_more_than_float32_and_is_judged_by_its_own_limit(rows):
    """Three products in a row, 64 to 2,048 terms each: TF32 keeps 10 bits of 23."""
    exact, rounded = (rows["products", "torch-eager", name] for name in ("float32", "tf32"))
    assert {exact["verdict"], rounded["verdict"]} <= {"excellent", "acceptable"}
    assert float(rounded["error_vs_fp64"]) > 10 * float(exact["error_vs_fp64"])


def test_what_torch_recorded_opens_and_holds_the_models_weights(ended, rows):
    path = ended.folder / "memory" / "products-torch-eager.float32.pickle"
    with open(path, "rb") as file:  # which this test's own run wrote
        kept = pickle.load(file)
    weights = (64 * 1024 + 1024 * 2048 + 2048 * 64) * 4
    assert sum(segment["total_size"] for segment in kept["segments"]) >= weights
    assert {"alloc", "segment_alloc"} <= {one["action"] for one in kept["device_traces"][0]}


def test_what_breaks_on_the_card_has_its_kind_and_the_next_cell_is_well(on_card):
    ended = on_card("--zoo", PLANTED / "breaking.py", "--route", "torch-eager", "-k",
                    "not sharing", "--stage-timeout", "40")  # fmt: skip
    rows = {cell.split("-")[0]: row for cell, row in ended.rows.items()}
    said = {name: (row["stage"], row["kind"]) for name, row in rows.items()}
    assert said["a_too_large"] == ("run", "device-oom"), ended.output
    assert said["b_endless"] == ("run", "timeout"), ended.output
    assert said["c_asserting"] == ("run", "crash"), ended.output
    assert rows["d_well"]["verdict"] in ("excellent", "acceptable"), ended.output
    assert ended.status == 1 and not ended.left_behind()
    messages = [row["gpu_message"] for row in rows.values()]
    assert not any("still" in message for message in messages), messages


def test_the_zoos_own_kernels_are_right_or_their_compilers_are_missing(on_card):
    ended = on_card("--model", "triton_swish", "--model", "built_extension", "--route",
                    "torch-eager", "-k", "not sharing")  # fmt: skip
    for row in ended.rows.values():
        right = row["verdict"] in ("excellent", "acceptable")
        assert right or row["kind"] == "missing-dependency", (row["model"], row["message"])


def test_torch_alone_on_a_capped_card_has_a_row_for_each_arrangement(on_card):
    ended = on_card(*ZOO, "--model", "products", "--route", "torch-eager", "-k", "sharing")
    with open(ended.folder / "sharing.csv", newline="") as file:
        found = {row["arrangement"]: row for row in csv.DictReader(file)}
    for name in ("alone torch-eager", "alone torch-eager cap-100%"):
        assert (found[name]["turns_done"], found[name]["kind"]) == ("20", ""), found[name]
    assert {row["kind"] for row in found.values()} <= {"", "device-oom"}, ended.output
    assert len(found) > 10

