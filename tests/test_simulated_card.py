"""``pytest bench/ --gpu`` with the default set's CUDA lock, whole, on a card of host memory.

Real are the runner, its processes, and the CUDA builds of torch, ONNX Runtime and TensorFlow with
their allocators; ``simulated_card`` stands in for the driver, the CUDA runtime, NVML and cuBLAS. No
figure here was measured on a card. Skipped where the lock is not installed (11 GB).
"""

from __future__ import annotations

import csv
import os
import pickle
import socket
import subprocess

import pandas
import pytest
import simulated_card
from simulated_card.running import CONTEXT, PLANTED, OnCard, installed

from switchyard.runner.nvml import sees_everybody
from switchyard.runner.options import DEFAULT_SET

EAGER = ("--model", "products", "--route", "torch-eager", "-k", "not sharing")

pytestmark = pytest.mark.simulated_card


@pytest.fixture(scope="module")
def on_card(bench, tmp_path_factory):
    return OnCard(bench, DEFAULT_SET, tmp_path_factory)


@pytest.fixture(scope="module")
def ended(on_card):
    return on_card(
        "--model", "products", "--model", "determinants", "--route", "torch-eager",
        "--route", "torch-compile", "--route", "torchscript-ort", "--route", "products-tf",
        "--record-memory", "-k", "not sharing",
    )  # fmt: skip


def test_every_framework_answers_rightly_on_the_device(ended):
    rows = ended.rows
    assert ended.status == 0, ended.output
    verdicts = {cell: row["verdict"] for cell, row in rows.items() if row["model"] == "products"}
    assert len(verdicts) == 4 and set(verdicts.values()) == {"excellent"}, ended.output
    assert {row["device"] for row in rows.values()} == {"cuda"}
    assert rows["products-torch-eager"]["providers"] == rows["products-products-tf"]["providers"]
    assert rows["products-torch-eager"]["providers"] == "cuda"
    ort = rows["products-torchscript-ort"]
    assert ort["providers"] == "CUDAExecutionProvider>CPUExecutionProvider"
    assert (ort["nodes_on_device"], ort["nodes_on_cpu"], ort["placement_kind"]) == ("3", "0", "")


def test_the_sets_own_nvcc_builds_an_extension_in_place_and_torch_calls_it(on_card):
    built = on_card("--zoo", PLANTED / "built.py", "--model", "only_built",
                    "--route", "torch-eager", "-k", "not sharing")  # fmt: skip
    row = built.rows["only_built-torch-eager"]
    # Nothing refused a compiler; no kernel computes anything on this card.
    assert (row["stage"], row["kind"]) == ("compare", "constant-output"), row["message"]
    assert row["nodes_on_device"] == "1"


def test_what_stayed_on_the_cpu_is_found_in_onnx_runtimes_own_profile(ended):
    row = ended.rows["determinants-torchscript-ort"]
    assert (row["placement_kind"], row["nodes_on_cpu"]) == ("cpu-fallback", "1")
    assert row["placement_message"].endswith("Det") and 0 < float(row["share_on_cpu"]) < 1


def test_the_time_in_tensorflows_nodes_is_known_by_device(ended):
    row = ended.rows["products-products-tf"]
    assert int(row["nodes_on_device"]) >= 3 and row["nodes_on_cpu"] == "0"
    assert float(row["share_on_cpu"]) == 0


def test_every_series_is_measured_where_there_is_one(ended):
    for route, lacks in {
        "torch-eager": "", "torch-compile": "", "torchscript-ort": "",
        "products-tf": "device graph",
    }.items():  # fmt: skip
        row = ended.rows[f"products-{route}"]
        for series in ("", "from_host_", "device_", "graph_"):
            column = f"latency_{series}median_ms"
            assert bool(row[column]) == (series.rstrip("_") not in lacks.split()), (route, column)


