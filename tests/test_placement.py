"""Where a session ran: from its own profile, and from the devices of its tensors."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from default_set import said_by

from switchyard import runtimes
from switchyard.runtimes import tensorflow_placement
from switchyard.worker.placement import (
    Executed,
    from_devices,
    from_profile,
    of_session,
    with_operations,
    with_share,
)

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


def test_nodes_of_a_provider_that_was_not_the_one_asked_for_are_counted_by_provider():
    asked = ["TensorrtExecutionProvider", *BOTH]
    events = [run(0, 100), node("a", BOTH[0], 10, 20), node("b", BOTH[1], 40, 5, "NonZero", "1")]
    found = from_profile(events, asked)
    assert found["placement_message"] == (
        "TensorrtExecutionProvider 0 (0% of the time), CUDAExecutionProvider 1 (80% of the time); "
        "on the CPU: NonZero"
    )
    untimed = from_profile([node("a", BOTH[0], 10, 0)], asked)["placement_message"]
    assert untimed == "TensorrtExecutionProvider 0, CUDAExecutionProvider 1"
    assert found["nodes_on_device"] == 1
    wholly = from_profile([run(0, 100), node("a", asked[0], 10, 20)], asked)
    assert "placement_message" not in wholly


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
    assert found == {"placement_message": "could not be determined: RuntimeError: no profile"}


def test_integers_for_sizes_on_the_cpu_are_no_fallback():
    sizes = node("b", BOTH[1], 50, 1, "Gather", "1")
    sizes["args"]["output_type_shape"] = [{"int64": [2]}]
    found = from_profile([run(0, 100), node("a", BOTH[0], 1, 9), sizes], BOTH)
    assert found["nodes_on_cpu"] == 1 and "placement_kind" not in found
    assert found["placement_message"] == "on the CPU, for sizes alone: Gather"
    for output in ({"int64": [2, 400]}, {"float": [2]}):
        sizes["args"]["output_type_shape"] = [output]
        found = from_profile([run(0, 100), node("a", BOTH[0], 1, 9), sizes], BOTH)
        assert found["placement_kind"] == "cpu-fallback", output


def test_single_operations_add_what_the_ends_do_not_show():
    there = from_devices({"outputs": ["cuda"]})
    ran = [Executed("mm", False, False), Executed("sin", True, False)]
    ran += [Executed("Shape", True, True)]
    found = with_operations(there, lambda: ran)
    assert (found["nodes_on_device"], found["nodes_on_cpu"]) == (1, 2)
    assert found["placement_kind"] == "cpu-fallback" and found["providers"] == "cuda"
    assert found["placement_message"] == "on the CPU: sin"
    assert "placement_kind" not in with_operations(there, lambda: [ran[0], ran[2]])
    assert "share_on_cpu" not in found  # nothing is known of times
    taken = [one._replace(seconds=seconds) for one, seconds in zip(ran, (6.0, 1.0, 1.0))]
    assert with_operations(there, lambda: taken)["share_on_cpu"] == 0.25
    assert with_operations(there, lambda: taken[:1])["share_on_cpu"] == 0
    strayed = with_operations(from_devices({"outputs": ["cpu"]}), lambda: ran)
    assert "outputs" in strayed["placement_message"]

    def broken():
        raise AttributeError("no such record\nhere")

    found = with_operations(there, broken)
    assert found["providers"] == "cuda" and "nodes_on_cpu" not in found
    assert found["placement_message"] == (
        "operations not counted: AttributeError: no such record"
    )


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


def test_onnx_runtimes_own_profile_is_understood_and_an_absent_provider_is_a_failure(tmp_path):
    said = said_by(PROFILED, tmp_path)
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
session = cuda.session_on_gpu(loaded, loaded.signatures["serving_default"], "saved")
feeds = {"x": numpy.ones((2, 4), numpy.float32)}
said = {"series": sorted(session.series(feeds)),
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
    said = said_by(ON_TENSORFLOW, tmp_path)
    assert said["series"] == ["from_host", "resident"]
    # The int32 output is on the host by TensorFlow's own rule and says nothing.
    assert said["placement"]["providers"] == "cpu"
    assert said["placement"]["placement_message"] == "on the CPU: some of the outputs"
    assert said["placement"]["share_on_cpu"] == 1 and said["placement"]["nodes_on_device"] == 0
    assert "built without CUDA" in said["lacks"] and "sees none" in said["fallback"]


def test_the_share_of_time_is_of_the_nodes_of_the_model_by_their_device():
    def node(name, nanos):
        times = {"op_start_rel_nanos": 5, "op_end_rel_nanos": 5 + nanos}
        return types.SimpleNamespace(node_name=name, **times)

    def device(name, *nodes):
        return types.SimpleNamespace(device=f"/job:localhost/device:{name}:0", node_stats=nodes)

    nodes = {"a": "MatMul", "b": "MatrixDeterminant", "send": "_Send", "arg": "_Arg"}
    graph = [types.SimpleNamespace(name=name, op=op) for name, op in nodes.items()]
    said = types.SimpleNamespace(
        partition_graphs=[types.SimpleNamespace(node=graph)],
        step_stats=types.SimpleNamespace(dev_stats=[
            device("GPU", node("_SOURCE", 900), node("a", 40), node("a", 20), node("send", 900)),
            device("CPU", node("b", 20), node("arg", 900)),
        ]),
    )  # fmt: skip
    assert tensorflow_placement._share(said) == 0.25  # a loop's node counts each time
    said.step_stats.dev_stats = []
    assert tensorflow_placement._share(said) is None

    def broken():
        raise ValueError("no such signature\nhere")

    assert with_share({"providers": "cuda"}, lambda: 0.25)["share_on_cpu"] == 0.25
    found = with_share({"providers": "cuda"}, broken)
    message = "times not counted: ValueError: no such signature"
    assert found == {"providers": "cuda", "placement_message": message}


# --- torch and TensorFlow themselves, there too: another device of the CPU's in the card's place

TORCH_RAN = """
import json, torch
from switchyard.runtimes import torch_placement
class There(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.relu(x.to("meta")) * 2 if x.device.type == "cpu" else x
x = torch.ones(3, 4)
waited = []
def wait():
    waited.append(1)
ran = torch_placement.executed(lambda: There()(x) + torch.ones(3, 4).cumsum(0).to("meta"), wait)
assert len(waited) >= len(ran) > 3
lengths = torch.tensor([3, 2])
packed = lambda: torch._pack_padded_sequence(torch.ones(3, 2, 4, device="meta"), lengths, False)
(ran_packed,) = [one for one in torch_placement.executed(packed, wait) if "pack" in one[0]]
assert packed()[1].device.type == "cpu" and ran_packed[1] is False, ran_packed
print(json.dumps(ran + torch_placement.executed(lambda: torch.arange(3) + torch.tensor(2.5), wait)))
"""

TENSORFLOW_RAN = """
import json, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from switchyard.runtimes import tensorflow_placement
@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
def two(x):
    with tf.device("CPU:1"):
        y = tf.nn.softmax(x)
    return tf.matmul(y, tf.ones((4, 4))) + tf.cast(tf.shape(x)[0], tf.float32)
@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
def integers(x):
    with tf.device("CPU:1"):
        y = tf.nn.softmax(x)
    twice = tf.concat([tf.shape(y)[:1] * 2, [2]], 0)
    return tf.reshape(y, twice), tf.bitcast(x, tf.int32) // 3, tf.range(twice[0]), tf.argmax(x[:3])
x = tf.ones((2, 4))
tensorflow_placement.ON_DEVICE = "CPU:1"
ran = {"two": tensorflow_placement.executed(lambda: two(x)),
       "integers": tensorflow_placement.executed(lambda: integers(x))}
def unread(*given, **more):
    raise ValueError("Op type not registered")
tf.graph_util.import_graph_def = unread
again = tf.function(integers.python_function, input_signature=integers.input_signature)
ran["unread"] = tensorflow_placement.executed(lambda: again(x))
print(json.dumps(ran))
"""


def test_torchs_operations_are_counted_by_the_device_of_what_they_return(tmp_path):
    ran = said_by(TORCH_RAN, tmp_path)
    by_name = {operator: (on_cpu, sizes) for operator, on_cpu, sizes, _ in ran}
    assert all(seconds > 0 for *_, seconds in ran)
    assert by_name["relu"] == by_name["mul"] == (False, False)
    assert by_name["cumsum"] == (True, False)
    assert by_name["arange"] == (True, True)  # a few integers


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    """By call and operation: whether on the CPU, and whether for sizes alone."""
    ran = said_by(TENSORFLOW_RAN, tmp_path_factory.mktemp("tensorflow"))
    # On some CPUs TensorFlow takes oneDNN's, under names of their own.
    return {call: {one.replace("_Mkl", ""): (on_cpu, sizes) for one, on_cpu, sizes, _ in each}
            for call, each in ran.items()}  # fmt: skip


def test_tensorflows_operations_are_those_of_the_graphs_that_ran(on_tensorflow):
    by_name = on_tensorflow["two"]
    assert by_name["Softmax"] == (False, False) and by_name["MatMul"] == (True, False)
    assert by_name["Shape"] == (True, True)
    assert not {"_Arg", "_Retval", "_Send", "_Recv"} & set(by_name)


def test_tensorflows_integers_are_sizes_where_they_are_known_to_be_few(on_tensorflow):
    """What of the other device's tensor is computed is a size; what follows the batch is not."""
    by_name = on_tensorflow["integers"]
    for operator in ("StridedSlice", "Mul", "ConcatV2", "ArgMax"):
        assert by_name[operator] == (True, True), operator
    for operator in ("Bitcast", "FloorDiv", "Range", "Reshape"):
        assert by_name[operator] == (True, False), operator
    # Where the graph is not read once more, nothing is known to be few.
    unread = on_tensorflow["unread"]
    assert unread["Mul"] == unread["FloorDiv"] == (True, False)
    assert unread["Shape"][1]
