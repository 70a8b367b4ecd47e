"""On which device TensorFlow put each operation of a SavedModel.

A value's device does not tell: placement is soft, so that an operation without a kernel for the
GPU runs on the CPU between two that have one. The graphs that TensorFlow's runtime made of a
function, one for each device, do.
"""

from __future__ import annotations

from typing import Any, Callable, List

from switchyard.worker.placement import Executed

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


def executed(first_call: Callable[[], Any]) -> List[Executed]:
    """The operations that ``first_call`` runs: of a function that was not called before, whose
    graphs are made, and seen, once. Raises what TensorFlow raises, and AttributeError in a version
    that keeps no such record."""
    from tensorflow.python.eager import context

    told = context.context()
    told.enable_graph_collection()
    try:
        first_call()
        metadata = told.export_run_metadata()
    finally:
        told.disable_graph_collection()
    return [
        Executed(node.op, ON_DEVICE not in node.device, _makes_sizes(node))
        for function in metadata.function_graphs
        for graph in function.partition_graphs
        for node in graph.node
        if node.op not in _PLUMBING
    ]


def _makes_sizes(node: Any) -> bool:
    """Whether it computes in integers, which TensorFlow keeps in host memory where they are
    sizes."""
    from tensorflow.dtypes import as_dtype

    if node.op in _OF_SIZES:
        return True
    kinds = [value.type for name, value in node.attr.items() if name in ("T", "dtype", "DstT")]
    return bool(kinds) and all(
        as_dtype(kind).is_integer or as_dtype(kind).is_bool for kind in kinds
    )
