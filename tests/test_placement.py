"""Where a session ran: from its own profile, and from the devices of its tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from switchyard import runtimes
from switchyard.runner import environments, staging
from switchyard.runner.options import DEFAULT_SET
from switchyard.worker.placement import from_devices, from_profile, of_session

BOTH = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def node(name, provider, ts, dur, op="Conv", index="0"):
    given = {"op_name": op, "node_index": index, "provider": provider}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": given}


def run(ts, dur):
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def test_nodes_and_time_are_counted_by_provider():
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 9000, "args": {}},
        run(10, 1000), node("a", BOTH[0], 20, 900), node("b", BOTH[1], 950, 50, "NonZero", "1"),
        run(2000, 100), node("a", BOTH[0], 2010, 30), node("b", BOTH[1], 2050, 10, "NonZero", "1"),
    ]  # fmt: skip
    found = from_profile(events, BOTH)
    assert (found["nodes_on_device"], found["nodes_on_cpu"]) == (1, 1)
    assert found["share_on_cpu"] == pytest.approx(0.25)  # of the last run alone
    assert found["placement_kind"] == "cpu-fallback"
    assert found["placement_message"] == "on the CPU: NonZero"
    assert found["providers"] == "CUDAExecutionProvider>CPUExecutionProvider"


def test_a_session_wholly_on_the_device_is_no_fallback():
    found = from_profile([run(0, 100), node("a", BOTH[0], 10, 20)], BOTH)
    assert found["share_on_cpu"] == 0 and "placement_kind" not in found


def test_nodes_of_one_name_in_two_graphs_are_two_and_a_loops_are_counted_once():
    events = [run(0, 100), *(node("a", BOTH[0], ts, 1, index="0") for ts in (1, 2, 3)),
              node("a", BOTH[0], 4, 1, index="5")]  # fmt: skip
    assert from_profile(events, BOTH)["nodes_on_device"] == 2


@pytest.mark.parametrize("events", [[], [run(0, 1)], [{"name": "a_kernel_time", "args": {}}]])
def test_a_profile_that_says_nothing_leaves_columns_empty_and_says_so(events):
    found = from_profile(events, BOTH)
    assert "nodes_on_device" not in found and "share_on_cpu" not in found
    assert "no executed node" in found["placement_message"]


def test_tensors_that_stayed_behind_are_named_by_what_they_are():
    found = from_devices({"parameters": ["cuda", "cuda"], "outputs": ["cuda", "cpu"]})
    assert found["providers"] == "cpu>cuda" and found["placement_kind"] == "cpu-fallback"
    assert "outputs" in found["placement_message"]
    assert "placement_kind" not in from_devices({"parameters": [], "outputs": ["cuda"]})


def test_a_session_that_cannot_say_costs_its_columns_and_no_more():
    class Broken(runtimes.Session):
        def placement(self, feeds):
            raise RuntimeError("no profile\nwas written")

    found = of_session(Broken(), {})
    assert found == {"placement_message": "not found out: RuntimeError: no profile"}


# --- ONNX Runtime itself, in the default set's environment: the CPU provider in the device's place

PROFILED = """
import json, os, sys
import numpy, onnx
from onnx import TensorProto, helper
from switchyard.manifest import Artefact, Manifest
from switchyard.runtimes import Target, onnxruntime_cuda as cuda, onnxruntime_profile

