"""``pytest bench/ --gpu``, whole, with what stands at the edge of this machine faked; on a card:
``test_on_a_card``.

The fakes are NVML, torch's answers about its device, and ONNX Runtime's provider; the runner,
its processes, the frameworks and the tables are the real ones. No figure here was measured on
a card, and the path has never run on one.
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from switchyard.runner import environments, nvml
from switchyard.runner.options import DEFAULT_SET

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY = ("--zoo", TESTS / "planted" / "tiny.py", "--model", "tiny_mlp")
ROUTES = ("--route", "torch-eager", "--route", "torchscript-ort")


class OnFakeCard:
    """Runs with the default set's interpreter as ``current``, and the fakes on its path."""

    def __init__(self, cache, folder):
        self.cache, self.folder = cache, folder
        self.python = environments.provision(DEFAULT_SET, "core", lambda line: None).python

    def __call__(self, *arguments, fakes=("fake_cuda", "."), **variables):
        """Exit status, what was printed, and the rows by ``MODEL-ROUTE``."""
        results = self.folder / f"results-{len(list(self.folder.iterdir()))}"
        results.mkdir()
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "COV_"))}
        kept.pop("CUDA_VISIBLE_DEVICES", None)
        path = [TESTS / fake for fake in fakes] + [ROOT, sysconfig.get_path("purelib")]
        done = subprocess.run(
            [str(part) for part in (self.python, "-m", "pytest", "bench/", "--gpu", "--color=no",
             "--version-set", "current", "--results", results, "-p", "no:cacheprovider", "-rs",
             *TINY, *arguments)],
            cwd=ROOT, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL,
            env={**kept, "SWITCHYARD_CACHE": str(self.cache), **variables,
                 "PYTHONPATH": os.pathsep.join(map(str, path))},
        )  # fmt: skip
        rows = {}
        for table in results.glob("*/cells.csv"):
            with open(table, newline="") as file:
                rows = {f"{row['model']}-{row['route']}": row for row in csv.DictReader(file)}
        self.results = results
        return done.returncode, done.stdout + done.stderr, rows


@pytest.fixture(scope="module")
def on_fake_card(fresh_cache, tmp_path_factory):
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the default set's interpreter must be able to run this pytest")
    return OnFakeCard(fresh_cache, tmp_path_factory.mktemp("gpu-runs"))


def test_a_run_fills_the_columns_of_a_gpu(on_fake_card):
    status, said, rows = on_fake_card(*ROUTES, "--record-memory", FAKE_PROVIDER="1")
    assert status == 0, said
    eager, ort = rows["tiny_mlp-torch-eager"], rows["tiny_mlp-torchscript-ort"]
    assert {row["device"] for row in rows.values()} == {"cuda"}
    for name in ("latency_median_ms", "latency_device_median_ms", "latency_from_host_median_ms",
                 "latency_graph_median_ms", "sm_clock_mhz", "mem_clock_mhz", "gpu_temperature",
                 "gpu_used_mib", "gpu_leak_bytes", "gpu_kept_mib"):  # fmt: skip
        assert eager[name], (name, said)
    assert (eager["gpu_slack"], eager["gpu_internal_fragmentation"]) == ("0.25", "0.5")
    assert eager["gpu_external_fragmentation"] == "0.25"
    assert ort["gpu_slack"] == "" and "nothing of its allocator" in ort["gpu_message"]
    # Every node is on the CPU here, and the row does not hide it.
    assert (ort["placement_kind"], ort["share_on_cpu"]) == ("cpu-fallback", "1.0")
    assert ort["verdict"] == "excellent" and ort["latency_from_host_median_ms"]
    assert ort["latency_graph_median_ms"]
    (folder,) = on_fake_card.results.iterdir()
    recording, profile = sorted((folder / "memory").iterdir())
    assert recording.name == "tiny_mlp-torch-eager.float32.pickle"
    assert profile.name == "tiny_mlp-torchscript-ort.float32.json"
    assert any("mem_arena_held" in one.get("args", {}) for one in json.loads(profile.read_text()))
    with open(recording, "rb") as file:  # which this test's own run wrote
        (frame,) = pickle.load(file)["device_traces"][0][0]["frames"]
    assert frame["filename"] == "switchyard/runtimes/torch_cuda.py"
    assert '"card"' in (folder / "run.json").read_text()
    assert "GPU-0000" not in (folder / "run.json").read_text()


