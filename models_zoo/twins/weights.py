"""Tables of weights: which entries of a ``state_dict`` fill which variables of a Keras layer.

A row is written as ``conv2d("stem.0", "stem_conv")``: the name in torch, the layer in Keras, and
by its function's name the transform. ``port`` applies a table and accepts only a whole one: an
entry that nothing reads, a variable that nothing fills, a shape or dtype that differs are all
errors. Nothing is broadcast and nothing is skipped. Pure numpy, no framework.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np

#: ``turn(arrays, shape)``: torch's arrays as the one array that the variable of ``shape`` takes.
#: It raises ValueError where they do not make such an array.
Turn = Callable[[Sequence[np.ndarray], Tuple[int, ...]], np.ndarray]


class UnmatchedWeights(ValueError):
    """A table that does not carry a model's weights over whole; the message names each fault."""

    kind = "unmatched-weights"

    def __init__(self, faults: Sequence[str]):
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclasses.dataclass(frozen=True)
class Move:
    """One variable: ``reads`` are names in the state_dict, ``writes`` is the variable's path.

    ``optional``: neither side need have it, as with a bias (one side alone is an error).
    """

    reads: Tuple[str, ...]
    writes: str
    turn: Turn
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table. ``ignores``: entries that have no meaning for an answer, by name.
    ``ties``: (entry, the entry that it must equal), for weights that torch lists twice."""

    moves: Tuple[Move, ...] = ()
    ignores: Tuple[str, ...] = ()
    ties: Tuple[Tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Variable:
    """What a table must know of a Keras variable."""

    shape: Tuple[int, ...]
    dtype: str


def port(
    table: Iterable[Row], state: Mapping[str, np.ndarray], variables: Mapping[str, Variable]
) -> Dict[str, np.ndarray]:
    """The value of every variable, by path. Raises UnmatchedWeights with all that is wrong."""
    values: Dict[str, np.ndarray] = {}
    used, faults = set(), []
    for row in table:
        for name in row.ignores:
            used.add(name)
            if name not in state:
                faults.append(f"state_dict has no {name!r}, which a row leaves out on purpose")
        for name, other in row.ties:
            used.add(name)
            faults.extend(_untied(name, other, state))
        for move in row.moves:
            missing = [name for name in move.reads if name not in state]
            if move.optional and missing and move.writes not in variables:
                continue
            used.update(move.reads)
            fault = _fault_of(move, missing, values, variables)
            if not fault:
                fault = _fill(move, state, variables[move.writes], values)
            if fault:
                faults.append(fault)
    for name in state:
        if name not in used:
            faults.append(f"state_dict entry {name!r} is read by no row")
    for path in variables:
        if path not in values and not any(repr(path) in fault for fault in faults):
            faults.append(f"Keras variable {path!r} is filled by no row")
    if faults:
        raise UnmatchedWeights(faults)
    return values


def _untied(name: str, other: str, state: Mapping[str, np.ndarray]) -> List[str]:
    for each in (name, other):
        if each not in state:
            return [f"state_dict has no {each!r}, which a row ties"]
    if not np.array_equal(state[name], state[other]):
        return [f"{name!r} and {other!r} are said to be one weight and differ"]
    return []


def _fault_of(move: Move, missing, values, variables) -> str:
    """What is wrong with a move before any value is looked at, or ""."""
    if missing:
        return f"state_dict has no {missing[0]!r}, wanted by Keras variable {move.writes!r}"
    if move.writes not in variables:
        return f"there is no Keras variable {move.writes!r} to take {' + '.join(move.reads)}"
    if move.writes in values:
        return f"Keras variable {move.writes!r} is filled twice, again by {move.reads[0]!r}"
    return ""


def _fill(move: Move, state, variable: Variable, values: Dict[str, np.ndarray]) -> str:
    """Put the move's value among ``values``; what is wrong with it, or ""."""
    arrays = [np.asarray(state[name]) for name in move.reads]
    said = f"{' + '.join(move.reads)} for Keras variable {move.writes!r}"
    for array in arrays:
        if array.dtype.name != variable.dtype:
            return f"{said}: dtype {array.dtype.name}, not {variable.dtype}"
    shapes = ", ".join(str(array.shape) for array in arrays)
    try:
        value = move.turn(arrays, variable.shape)
    except ValueError as error:
        return f"{said}: shape {shapes} does not make {variable.shape} ({error})"
    if value.shape != variable.shape:
        return f"{said}: shape {shapes} makes {value.shape}, not {variable.shape}"
    values[move.writes] = np.ascontiguousarray(value)
    return ""


# --- transforms


def same(arrays, shape):
    (array,) = arrays
    return array


def transposed(*axes: int) -> Turn:
    def turn(arrays, shape):
        (array,) = arrays
        return array.transpose(axes)

    return turn


