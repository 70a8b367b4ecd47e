"""One change to an honest ONNX file each: a weight, a node or an output."""

from __future__ import annotations

from switchyard.hops import Hop
from switchyard.hops.onnx_io import carried


class Mutation(Hop):
    """``change(graph)`` is made to what the TorchScript exporter wrote."""

    source, targets, tier = "onnx", ("onnx",), "full"
    after, requires = ("torchscript",), ("onnx",)

    def __init__(self, change):
        self.name, self._change = change.__name__, change

    def convert(self, job):
        import onnx

        model = onnx.load(job.source.file("onnx"))
        self._change(model.graph)
        onnx.checker.check_model(model)
        onnx.save(model, job.target / "model.onnx")
        return carried(job.source.manifest.for_format("onnx"), job.target / "model.onnx")


def _rewrite(tensor, change):
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor).copy()
    change(array)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _weights(graph, dims):
    return [t for t in graph.initializer if t.data_type == 1 and dims(len(t.dims))]


def _behind_output(graph, operator, value):
    """A node that takes what was the first output, and a number."""
    import numpy
    from onnx import helper, numpy_helper

    name = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}_was" if each == name else each for each in node.output]
        node.input[:] = [f"{name}_was" if each == name else each for each in node.input]
    graph.initializer.append(numpy_helper.from_array(numpy.float32(value), "mutation"))
    graph.node.append(helper.make_node(operator, [f"{name}_was", "mutation"], [name]))


def one_weight(graph):
    """The largest weight of the first layer changes its sign."""

    def negate(array):
        place = abs(array).argmax()
        array.flat[place] = -array.flat[place]

    layers = {t.name: t for t in _weights(graph, lambda dims: dims >= 2)}
    _rewrite(next(layers[n] for node in graph.node for n in node.input if n in layers), negate)


def one_bias(graph):
    def move(array):
        array.flat[0] += 0.1

    _rewrite(_weights(graph, lambda dims: dims == 1)[0], move)


def _gammas(graph):
    return [t for t in _weights(graph, lambda dims: dims == 1) if t.name.endswith("weight")]


def gammas_lost(graph):
    """What a norm is multiplied by is one, as its constructor leaves it."""
    for tensor in _gammas(graph):
        _rewrite(tensor, lambda array: array.fill(1))


def gammas_exchanged(graph):
    """Two norms of one width have each the other's."""
    first, second = _gammas(graph)[:2]
    first.name, second.name = second.name, first.name


def node_dropped(graph):
    """The first activation lets everything through."""
    node = next(n for n in graph.node if n.op_type in ("Relu", "Tanh", "Sigmoid", "Clip"))
    node.op_type = "Identity"
    del node.input[1:], node.attribute[:]


def clips_lost(graph):
    """Each clipped activation has no upper end."""
    for node in graph.node:
        if node.op_type == "Clip":
            node.op_type = "Relu"
            del node.input[1:], node.attribute[:]


def node_turned(graph):
    """The first subtraction or division the other way round."""
    node = next(n for n in graph.node if n.op_type in ("Sub", "Div"))
    node.input[:] = list(node.input)[::-1]


def attribute_changed(graph):
    from onnx import helper

    for node in graph.node:
        for name, value in {
            "Softmax": ("axis", -2),
            "GRU": ("linear_before_reset", 0),
            "InstanceNormalization": ("epsilon", 1e-2),
            "Resize": ("coordinate_transformation_mode", "half_pixel"),
            "GridSample": ("align_corners", 0),
        }.items():
            if node.op_type == name:
                kept = [each for each in node.attribute if each.name != value[0]]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(*value)])
                return
    raise LookupError("no node with an attribute to change")


def output_dropped(graph):
    del graph.output[-1]


def outputs_swapped(graph):
    first, second = graph.output[0].name, graph.output[1].name
    swap = {first: second, second: first}
    for node in graph.node:
        node.output[:] = [swap.get(name, name) for name in node.output]
        node.input[:] = [swap.get(name, name) for name in node.input]
    for output in list(graph.output)[:2]:
        output.name = swap[output.name]
    both = [graph.output[1], graph.output[0], *list(graph.output)[2:]]
    copies = [type(each).FromString(each.SerializeToString()) for each in both]
    del graph.output[:]
    graph.output.extend(copies)


def output_scaled(graph):
    """By a tenth of a percent: no band of the mean squared error minds."""
    _behind_output(graph, "Mul", 1.001)


def output_shifted(graph):
    """By a thousandth: no band minds that either."""
    _behind_output(graph, "Add", 1e-3)


HOPS = tuple(
    Mutation(change)
    for change in (
        one_weight,
        one_bias,
        gammas_lost,
        gammas_exchanged,
        node_dropped,
        clips_lost,
        node_turned,
        attribute_changed,
        output_dropped,
        outputs_swapped,
        output_scaled,
        output_shifted,
    )
)