def test_a_session_that_fell_back_has_failed_at_load_and_a_busy_card_is_noisy(on_fake_card):
    status, said, rows = on_fake_card(*ROUTES, FAKE_FOREIGN="1", FAKE_NO_CAPTURE="1")
    ort, eager = rows["tiny_mlp-torchscript-ort"], rows["tiny_mlp-torch-eager"]
    assert (ort["stage"], ort["kind"], ort["verdict"]) == ("load", "provider-fallback", "failed")
    assert "CPUExecutionProvider" in ort["message"] and not ort["latency_median_ms"], said
    assert (eager["measure_kind"], eager["gpu_samples_retaken"]) == ("noisy", "9")  # of three series
    assert eager["verdict"] == "excellent" and eager["latency_median_ms"], said
    # A model that cannot be captured has no figure of it, says why, and keeps all others.
    assert eager["latency_graph_median_ms"] == "" and eager["gpu_kept_mib"]
    assert "not permitted when stream is capturing" in eager["gpu_message"]


def test_packages_without_cuda_make_their_routes_unavailable_with_the_reason(on_fake_card):
    """Only the card is faked: torch and ONNX Runtime are this set's, built for the CPU."""
    status, said, rows = on_fake_card(
        *ROUTES, "--route", "dynamo-ort-tensorrt", "--route", "torchscript17-onnx2tf-litert",
        FAKE_CARD_ALONE="1",
    )  # fmt: skip
    assert status in (0, 5), said
    assert {(row["stage"], row["verdict"]) for row in rows.values()} == {("import", "unavailable")}
    assert "built without CUDA" in rows["tiny_mlp-torch-eager"]["message"]
    assert "no CUDAExecutionProvider" in rows["tiny_mlp-torchscript-ort"]["message"]
    assert "no TensorrtExecutionProvider" in rows["tiny_mlp-dynamo-ort-tensorrt"]["message"]
    litert = rows["tiny_mlp-torchscript17-onnx2tf-litert"]
    assert litert["message"] == "LiteRT has no CUDA backend"
    # Nothing was converted for any of them.
    assert {row["convert_seconds"] for row in rows.values()} == {""}


def test_frameworks_that_share_the_card_have_a_row_for_each_arrangement(on_fake_card):
    """Of a model of the zoo with a Keras twin: the planted ones have none."""
    status, said, rows = on_fake_card(
        "--zoo", "builtin", "--model", "resnet18", "--route", "manual-tf", "-k", "sharing",
        FAKE_PROVIDER="1",
    )  # fmt: skip
    assert status == 0, said
    (table,) = on_fake_card.results.glob("*/sharing.csv")
    with open(table, newline="") as file:
        found = {row["arrangement"]: row for row in csv.DictReader(file)}
    capped = "1-process emptied expandable cap-50%"
    alone = {"alone torch-eager", "alone tf"}
    assert set(found) == {*alone, *(f"{one} cap-100%" for one in alone), capped, "2-process"}
    assert {(row["turns_done"], row["kind"]) for row in found.values()} == {("20", "")}
    assert found[capped]["torch_cap_mib"] == "4.0" and found[capped]["tensorflow_cap_mib"] == "3.0"
    assert found["2-process"]["torch_slack"] == "0.25"
    assert found["alone tf"]["tensorflow_peak_mib"] == "5.0"
    assert not found["alone tf"]["torch_slack"]


def test_a_card_on_which_cuda_does_not_start_is_a_usage_error_too(on_fake_card):
    said = "CUDA_ERROR_SYSTEM_NOT_READY (802): system not yet initialized"
    status, printed, rows = on_fake_card(*ROUTES, FAKE_CUDA_SAYS=said)
    assert status == 4 and not rows, printed
    assert f"does not start on it: {said}" in printed and "Fake Card" in printed


def test_without_a_card_it_is_a_usage_error_that_says_what_was_looked_for(bench):
    try:
        nvml.find(0)
    except nvml.NoDevice:
        pass
    else:
        pytest.skip("there is a card")
    ended = bench(*TINY, "--gpu")
    assert ended.status == 4, ended.output
    assert "cuda:0" in ended.output and "NVML" in ended.output
    assert not ended.results.exists()
