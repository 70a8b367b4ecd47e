"""The CUDA locks of the other version sets on a card of host memory: whether the frameworks of each
run there at all, are measured, and say what else this harness asks of them.

As in ``test_simulated_card`` the frameworks are the real ones. A set is skipped where its lock is
not installed (7 to 10 GB each).
"""

from __future__ import annotations

import pickle

import pytest
from simulated_card.running import CONTEXT, OnCard

ROUTES = ("torch-eager", "torch-compile", "torchscript-ort", "products-tf")

#: What a set's packages cannot do, by route: the outcome, and words of the reason.
CANNOT = {
    "torch2.9-tf2.20": {},
    "torch2.5-tf2.18": {},
    # onnxruntime-gpu of that time was built for CUDA 11, and torch for 12.
    "torch2.1-tf2.15": {
        "torchscript-ort": (("load", "provider-fallback", "failed"), "libcublasLt.so.11"),
    },
    "torch2.0-tf2.13": {
        "torch-compile": (("import", "removed-api", "unavailable"), "Python 3.11+"),
    },
}

pytestmark = pytest.mark.simulated_card


@pytest.fixture(scope="module", params=CANNOT)
def set_and_run(request, bench, tmp_path_factory):
    on_card = OnCard(bench, request.param, tmp_path_factory)
    named = [word for route in ROUTES for word in ("--route", route)]
    return request.param, on_card(
        "--model", "products", *named, "--record-memory", "-k", "not sharing"
    )


def test_each_framework_answers_rightly_on_the_device_or_says_why_not(set_and_run):
    name, ended = set_and_run
    # what would run on the CPU instead fails without an expectation too
    fallen = any(kind == "provider-fallback" for (_, kind, _), _ in CANNOT[name].values())
    assert ended.status == int(fallen), ended.output
    for route in ROUTES:
        row = ended.rows[f"products-{route}"]
        outcome, words = CANNOT[name].get(route, (("compare", "", "excellent"), ""))
        assert ended.outcome(f"products-{route}") == outcome, (row["message"], ended.output)
        assert words in row["message"]
        if not words:
            assert row["measure_kind"] == "", row["measure_message"]
            assert row["providers"].startswith(("cuda", "CUDAExecutionProvider"))
            assert row["latency_median_ms"] and row["latency_from_host_median_ms"]
            assert float(row["gpu_process_mib"]) >= CONTEXT


def test_torchs_allocator_and_events_say_what_they_say_in_other_versions(set_and_run):
    _, ended = set_and_run
    row = ended.rows["products-torch-eager"]
    assert row["latency_device_median_ms"] and row["latency_graph_median_ms"], row["gpu_message"]
    assert float(row["gpu_process_mib"]) == CONTEXT + float(row["gpu_reserved_mib"])
    assert float(row["gpu_kept_mib"]) == 0
    path = ended.folder / "memory" / "products-torch-eager.float32.pickle"
    with open(path, "rb") as file:  # which this test's own run wrote
        kept = pickle.load(file)
    assert kept["segments"] and any(one.get("frames") for one in kept["device_traces"][0])


def test_onnx_runtime_has_the_options_that_a_series_takes_or_says_that_it_has_not(set_and_run):
    name, ended = set_and_run
    row = ended.rows["products-torchscript-ort"]
    if row["verdict"] == "failed":
        pytest.skip(row["message"])
    # A graph is replayed, which computes nothing on this card: 1.15 would have taken no graph.
    assert float(row["latency_graph_median_ms"]) < float(row["latency_median_ms"]) / 10
    no_stream = "device: onnxruntime 1.15.1 has no user_compute_stream"
    assert (no_stream in row["gpu_message"]) == (name == "torch2.0-tf2.13")
    assert bool(row["latency_device_median_ms"]) == (name != "torch2.0-tf2.13")


def test_what_a_compiled_model_leaves_on_the_card_when_it_is_gone(set_and_run):
    name, ended = set_and_run
    row = ended.rows["products-torch-compile"]
    if row["verdict"] == "unavailable":
        pytest.skip(row["message"])
    weights = (64 * 1024 + 1024 * 2048 + 2048 * 64) * 4 / 2**20
    # torch 2.1 keeps what it compiled, and by that the weights.
    assert float(row["gpu_kept_mib"]) == (weights if name == "torch2.1-tf2.15" else 0)
