"""The main job in small: the smoke tier, for real, on the default version set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from switchyard.runner.options import DEFAULT_SET
from switchyard.tables import reading
from switchyard.vocabulary import PASSING

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """As a newcomer runs it: the user's own cache, and the expectations as committed."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "pytest", "bench/", "--tier", "smoke", "--color=no",
               "--results", folder / "results", "-o", f"cache_dir={folder / 'pytest-cache'}",
               f"--benchmark-json={folder / 'benchmark.json'}"]  # fmt: skip
    ended = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True,
                           text=True, timeout=900, stdin=subprocess.DEVNULL)  # fmt: skip
    (ended.folder,) = (folder / "results").iterdir()
    ended.table = reading.read_cells(ended.folder)
    ended.about = reading.read_about(ended.folder)
    ended.benchmark = json.loads((folder / "benchmark.json").read_text())
    return ended


def test_a_smoke_run_ends_well(smoke):
    assert smoke.returncode == 0, smoke.stdout[-6000:] + smoke.stderr[-2000:]


def test_a_benchmark_is_named_by_its_cell_and_by_nothing_of_this_machine(smoke):
    for one in smoke.benchmark["benchmarks"]:
        assert one["params"] == {"cell": one["param"]}
    assert str(ROOT) not in json.dumps(smoke.benchmark["benchmarks"])


def test_every_planned_cell_is_done_and_judged(smoke):
    assert set(smoke.table["state"]) == {"done"}
    assert (smoke.table["verdict"] != "").all()
    assert smoke.about["whole"] and smoke.about["rows"] == len(smoke.table)
    assert smoke.table["model"].nunique() >= 10
    assert {"torch-eager", "dynamo-ort", "torchscript-ort"} <= set(smoke.table["route"])


def test_the_native_baseline_is_excellent_on_every_model(smoke):
    native = smoke.table[smoke.table["route"] == "torch-eager"]
    assert set(native["model"]) == set(smoke.table["model"])
    assert set(native["verdict"]) == {"excellent"}


def test_most_cells_of_the_cheap_routes_arrive(smoke):
    passing = smoke.table["verdict"].isin(PASSING)
    assert passing.mean() > 0.8, smoke.table[~passing][["model", "route", "kind", "message"]]


def test_every_passing_cell_is_measured(smoke):
    passing = smoke.table[smoke.table["verdict"].isin(PASSING)]
    for column in ("latency_median_ms", "latency_min_ms", "ratio_to_native", "memory_peak_mib",
                   "memory_steady_mib", "memory_import_mib", "memory_model_mib",
                   "memory_model_data_mib", "memory_peak_data_mib"):  # fmt: skip
        missing = passing[passing[column].isna()]
        assert missing.empty, (column, list(missing["model"] + "-" + missing["route"]))
    assert (passing["latency_samples"] >= 12).all()
    assert (passing["latency_min_ms"] <= passing["latency_median_ms"]).all()
    assert (passing["memory_peak_mib"] >= passing["memory_steady_mib"]).all()
    assert (passing["memory_peak_data_mib"] < passing["memory_peak_mib"]).all()
    few = passing[passing["latency_samples"] < 662]
    assert few["latency_p99_ms"].isna().all()
    native = passing[passing["route"] == "torch-eager"]
    assert (native["ratio_to_native"] == 1).all()


def test_what_was_not_measured_is_empty_and_never_zero(smoke):
    stopped = smoke.table[~smoke.table["verdict"].isin(PASSING)]
    assert len(stopped)
    for column in ("latency_median_ms", "cores_busy", "memory_peak_mib", "ratio_to_native"):
        assert stopped[column].isna().all()


def test_converted_cells_say_what_their_artefact_is(smoke):
    ort = smoke.table[smoke.table["route"].str.endswith("-ort")]
    ort = ort[ort["verdict"].isin(PASSING)]
    assert (ort["convert_seconds"] > 0).all() and (ort["artefact_bytes"] > 0).all()
    assert (ort["opset"] >= 11).all() and (ort["artefact_key"] != "").all()


def test_every_samples_column_has_its_samples_and_benchmark_sees_the_same(smoke):
    samples = reading.read_samples(smoke.folder)
    samples["count"] = samples["durations_s"].map(len)
    counts = samples.groupby(["model", "route"])["count"].sum()
    passing = smoke.table[smoke.table["verdict"].isin(PASSING)]
    assert (passing["cores_busy"] > 0).all()
    for row in passing.itertuples():
        assert counts[row.model, row.route] == row.latency_samples
    seen = {one["name"]: one["stats"]["median"] * 1e3 for one in smoke.benchmark["benchmarks"]}
    assert len(seen) == len(passing)
    row = passing.iloc[0]
    name = f"test_latency[{DEFAULT_SET}:cpu:{row.precision}:{row.model}-{row.route}]"
    assert seen[name] == pytest.approx(row.latency_median_ms)


def test_the_runs_provenance_is_complete(smoke):
    about = smoke.about
    assert about["state"] == "done" and about["tier"] == "smoke" and about["unfinished"] == 0
    assert "--tier smoke" in about["command"] and about["options"]["tier"] == "smoke"
    core = about["sets"][DEFAULT_SET]["environments"]["core"]
    assert core["lock"] and core["fingerprint"] and core["python"].startswith("3.")
    assert {"torch", "tensorflow-cpu", "onnx", "onnxruntime"} <= set(core["packages"])
    assert {"cpu", "cores_usable", "ram_mib", "kernel", "libc"} <= set(about["machine"])
    assert about["source"] is None or "dirty" in about["source"]
    assert about["started"] <= about["ended"]


def test_the_summary_shows_the_matrix_the_rates_and_the_table(smoke):
    assert "torchscript-ort" in smoke.stdout and "95%" in smoke.stdout
    assert "cells.csv" in smoke.stdout