def test_sixteen_bits_are_right_on_the_device_and_timed_in_every_way(on_card):
    ended = on_card("--model", "products", "--route", "torch-eager", "--route", "torchscript-ort",
                    "--route", "products-tf", "--precision", "float16", "--precision", "bfloat16",
                    "-k", "not sharing")  # fmt: skip
    with open(ended.folder / "cells.csv", newline="") as table:
        rows = {(row["precision"], row["route"]): row for row in csv.DictReader(table)}
    refused = rows.pop(("bfloat16", "products-tf"))  # its hop takes the weights by numpy
    assert (refused["verdict"], refused["kind"]) == ("refused", "unsupported-dtype")
    assert {row["verdict"] for row in rows.values()} == {"excellent"}, ended.output
    assert len(rows) == 5 and {row["placement_kind"] for row in rows.values()} == {""}
    for (_, route), row in rows.items():
        assert row["latency_median_ms"] and row["latency_from_host_median_ms"], row
        assert bool(row["latency_graph_median_ms"]) == (route != "products-tf"), row["gpu_message"]


def test_memory_is_what_each_allocator_and_nvml_say(ended):
    rows, weights = ended.rows, (64 * 1024 + 1024 * 2048 + 2048 * 64) * 4 / 2**20
    eager, tf = rows["products-torch-eager"], rows["products-products-tf"]
    for row in (eager, tf):
        assert float(row["gpu_peak_mib"]) >= float(row["gpu_allocated_mib"]) > weights
        assert float(row["gpu_leak_bytes"]) == 0
        assert row["gpu_process_mib"] == row["gpu_used_mib"]
        assert row["gpu_foreign_processes"] == ("0" if sees_everybody() else "")
    reserved = float(eager["gpu_reserved_mib"])
    assert float(eager["gpu_process_mib"]) == CONTEXT + reserved
    assert float(eager["gpu_slack"]) == pytest.approx(
        1 - float(eager["gpu_allocated_mib"]) / reserved
    )
    assert 0 <= float(eager["gpu_external_fragmentation"]) < 1
    assert float(eager["gpu_kept_mib"]) == 0  # cuBLAS's workspace is no model's
    found = pandas.read_parquet(ended.folder / "figures.parquet")
    found = found[(found.route == "torch-eager") & (found.model == "products")]
    workspace = found[found.metric == "workspace_mib"].value.max()
    assert 0 < workspace < float(eager["gpu_allocated_mib"]) - weights
    assert tf["gpu_reserved_mib"] == tf["gpu_slack"] == ""
    # From its profile, of a session of its own; the process holds more than one arena of its like.
    ort = rows["products-torchscript-ort"]
    assert weights < float(ort["gpu_peak_mib"]) <= float(ort["gpu_reserved_mib"])
    assert 0 <= float(ort["gpu_internal_fragmentation"]) < 1
    # What it holds once a run has ended it does not say.
    assert ort["gpu_allocated_mib"] == ort["gpu_slack"] == ort["gpu_external_fragmentation"] == ""
    assert float(ort["gpu_leak_bytes"]) == 0
    assert float(ort["gpu_process_mib"]) > CONTEXT + weights
    # From its profiler's trace: it hands out pieces of 256 bytes and of what lies free.
    for name in ("gpu_internal_fragmentation", "gpu_external_fragmentation"):
        assert 0 <= float(tf[name]) < 1, (name, tf["gpu_message"])


def test_what_torch_recorded_is_in_the_form_of_its_viewer(ended):
    path = ended.folder / "memory" / "products-torch-eager.float32.pickle"
    with open(path, "rb") as file:  # which this test's own run wrote
        kept = pickle.load(file)
    assert kept["segments"] and {"action", "addr", "size"} <= set(kept["device_traces"][0][0])
    assert {"alloc", "segment_alloc"} <= {one["action"] for one in kept["device_traces"][0]}
    frames = [frame for one in kept["device_traces"][0] for frame in one.get("frames", ())]
    names = {frame["filename"] for frame in frames}
    assert "switchyard/worker/measuring.py" in names and "torch/nn/modules/module.py" in names
    assert not [name for name in names if name.startswith("/")]


def test_what_the_others_recorded_is_their_profilers_and_names_no_machine(ended):
    folder = ended.folder / "memory"
    names = {path.name.split(".", 2)[-1] for path in folder.iterdir()}
    assert names == {"pickle", "json", "xplane.pb"}
    trace = (folder / "products-products-tf.float32.xplane.pb").read_bytes()
    assert b"MemoryAllocation" in trace and b"GPU_0_bfc" in trace
    profile = (folder / "products-torchscript-ort.float32.json").read_text()
    assert '"CUDAExecutionProvider"' in profile and "mem_arena_held" in profile
    for private in (socket.gethostname(), os.path.expanduser("~")):
        assert private not in profile and private.encode() not in trace, private


