"""Weight transfer: a state_dict into a Keras twin whose table of weights is not looked at.

Which layer is which follows from kinds, shapes and connections alone (``weight_matching``); what
these do not tell is refused as ``ambiguous-mapping``. The transforms of each kind of layer, and the
check that nothing is left over or unset, are those of ``models_zoo.twins.weights``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Tuple

from switchyard.hops import Conversion, Refusal
from switchyard.hops.manual import TwinHop, output_pairs, state_of
from switchyard.hops.torch_program import argument_order
from switchyard.hops.weight_matching import Ambiguous, Graph, Unit, match, turned
from switchyard.hops.weight_sides import keras_graph, listed_again, torch_graph

if TYPE_CHECKING:
    from models_zoo.twins.weights import Row


class WeightTransfer(TwinHop):
    name = "weight-transfer"
    tier = "full"  # a quick run asks the same twins by their tables
    preloads = (
        *TwinHop.preloads,
        "torch._dynamo.aot_compile",
        "torch._export.passes.replace_autocast_with_hop_pass",
        "torch.export._trace",
    )

    def takes(self, model: Mapping[str, Any]) -> bool:
        from models_zoo.twins import has_twin

        return has_twin(model, weighted=True)

    def weigh(self, job: Conversion, keras_model: Any, table: list) -> None:
        """Raises Refusal where more than one mapping fits, NoCounterpart or UnmatchedWeights
        where none does, and what ``torch.export`` raises."""
        from models_zoo.twins.weights import fill, tied

        state = state_of(job.model.module)
        again = listed_again(job.model.module)
        once = {name: array for name, array in state.items() if name not in again}
        source, target = sides(job, keras_model, once)
        try:
            rows = rows_of(source, target)
        except Ambiguous as error:
            raise Refusal(error.kind, str(error)) from error
        rows += [tied(name, to) for name, to in again.items()]
        fill(keras_model, rows, state)


def sides(job: Conversion, keras_model: Any, state: Dict[str, Any]) -> Tuple[Graph, Graph]:
    """The torch module and the Keras model as graphs of what owns weights."""
    answer = job.model.run(job.example)
    args, kwargs = job.model.arguments(job.example)
    names = argument_order(job.model.module.forward, list(job.example))
    source = torch_graph(job.model.module, args, kwargs, state, names, list(answer))
    structure = keras_model.output
    outputs = {
        path: structure[name] if isinstance(structure, dict) else keras_model.outputs[place]
        for place, (path, name) in enumerate(output_pairs(keras_model, list(answer)))
    }
    return source, keras_graph(keras_model, outputs)


def rows_of(source: Graph, target: Graph) -> List[Row]:
    """The table of weights that fits both graphs. Raises Ambiguous, NoCounterpart."""
    rows = []
    for from_, to in match(source, target).items():
        rows.append(_row(source.units[from_], target.units[to]))
    return rows


def _row(unit: Unit, layer: Unit) -> Row:
    """The row of a matched pair, by the kind that they share. Raises Ambiguous where what it
    reads or feeds is laid out otherwise on the two sides, and no transform makes up for it."""
    from models_zoo.twins import weights

    prefix = "" if unit.name == "(model)" else unit.name
    if turned(unit.feeds, layer.feeds, unit.name):
        raise Ambiguous(f"the answer of {unit.name!r} is split with channels last in Keras only")
    behind_flatten = turned(unit.reads, layer.reads, unit.name)
    if unit.kind == "linear":
        return weights.linear(prefix, layer.name, unit.reads if behind_flatten else ())
    if behind_flatten:
        raise Ambiguous(f"what {unit.name!r} reads is flattened in two orders, and it is no linear")
    if unit.kind == "conv2d":
        # A depthwise layer keeps (channels, filters of each), an ordinary one (in, out).
        make = weights.depthwise_conv2d if layer.depthwise else weights.conv2d
        return make(prefix, layer.name)
    if unit.kind in ("lstm", "gru"):
        module, level = unit.name.rsplit(":", 1)
        make = weights.lstm if unit.kind == "lstm" else weights.gru
        return make("" if module == "(model)" else module, layer.name, level)
    if unit.kind in ("parameter", "layer_norm") and _may_be_turned(unit.shape):
        raise Ambiguous(
            f"{unit.name!r} has two axes of one size, {unit.shape}: Keras may have them in either "
            "order, and no shape tells"
        )
    if unit.kind == "parameter":
        return weights.Row((weights.Move((unit.name,), layer.name, weights.same),))
    return getattr(weights, _ROWS.get(unit.kind, unit.kind))(prefix, layer.name)


def _may_be_turned(shape: Tuple[Any, ...]) -> bool:
    sizes = [size for size in shape if size > 1]
    return len(set(sizes)) < len(sizes)


#: Rows of ``models_zoo.twins.weights`` that are not called as their kind is.
_ROWS = {
    "conv_transpose2d": "conv2d_transpose",
    "layer_norm": "norm",
    "group_norm": "norm",
    "attention": "multi_head_attention",
}

HOPS = (WeightTransfer(),)
