"""``--threads``: each runtime starts as many as it is told, and says of no other."""

from __future__ import annotations

import pytest
from default_set import said_by

from switchyard.compare import circumstances

#: The product of a matrix with itself, large enough to be shared among threads, in every format.
MAKING = """
import tensorflow as tf
from onnx import TensorProto, helper, save

size = 512
ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size, size]) for n in "xy"]
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "product",
                          ends[:1], ends[1:])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
     "model.onnx")
module = tf.Module()
signature = [tf.TensorSpec([size, size], tf.float32, name="x")]
module.product = tf.function(lambda x: {"y": tf.matmul(x, x)}, input_signature=signature)
tf.saved_model.save(module, "saved_model", signatures=module.product)
with open("model.tflite", "wb") as file:
    file.write(tf.lite.TFLiteConverter.from_saved_model("saved_model").convert())
print(1)
"""

#: Loads it in the runtime that is named, asks once, and prints the threads that this added.
ASKING = """
import json, os, sys, types
import numpy
from switchyard import hops, runtimes

name, threads, path = sys.argv[1:]
runtime = runtimes.builtin()[name]
target = runtimes.Target(threads=int(threads) or None)
x = numpy.ones((512, 512), numpy.float32)
model = None
if runtime.format == "torch":
    import torch
    # no product: MKL takes no more threads than there are cores
    model = types.SimpleNamespace(module=torch.nn.Sigmoid(),
                                  arguments=lambda feeds: ((torch.from_numpy(feeds["x"]),), {}))
for package in runtime.requires:
    hops.import_required(package)
before = len(os.listdir("/proc/self/task"))
session = runtime.load(types.SimpleNamespace(file=lambda format: path), model, target)
session.prepare({"x": x})()
print(json.dumps(len(os.listdir("/proc/self/task")) - before))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    said_by(MAKING, folder)
    return folder


@pytest.mark.parametrize("runtime, file, pools", [
    ("torch-eager", "", 2),  # OpenMP's, and one for mobile kernels
    ("ort", "model.onnx", 1),
    ("tf", "saved_model", 2),  # in an operator, and operators side by side
    ("litert", "model.tflite", 1),
])
def test_a_runtime_computes_with_as_many_threads_as_it_is_told(runtime, file, pools, files):
    few, many = (said_by(ASKING, files, runtime, str(n), file) for n in (2, 5))
    assert many - few == 3 * pools


#: What two of them are told beside, that shows in no pool of the product's.
TOLD = """
import json, types
from switchyard import runtimes
import tensorflow as tf, torch

target = runtimes.Target(threads=3)
artefact = types.SimpleNamespace(file=lambda format: "saved_model")
runtimes.builtin()["tf"].load(artefact, None, target)
model = types.SimpleNamespace(module=torch.nn.Sigmoid())
runtimes.builtin()["torch-compile"].load(None, model, target)
print(json.dumps([tf.config.threading.get_inter_op_parallelism_threads(),
                  torch._inductor.config.cpp.threads]))
"""


def test_operators_side_by_side_and_kernels_found_again_are_told_as_well(files):
    assert said_by(TOLD, files) == [3, 3]


SERVING = """
import json, os, sys
import numpy
from switchyard import runtimes

service = runtimes.builtin()["hybrid-tf"].load(
    None, runtimes.Recipe(sys.argv[1], "large"), runtimes.Target(threads=int(sys.argv[2]))
)
(process,) = service.companions
service.run({"input": numpy.ones((512, 512), numpy.float32)})
print(json.dumps(len(os.listdir(f"/proc/{process}/task"))))
"""

LARGE = """
import torch

from models_zoo import Tensor, model

@model(input=Tensor("batch", 512))
def large():
    return torch.nn.Sigmoid()
"""


def test_the_torch_behind_the_hybrid_as_well(tmp_path):
    (tmp_path / "large.py").write_text(LARGE)
    few, many = (said_by(SERVING, tmp_path, "large.py", str(n)) for n in (2, 5))
    assert many - few == 3 * 2


def test_what_was_timed_with_other_threads_stands_beside_nothing():
    machine = {"cpu": "one", "cores_logical": 8}
    own, one, two = (
        {"machine": machine, "options": {"threads": threads}} for threads in (None, 1, 2)
    )
    before_there_was_the_option = {"machine": machine, "options": {}}
    assert not circumstances.other_hardware(own, before_there_was_the_option, "cpu")
    assert not circumstances.known_other_hardware(None, one, "cpu")
    assert circumstances.other_hardware(one, two, "cpu") == "other threads: 1 against 2 (--threads)"
    assert circumstances.known_other_hardware(own, one, "cpu") == (
        "other threads: each framework's own choice against 1 (--threads)"
    )
    elsewhere = {**two, "machine": {**machine, "cores_logical": 4}}
    assert circumstances.other_hardware(one, elsewhere, "cpu") == (
        "other hardware: logical cores 8 against 4; other threads: 1 against 2 (--threads)"
    )


@pytest.mark.parametrize("name, said", [
    ("OMP_NUM_THREADS", "other threads: 1 against each framework's own choice (OMP_NUM_THREADS)"),
    ("TF_NUM_INTEROP_THREADS",
     "other threads: 1 against each framework's own choice (TF_NUM_INTEROP_THREADS)"),
    ("OMP_WAIT_POLICY", ""),
])  # fmt: skip
def test_nor_what_a_variable_gave_other_threads(name, said):
    about = {"machine": {"cpu": "one"}, "options": {}}
    given = {**about, "environment_variables": {name: "1"}}
    assert circumstances.other_hardware(given, about, "cpu") == said


@pytest.mark.parametrize("limits, said", [
    ((None, 2.0), "other hardware: cores of the container no limit against 2.0"),
    ((None, None), ""),
    ((2.0, 2.0), ""),
])  # fmt: skip
def test_a_container_that_is_limited_is_other_hardware_than_one_that_is_not(limits, said):
    machines = [{"cpu": "one", "cores_usable": 64} for _ in limits]
    for machine, limit in zip(machines, limits):
        machine.update({} if limit is None else {"cores_of_cgroup": limit})
    abouts = [{"machine": machine, "options": {}} for machine in machines]
    assert circumstances.other_hardware(*abouts, "cpu") == said