def _wants(array: np.ndarray, *shape: int) -> np.ndarray:
    """The array, where it has this shape. Raises ValueError: a reshape alone would take any other
    of the same size, and scramble it."""
    if array.shape != shape:
        raise ValueError(f"that needs {shape}")
    return array


def total(arrays, shape):
    return sum(_wants(array, *shape) for array in arrays)


def of_channels(arrays, shape):
    """A depthwise kernel: torch counts the filters of a channel one after the other."""
    height, width, channels, multiplier = shape
    array = _wants(arrays[0], channels * multiplier, 1, height, width)
    return array.reshape(channels, multiplier, *array.shape[2:]).transpose(2, 3, 0, 1)


def flattened_from(channels: int, height: int, width: int) -> Turn:
    """A dense kernel behind a Flatten: torch's rows run channel, height, width; here channels
    come last."""

    def turn(arrays, shape):
        array = _wants(arrays[0], shape[-1], channels * height * width)
        split = array.reshape(len(array), channels, height, width)
        return split.transpose(2, 3, 1, 0).reshape(-1, len(array))

    return turn


def flipped(turn: Turn) -> Turn:
    """``turn`` of a matrix that its owner keeps as (in, out), as GPT-2 does; a bias stays."""
    return lambda arrays, shape: turn([array.T for array in arrays], shape)


def third(place: int, turn: Turn) -> Turn:
    """``turn`` of one of the three equal parts that torch stacks on the first axis."""

    def of_part(arrays, shape):
        (array,) = arrays
        return turn([np.split(array, 3)[place]], shape)

    return of_part


def into_heads(arrays, shape):
    """(heads * width, inside) to (inside, heads, width); a bias to (heads, width)."""
    *inside, heads, width = shape
    return _wants(arrays[0], heads * width, *inside).T.reshape(shape)


def out_of_heads(arrays, shape):
    """(outside, heads * width) to (heads, width, outside)."""
    heads, width, outside = shape
    return _wants(arrays[0], outside, heads * width).T.reshape(shape)


def _zrh(array: np.ndarray) -> np.ndarray:
    """A GRU's gates: torch stacks reset, update, new; Keras update, reset, new."""
    reset, update, new = np.split(array, 3)
    return np.concatenate([update, reset, new])


def gru_kernel(arrays, shape):
    (array,) = arrays
    return _zrh(array).T


def gru_bias(arrays, shape):
    """Both biases are kept apart (``reset_after``): the recurrent one is inside the reset."""
    return np.stack([_zrh(array) for array in arrays])


# --- rows


def at(source: str, field: str) -> str:
    """The entry of a module in the state_dict; a model that is one layer has no prefix."""
    return f"{source}.{field}" if source else field


def weight_and_bias(source: str, layer: str, turn: Turn, kernel: str = "kernel") -> Row:
    return Row((
        Move((at(source, "weight"),), f"{layer}/{kernel}", turn),
        Move((at(source, "bias"),), f"{layer}/bias", same, optional=True),
    ))  # fmt: skip


def conv2d(source: str, layer: str) -> Row:
    """(out, in, height, width) to (height, width, in, out), grouped or not."""
    return weight_and_bias(source, layer, transposed(2, 3, 1, 0))


def conv1d(source: str, layer: str) -> Row:
    """(out, in, width) to (width, in, out), grouped or not."""
    return weight_and_bias(source, layer, transposed(2, 1, 0))


def conv3d(source: str, layer: str) -> Row:
    """(out, in, depth, height, width) to (depth, height, width, in, out), grouped or not."""
    return weight_and_bias(source, layer, transposed(2, 3, 4, 1, 0))


def depthwise_conv2d(source: str, layer: str) -> Row:
    return weight_and_bias(source, layer, of_channels)


def conv2d_transpose(source: str, layer: str) -> Row:
    """(in, out, height, width) to (height, width, out, in)."""
    return weight_and_bias(source, layer, transposed(2, 3, 1, 0))


def linear(source: str, layer: str, flattened: Tuple[int, ...] = ()) -> Row:
    """``flattened``: the channels, height and width that torch flattens just before."""
    turn = flattened_from(*flattened) if flattened else transposed(1, 0)
    return weight_and_bias(source, layer, turn)


def kept_linear(source: str, layer: str) -> Row:
    """A matrix that is (in, out) on both sides, as GPT-2 has them."""
    return weight_and_bias(source, layer, same)


def embedding(source: str, layer: str) -> Row:
    return Row((Move((at(source, "weight"),), f"{layer}/embeddings", same),))


def parameter(source: str, layer: str, variable: str) -> Row:
    """A parameter of torch's own module as the variable of a layer, of the same shape."""
    return Row((Move((source,), f"{layer}/{variable}", same),))


