"""On which device TensorFlow put each operation of a SavedModel, and for how long each ran.

A value's device does not tell: placement is soft, so that an operation without a kernel for the
GPU runs on the CPU between two that have one. The graphs that TensorFlow's runtime made of a
function, one for each device, do.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from switchyard.worker.placement import MOST_SIZES, Executed

#: In the names of the devices that are no CPU.
ON_DEVICE = "GPU"

#: What a graph needs beside operations of the model: to pass values in, on and between devices.
_PLUMBING = frozenset(
    "_Arg _Retval _DeviceArg _DeviceRetval _Send _Recv _HostSend _HostRecv NoOp Const Identity "
    "IdentityN ReadVariableOp VarHandleOp Placeholder PartitionedCall "
    "StatefulPartitionedCall".split()
)

#: They look at a tensor of any kind and answer with a few integers.
_OF_SIZES = frozenset(("Shape", "ShapeN", "Size", "Rank"))


def executed(call: Callable[[], Any]) -> List[Executed]:
    """The operations that ``call`` runs: of a function that was not called before, whose graphs are
    made, and seen, once. The seconds are those of a second call, from the profiler's trace of the
    host: of an operation on the device until it is done only where each launch is waited for
    (CUDA_LAUNCH_BLOCKING). None of what that call did not come to, as the other branch; of all,
    where there is no trace. Raises what TensorFlow raises, and AttributeError in a version that
    keeps no record of its graphs."""
    from tensorflow.python.eager import context

    told = context.context()
    told.enable_graph_collection()
    try:
        call()
        metadata = told.export_run_metadata()
    finally:
        told.disable_graph_collection()
    seconds = _seconds_of(call)
    found: List[Executed] = []
    for function in metadata.function_graphs:
        outputs = _outputs_of(function.post_optimization_graph)
        found += [
            Executed(
                node.op,
                ON_DEVICE not in node.device,
                node.op in _OF_SIZES or _are_sizes(outputs.get(node.name, ())),
                seconds.get((node.name, node.op)),
            )
            for graph in function.partition_graphs
            for node in graph.node
            if node.op not in _PLUMBING
        ]
    return found


def _seconds_of(call: Callable[[], Any]) -> Mapping[Tuple[str, str], float]:
    """By name and operation of a node, the seconds in it; empty where they cannot be had."""
    from switchyard.runtimes import tensorflow_trace

    try:
        return tensorflow_trace.seconds_of_nodes(tensorflow_trace.traced(call).planes)
    except Exception:  # where the nodes ran is known without
        return {}


def _outputs_of(graph: Any) -> Dict[str, Sequence[Any]]:
    """What is known of the outputs of each node, by its name: of a graph that is not divided among
    devices yet, since nothing is known of what comes from another. A node says no shape itself;
    TensorFlow finds them when it reads the graph once more. Empty where it does not read it."""
    import tensorflow as tf

    readable = type(graph)()
    readable.CopyFrom(graph)
    for node in readable.node:
        if node.op != "_Arg":
            continue
        kind, shapes = node.attr["T"].type, list(node.attr["_output_shapes"].list.shape)
        node.ClearField("attr")
        node.op, node.attr["dtype"].type = "Placeholder", kind
        if shapes:
            node.attr["shape"].shape.CopyFrom(shapes[0])
    try:
        with tf.Graph().as_default() as read:
            tf.graph_util.import_graph_def(readable, name="")
    except Exception:  # an operation of the runtime alone: then no output is known to be small
        return {}
    return {one.name: one.outputs for one in read.get_operations()}


def _are_sizes(outputs: Sequence[Any]) -> bool:
    """Whether outputs are a few integers each, as sizes, axes and indices of dimensions are, which
    TensorFlow keeps in host memory. Not where a shape is not known: work on integers that fell to
    the CPU must not pass for sizes."""
    return bool(outputs) and all(
        (one.dtype.is_integer or one.dtype.is_bool)
        and one.shape.is_fully_defined()
        and one.shape.num_elements() <= MOST_SIZES
        for one in outputs
    )