def test_a_model_that_does_not_fit_is_out_of_memory_and_the_next_one_runs(on_card):
    ended = on_card("--model", "wide_products", *EAGER, SIMULATED_CARD_MIB=str(CONTEXT + 60))
    assert ended.outcome("wide_products-torch-eager") == ("load", "device-oom", "failed")
    assert ended.rows["products-torch-eager"]["verdict"] == "excellent", ended.output


@pytest.mark.parametrize("settings, kind", [
    ({"SIMULATED_CARD_LOST_AFTER": "20"}, "device-lost"),
    ({"SIMULATED_CARD_HANGS_AFTER": "20"}, "timeout"),
])  # fmt: skip
def test_a_card_that_breaks_is_the_cells_outcome_and_leaves_nothing_behind(
    on_card, settings, kind
):
    ended = on_card(*EAGER, "--stage-timeout", "20", **settings)
    row = ended.rows["products-torch-eager"]
    assert kind in (row["kind"], row["measure_kind"]), ended.output
    assert not ended.left_behind()


def test_a_driver_that_is_too_old_is_said(on_card):
    ended = on_card(*EAGER, "--route", "torchscript-ort", SIMULATED_CARD_OLD_DRIVER="1")
    for cell in ("products-torch-eager", "products-torchscript-ort"):
        assert ended.outcome(cell) == ("load", "driver-too-old", "failed"), ended.output
        assert "driver" in ended.rows[cell]["message"]


def test_a_clock_that_is_held_down_makes_a_sample_set_noisy(on_card):
    ended = on_card(*EAGER, SIMULATED_CARD_THROTTLE="8")
    row = ended.rows["products-torch-eager"]
    # each of four series three times
    assert (row["measure_kind"], row["gpu_samples_retaken"]) == ("noisy", "12")
    assert row["gpu_throttle"] == "hw-slowdown" and row["verdict"] == "excellent"


def test_torch_and_tensorflow_share_the_card_with_their_own_allocators(on_card):
    ended = on_card("--model", "products", "--route", "products-tf", "-k", "sharing",
                    PYTHONPATH=str(simulated_card.HERE / "fewer"))  # fmt: skip
    assert ended.status == 0, ended.output
    with open(ended.folder / "sharing.csv", newline="") as file:
        rows = {row["arrangement"]: row for row in csv.DictReader(file)}
    for name in ("alone torch-eager", "alone tf", "alone torch-eager cap-100%",
                 "alone tf cap-100%", "2-process",
                 "1-process emptied expandable cap-100%"):  # fmt: skip
        assert (rows[name]["turns_done"], rows[name]["kind"]) == ("20", ""), rows[name]
    # Without growth TensorFlow takes nearly the whole card for a model of a few MiB.
    assert float(rows["alone tf no-growth"]["card_mib"]) > 10_000
    assert float(rows["alone tf"]["card_mib"]) < CONTEXT + 100
    # What it leaves is enough for these models.
    first = rows["2-process tf-first no-growth"]
    assert (first["first"], first["turns_done"]) == ("tf", "20")
    assert float(first["card_mib"]) > float(rows["alone tf no-growth"]["card_mib"]) + CONTEXT
    assert 0 <= float(rows["2-process"]["tensorflow_external_fragmentation"]) < 1
    two, one = rows["2-process"], rows["1-process emptied expandable cap-100%"]
    assert float(two["card_mib"]) > 2 * CONTEXT > float(one["card_mib"])
    # What torch asks for cuBLAS beside its tensors is more than that.
    short = rows["1-process cap-25%"]
    assert (short["turns_done"], short["kind"]) == ("0", "device-oom")
    assert "CUDA out of memory" in short["message"]


def test_the_zoos_triton_kernel_is_right_in_tritons_interpreter():
    """Which runs it on the CPU: the kernel itself, and nothing of a card."""
    code = (
        "import torch; from models_zoo import gpu_kernels as zoo; x = torch.randn(5, 300)\n"
        "torch.testing.assert_close(zoo._on_the_card(x), zoo.swish(x))"
    )
    subprocess.run(
        [installed(DEFAULT_SET) / "bin" / "python", "-c", code], check=True, timeout=120,
        env={**os.environ, "TRITON_INTERPRET": "1",
             "PYTHONPATH": str(simulated_card.HERE.parents[1])},
    )  # fmt: skip