def norm(source: str, layer: str) -> Row:
    """Layer and group norm."""
    return Row((
        Move((at(source, "weight"),), f"{layer}/gamma", same, optional=True),
        Move((at(source, "bias"),), f"{layer}/beta", same, optional=True),
    ))  # fmt: skip


def batch_norm(source: str, layer: str) -> Row:
    """``num_batches_tracked`` counts training steps and has no part in an answer."""
    return Row(
        norm(source, layer).moves
        + (
            Move((at(source, "running_mean"),), f"{layer}/moving_mean", same),
            Move((at(source, "running_var"),), f"{layer}/moving_variance", same),
        ),
        ignores=(at(source, "num_batches_tracked"),),
    )


def batch_norms(table: Iterable[Row]) -> List[Tuple[str, str]]:
    """The BatchNorms that a table fills: (module in torch, layer in Keras), in its order."""
    found = []
    for row in table:
        for move in row.moves:
            layer, _, variable = move.writes.rpartition("/")
            if variable == "moving_mean":
                found.append((move.reads[0].rpartition(".")[0], layer))
    return found


def lstm(source: str, layer: str, level: str = "l0") -> Row:
    """Both stack the gates as input, forget, cell, output; Keras has one bias for torch's two.
    ``level``: torch's suffix, ``l0`` or ``l0_reverse``."""
    return Row((
        Move((at(source, f"weight_ih_{level}"),), f"{layer}/lstm_cell/kernel", transposed(1, 0)),
        Move((at(source, f"weight_hh_{level}"),), f"{layer}/lstm_cell/recurrent_kernel",
             transposed(1, 0)),
        Move((at(source, f"bias_ih_{level}"), at(source, f"bias_hh_{level}")),
             f"{layer}/lstm_cell/bias", total),
    ))  # fmt: skip


def gru(source: str, layer: str, level: str = "l0") -> Row:
    return Row((
        Move((at(source, f"weight_ih_{level}"),), f"{layer}/gru_cell/kernel", gru_kernel),
        Move((at(source, f"weight_hh_{level}"),), f"{layer}/gru_cell/recurrent_kernel", gru_kernel),
        Move((at(source, f"bias_ih_{level}"), at(source, f"bias_hh_{level}")),
             f"{layer}/gru_cell/bias", gru_bias),
    ))  # fmt: skip


def gru_cell(source: str, layer: str) -> Row:
    return Row((
        Move((at(source, "weight_ih"),), f"{layer}/kernel", gru_kernel),
        Move((at(source, "weight_hh"),), f"{layer}/recurrent_kernel", gru_kernel),
        Move((at(source, "bias_ih"), at(source, "bias_hh")), f"{layer}/bias", gru_bias),
    ))  # fmt: skip


def stacked_attention(
    weight: str,
    bias: str,
    project: str,
    layer: str,
    form: Callable[[Turn], Turn] = lambda turn: turn,
) -> Row:
    """Query, key and value stacked in one weight, as (3 * heads * width, inside); ``form`` is
    ``flipped`` where the matrices are kept the other way."""
    moves = []
    for place, part in enumerate(("query", "key", "value")):
        turn = form(third(place, into_heads))
        moves.append(Move((weight,), f"{layer}/{part}/kernel", turn))
        moves.append(Move((bias,), f"{layer}/{part}/bias", turn))
    return Row((*moves, *_projected(project, layer, form)))


def multi_head_attention(source: str, layer: str) -> Row:
    """``nn.MultiheadAttention``."""
    return stacked_attention(
        at(source, "in_proj_weight"), at(source, "in_proj_bias"), at(source, "out_proj"), layer
    )


def _projected(
    project: str, layer: str, form: Callable[[Turn], Turn] = lambda turn: turn
) -> Tuple[Move, ...]:
    return (
        Move((at(project, "weight"),), f"{layer}/attention_output/kernel", form(out_of_heads)),
        Move((at(project, "bias"),), f"{layer}/attention_output/bias", same, optional=True),
    )


def ignored(*names: str) -> Row:
    """Entries that are no weights: constants that the twin writes itself. Each must be there."""
    return Row(ignores=names)


def tied(name: str, to: str) -> Row:
    """An entry that torch lists a second time, and that must be equal."""
    return Row(ties=((name, to),))


def variables_of(model: Any) -> Dict[str, Variable]:
    """The weights of a Keras model by path; the states of random seeds are none."""
    return {
        variable.path: Variable(tuple(variable.shape), str(variable.dtype))
        for variable in model.weights
    }


def fill(model: Any, table: Iterable[Row], state: Mapping[str, np.ndarray]) -> None:
    """Port ``state`` into a Keras model, whole or not at all. Raises UnmatchedWeights."""
    values = port(table, state, variables_of(model))
    for variable in model.weights:
        variable.assign(values[variable.path])