value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
graph = helper.make_graph([helper.make_node("Sin", ["x"], ["s"], name="first"),
                           helper.make_node("Cos", ["s"], ["y"], name="second")],
                          "g", [value("x")], [value("y")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
          "model.onnx")
cuda._providers = lambda target, provider, *given: [provider]
cuda.DEVICE = "cpu"
feeds = {"x": numpy.ones((2, 4), numpy.float32)}
session = cuda.CudaSession("model.onnx", Target("cuda"), cuda.CPU)
called = {name: call() for name, call in session.series(feeds).items()}
replay = session.graphed(feeds)
replay()
outputs = replay.__defaults__[0][1]
said = {"series": sorted(called), "run": session.run(feeds)["y"].shape,
        "graphed": float(abs(outputs["y"].numpy() - session.run(feeds)["y"]).max()),
        "placement": session.placement(feeds), "lacks": cuda.lacks(cuda.CUDA),
        "on_cpu": session.memory_over([feeds] * 3)}
onnxruntime_profile.CPU_PROVIDER = "none"
wide = {"x": numpy.ones((300_000, 4), numpy.float32)}
said["arena"] = session.memory_over([feeds, feeds, wide, feeds])
said["float32"] = os.environ["NVIDIA_TF32_OVERRIDE"]
cuda.CudaSession("model.onnx", Target("cuda", tf32=True), cuda.CPU)
said["tf32"] = os.environ.get("NVIDIA_TF32_OVERRIDE")
try:
    cuda._providers = lambda target, provider, *given: [cuda.CPU]
    cuda._session("model.onnx", Target("cuda"), cuda.CUDA)
except Exception as error:
    said["fallback"] = [error.kind, error.stage, str(error)]
print(json.dumps(said))
"""


def in_default_set(code, tmp_path):
    """What a script says, on its last line, in the default set's environment."""
    environment = environments.provision(DEFAULT_SET, "core", lambda line: None)
    staged = staging.stage(tmp_path / "cache")
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
    done = subprocess.run(
        [environment.python, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(staged.path)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_onnx_runtimes_own_profile_is_understood_and_an_absent_provider_is_a_failure(tmp_path):
    said = in_default_set(PROFILED, tmp_path)
    assert said["run"] == [2, 4] and said["series"] == ["from_host", "resident"]
    # Where no option of a provider switches TF32 off, this does, and a cell of TF32 has it on.
    assert (said["float32"], said["tf32"]) == ("0", None)
    assert said["on_cpu"] == []  # its arena is not the device's
    first, again, wide, last = said["arena"]
    held = [one["in_run_allocated_mib"] for one in said["arena"]]
    assert held[0] == held[1] == held[3]
    assert held[2] > 2 * 300_000 * 4 * 4 / 2**20 > held[3]
    assert last["reserved_mib"] >= last["peak_mib"] == wide["peak_mib"] >= held[2]
    assert 0 <= wide["in_run_slack"] < last["in_run_slack"] < 1
    assert 0 <= last["internal_fragmentation"] < 1
    assert said["graphed"] == 0  # into the outputs that were bound once
    assert said["placement"]["nodes_on_cpu"] == 2 and said["placement"]["share_on_cpu"] == 1
    assert said["placement"]["placement_message"] == "on the CPU: Cos, Sin"
    assert "has no CUDAExecutionProvider" in said["lacks"]
    kind, stage, message = said["fallback"]
    assert (kind, stage) == ("provider-fallback", "load") and "CPUExecutionProvider" in message


def test_what_native_code_wrote_to_the_log_is_found_again(tmp_path):
    code = "import os, sys\nfrom switchyard.runtimes import native_words\n"
    code += "os.write(2, b'Failed to load library libx.so: no such file\\n')\nprint(native_words())"
    with open(tmp_path / "log", "wb") as log:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log)
    assert b"Failed to load library libx.so" in done.stdout
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.stdout.strip() == b""  # a pipe cannot be read again


# --- TensorFlow's session, in the default set's environment: the CPU in the GPU's place

ON_TENSORFLOW = """
import json
import numpy, tensorflow as tf
from switchyard.runtimes import ProviderFallback, Target, tensorflow_cuda as cuda

class Sine(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.sin(x), "size": tf.shape(x)}

module = Sine()
tf.saved_model.save(module, "saved", signatures=module.__call__)
loaded = tf.saved_model.load("saved")
cuda.DEVICE = cuda.HOST
session = cuda.session_on_gpu(loaded, loaded.signatures["serving_default"], {"memory_growth": True})
feeds = {"x": numpy.ones((2, 4), numpy.float32)}
said = {"series": sorted(session.series(feeds)), "facts": session.facts["memory_growth"],
        "placement": session.placement(feeds), "lacks": cuda.lacks()}
for call in session.series(feeds).values():
    call()
try:
    cuda.set_up(Target("cuda"))
except ProviderFallback as error:
    said["fallback"] = str(error)
print(json.dumps(said))
"""


def test_tensorflows_session_is_timed_in_two_series_and_says_where_its_outputs_lie(tmp_path):
    said = in_default_set(ON_TENSORFLOW, tmp_path)
    assert said["series"] == ["from_host", "resident"] and said["facts"] is True
    # The int32 output is on the host by TensorFlow's own rule and says nothing.
    assert said["placement"]["providers"] == "cpu"
    assert said["placement"]["placement_message"] == "on the CPU: some of the outputs"
    assert "built without CUDA" in said["lacks"] and "sees none" in said["fallback"]
