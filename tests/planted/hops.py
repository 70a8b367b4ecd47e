"""Converters with one fault each. All of them export with the honest TorchScript exporter and
tamper with the module before it, with the graph or the file after it, or with the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

from switchyard.hops import Hop
from switchyard.hops.torch_onnx import TorchScript
from switchyard.manifest import Manifest


class Planted(Hop):
    """``module(module, job) -> module``, ``graph(graph)``, ``file(path)`` or ``process()``."""

    source, targets, tier, requires = "torch", ("onnx",), "full", ("torch", "onnx")

    def __init__(self, name, module=None, graph=None, written=None, process=None):
        self.name = name
        self._module, self._graph, self._written, self._process = module, graph, written, process

    def convert(self, job):
        import onnx

        if self._process is not None:
            self._process()
        if self._module is not None:
            job.model.module = self._module(job.model.module, job)
        manifest = TorchScript().convert(job)
        path = job.target / manifest.files["onnx"]
        if self._graph is not None:
            model = onnx.load(path)
            self._graph(model.graph)
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, path)
        if self._written is not None:
            self._written(path)
        return manifest


# --- BatchNorm, and what shows at other sizes of the inputs alone


def _norms(module):
    import torch

    return [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def swap_mean_and_variance(module, job):
    for bn in _norms(module):
        bn.running_mean, bn.running_var = bn.running_var, bn.running_mean
    return module


def epsilon_of_keras(module, job):
    for bn in _norms(module):
        bn.eps = 1e-3
    return module


def forget_statistics(module, job):
    for bn in _norms(module):
        bn.reset_running_stats()
    return module


def lose_clip(module, job):
    import torch

    module[0] = torch.nn.ReLU()
    return module


def epsilon_of_another(module, job):
    module[0].eps = 9e-6
    return module


# --- layout, control flow, dtype


def flatten_channels_last(module, job):
    import torch

    class ChannelsLast(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    module.flatten = ChannelsLast()
    return module


def scripted(module, job):
    """Honest: an ``if`` and a ``for`` of plain Python stay what they are."""
    import torch

    return torch.jit.script(module)


def _wrapped(function):
    def change(module, job):
        import torch

        class Wrapped(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = module

            def forward(self, *arguments):
                return function(self.inner, *arguments)

        return Wrapped()

    return change


# --- graphs


def _final(graph, place=0):
    """Give the output's value another name, so that a node can stand between; its new name."""
    name = graph.output[place].name
    for node in graph.node:
        node.output[:] = [f"{name}_before" if each == name else each for each in node.output]
        node.input[:] = [f"{name}_before" if each == name else each for each in node.input]
    return f"{name}_before", name


def _constant(graph, name, values, dtype="float32"):
    import numpy
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(numpy.asarray(values, dtype), name))
    return name


def _append(graph, operator, inputs, outputs, **attributes):
    from onnx import helper

    graph.node.append(helper.make_node(operator, inputs, outputs, **attributes))


def all_zero(graph):
    before, name = _final(graph)
    _append(graph, "Mul", [before, _constant(graph, "nothing", 0)], [name])


def swap_outputs(graph):
    (first, first_name), (second, second_name) = _final(graph, 0), _final(graph, 1)
    _append(graph, "Identity", [first], [second_name])
    _append(graph, "Identity", [second], [first_name])


def lose_output(graph):
    del graph.output[1]


def nan_in_one_place(graph):
    before, name = _final(graph)
    places = _constant(graph, "place", [[0, 1]], "int64")
    _append(graph, "ScatterND", [before, places, _constant(graph, "nan", [float("nan")])], [name])


def right_once(graph):
    """Adds 1 on every call but those where a seeded stream of chance stays below the level
    that lies between its first and its second value."""
    import onnxruntime
    from onnx import TensorProto, helper

    seed, first, second = 0, 1.0, 0.0
    while not first < second - 0.2:
        seed += 1
        chance = helper.make_node("RandomUniform", [], ["chance"], shape=[1], seed=float(seed))
        wanted = helper.make_tensor_value_info("chance", TensorProto.FLOAT, [1])
        alone = helper.make_model(
            helper.make_graph([chance], "alone", [], [wanted]),
            opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
        )  # fmt: skip
        session = onnxruntime.InferenceSession(alone.SerializeToString())
        first, second = (float(session.run(None, {})[0][0]) for _ in range(2))
    before, name = _final(graph)
    graph.node.append(chance)
    level = _constant(graph, "level", (first + second) / 2)
    _append(graph, "Greater", ["chance", level], ["late"])
    _append(graph, "Cast", ["late"], ["error"], to=TensorProto.FLOAT)
    _append(graph, "Add", [before, "error"], [name])


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


# --- processes


def segfault():
    ctypes.string_at(0)


def hang():
    """Forever, with a child in a session of its own that ignores being asked to end."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
    while True:
        signal.pause()


def eat_memory():
    held = []
    for _ in range(6 * 1024):  # MiB; an end, should nobody stop it
        held.append(b"x" * (1 << 20))
    raise RuntimeError("nobody minded")


def exit_quietly():
    os._exit(0)


def babble():
    print("Traceback (most recent call last): \x00\x1b[31m {]")
    sys.stdout.flush()
    os.write(1, b"\x00\x00\x00\x02{}" + os.urandom(1 << 16))
    os.write(2, b"\xff" * (1 << 16))


def kill_server():
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def leave_child_behind():
    subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


def narrow_inside(module, job):
    return _wrapped(lambda net, x: net(x.float()).double())(module.float(), job)


class Unsigned(Hop):
    """A SavedModel that nobody gave a signature to serve."""

    name, source, targets, tier, requires = (
        "unsigned", "torch", ("saved_model",), "full", ("tensorflow",))  # fmt: skip

    def convert(self, job):
        import tensorflow as tf

        tf.saved_model.save(tf.Module(), str(job.target / "saved_model"))
        return Manifest(files={"saved_model": "saved_model"}, inputs=(), outputs=())


HOPS = (
    Planted("bn_swapped", module=swap_mean_and_variance),
    Planted("bn_epsilon", module=epsilon_of_keras),
    Planted("bn_forgotten", module=forget_statistics),
    Planted("clip_lost", module=lose_clip),
    Planted("norm_epsilon", module=epsilon_of_another),
    Planted("nhwc_flatten", module=flatten_channels_last),
    Planted("scripted", module=scripted),
    Planted("constant_branch"),  # what tracing does to them
    Planted("constant_count"),
    Planted("all_zero", graph=all_zero),
    Planted("swapped", graph=swap_outputs),
    Planted("missing", graph=lose_output),
    Planted("narrowed_inside", module=narrow_inside),
    Planted("narrowed_output", module=_wrapped(lambda net, x: net(x).float())),
    Planted("nan_once", graph=nan_in_one_place),
    Planted("right_once", graph=right_once),
    Planted("truncated", written=cut_in_half),
    Planted("segfaults", process=segfault),
    Planted("hangs", process=hang),
    Planted("eats", process=eat_memory),
    Planted("exits", process=exit_quietly),
    Planted("babbles", process=babble),
    Planted("kills_server", process=kill_server),
    Planted("leaves_child", process=leave_child_behind),
    Unsigned(),
)
