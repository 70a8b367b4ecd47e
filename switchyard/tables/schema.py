"""The columns of ``cells.csv``: one ordered list, for writers, readers and the docs.

The schema's version stands in the first column of every row. A comment line would break
spreadsheets and other tools' CSV readers, and a version that stands only in ``run.json``
is lost as soon as somebody mails the CSV alone; a column survives both.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from typing import Any, Mapping

from switchyard import vocabulary
from switchyard.vocabulary import Cell, UnknownName

#: Raised whenever a column is added, removed, renamed or given another meaning; a
#: migration from the version before goes into ``reading.MIGRATIONS`` in the same change.
SCHEMA_VERSION = 8

STATES = ("planned", "running", "done", "interrupted")

#: How an outcome stands to what was recorded of its cell: ``new`` was expected to pass,
#: ``changed`` stopped otherwise than recorded, ``fixed`` passed against its expectation.
EXPECTED = ("as-expected", "new", "changed", "fixed", "no-expectation")

#: The columns that name a cell, in the order of ``vocabulary.Cell``.
KEY = ("version_set", "device", "precision", "model", "route")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: ``dtype`` is ``text``, ``float`` or ``integer``; empty is 'not measured'.

    ``values`` closes the list of what a text column may hold (empty is always allowed).
    ``message``: it holds what some tool said, which may name files of this machine.
    """

    name: str
    dtype: str
    description: str
    unit: str = ""
    values: tuple[str, ...] = ()
    message: bool = False


def _text(name: str, description: str, values: tuple[str, ...] = ()) -> Column:
    return Column(name, "text", description, "", values)


def _message(name: str, description: str) -> Column:
    return Column(name, "text", description, message=True)


def _float(name: str, description: str, unit: str = "") -> Column:
    return Column(name, "float", description, unit)


def _integer(name: str, description: str, unit: str = "") -> Column:
    return Column(name, "integer", description, unit)


_ALL_KINDS = tuple(vocabulary.KINDS)

COLUMNS: tuple[Column, ...] = (
    _integer("schema", "version of this list of columns"),
    _text("state", "how far the run came with this cell", STATES),
    # the cell
    _text("version_set", "the locked set of package versions"),
    _text("device", "where the runtime runs", ()),
    _text("precision", "floating-point mode", vocabulary.PRECISIONS),
    _text("model", "entry of the zoo"),
    _text("family", "the zoo's family that the model belongs to"),
    _text("route", "hops and runtime; torch-eager is the native baseline"),
    _text("hops", "the route's hops in order, joined by '>'"),
    _text("tier", "the run's tier", vocabulary.TIERS),
    # the outcome
    _text("stage", "the last stage reached; convert:<hop> names its hop"),
    _text("kind", "what went wrong, empty for a passing cell", _ALL_KINDS),
    _text("verdict", "empty while nothing has judged the cell", vocabulary.VERDICTS),
    _text("operator", "the operator that stopped the cell, where there is one"),
    _message("message", "first line of the error"),
    _text("signature", "the message without paths, addresses, numbers and temporary names"),
    _text("expected", "how the outcome stands to the recorded expectation", EXPECTED),
    _text("expected_outcome", "stage, kind and verdict recorded; empty where a pass is expected"),
    _text("expected_reason", "why the cell is known not to pass"),
    # the input, before any converter; models that take pictures alone, on the ways to TensorFlow
    _float("preprocess_mse", "mean squared error of TensorFlow's input against torch's"),
    _float("preprocess_max_abs_err", "largest absolute difference of one element of the input"),
    _text("preprocess_differs", "what in the preprocessing makes the difference, joined by '>'"),
    _float("preprocess_output_mse", "of torch's own answer when asked with TensorFlow's input"),
    _float("preprocess_output_nmse", "the same over the variance of its usual answer"),
    _float("preprocess_top1_agreement", "pictures on which that answer's best class stays, 0 to 1"),
    # accuracy, of the worst probe
    _float("mse", "mean squared error against torch eager in the model's dtype"),
    _float("nmse", "mse over the reference's variance; where that is negligible empty, but in 16 "
           "bits over its mean square"),
    _float("max_abs_err", "largest absolute difference of one element"),
    _float("cosine", "cosine similarity of the flattened outputs"),
    _float("match_fraction", "elements within atol 1e-4 + rtol 1e-3, integers equal, 0 to 1"),
    _float("top1_agreement", "samples with the same best class, 0 to 1; classifiers only"),
    _float("error_vs_fp64", "RMSE(route, fp64) / RMSE(torch in the cell's precision, fp64)"),
    _float("band_scale", "what the bands of mse and nmse were multiplied by for the dtype"),
    _text("worst_probe", "the probe that decided the verdict"),
    _text("dynamic", "whether another size works where declared", vocabulary.DYNAMIC),
    _message("dynamic_message", "why it does not, or why it could not be found out"),
    _text("layout_basis", "what undoing a change of layout rested on", vocabulary.LAYOUT_BASES),
    _float("task_accuracy", "share of the task answered right by this route, 0 to 1"),
    _float("task_accuracy_native", "the same by torch eager, 0 to 1"),
    # batch by batch; conversions of models tagged mode
    _float("batch1_mse", "mean squared error over 64 examples asked one by one"),
    _float("batch64_mse", "the same over those 64 examples asked at once"),
    _float("split_mse_mean", "mean over the task's test split in batches of 64 of their mse"),
    _float("split_mse_worst", "the same of the worst of those batches; the last may be smaller"),
    _float("batch1_accuracy", "share of the test split answered right one by one, 0 to 1"),
    _float("batch64_accuracy", "the same in batches of 64, 0 to 1"),
    # BatchNorm's running statistics in Keras against torch's, trained side by side on batches of
    # 16; the worst channel of the worst layer
    _float("running_mean_error_1", "after 1 step, in torch's running standard deviations"),
    _float("running_mean_error_100", "the same after 100 steps"),
    _float("running_var_error_1", "after 1 step, a part of torch's running variance"),
    _float("running_var_error_100", "the same after 100 steps"),
    _float(
        "running_var_biased_error_1",
        "as running_var_error_1, torch's factor n/(n-1) taken out of each step",
    ),
    _float("running_var_biased_error_100", "the same after 100 steps"),
    _float(
        "running_unexplained_1",
        "either error after 1 step against Keras's own momentum and the biased variance",
    ),
    _float("running_unexplained_100", "the same after 100 steps"),
    # the artefact
    _text(
        "source_changed",
        "what of torch's module the converter changed, to the bit: parameters, buffers, mode, "
        "joined by '>', or no",
    ),
    _integer("opset", "ONNX opset read back from the last ONNX file on the route"),
    _float("convert_seconds", "wall time of all hops of the route when made, cached or not", "s"),
    _integer("artefact_bytes", "size on disk of the artefact that ran", "bytes"),
    _text("artefact_key", "content key of the artefact that ran"),
    # where it ran; asked on a device other than the CPU alone
    _text("providers", "the session's own providers or its tensors' devices, joined by '>'"),
    _integer("nodes_on_device", "executed nodes on the device (torch: operations of a call)"),
    _integer("nodes_on_cpu", "executed nodes on the CPU of a session on the device"),
    _float("share_on_cpu", "time in nodes on the CPU over that in all, each waited for"),
    _text("placement_kind", "cpu-fallback where a part ran on the CPU", ("cpu-fallback",)),
    _message("placement_message", "what ran on the CPU, or why it could not be found out"),
    # latency
    _float("latency_median_ms", "median over launches of the launch medians", "ms"),
    _float("latency_p10_ms", "10% quantile of the calls of all launches", "ms"),
    _float("latency_p90_ms", "90% quantile of the calls of all launches", "ms"),
    _float("latency_p99_ms", "99% quantile of the calls of all launches, only from 662 up", "ms"),
    _float("latency_min_ms", "fastest single call", "ms"),
    _integer("latency_samples", "timed calls over all launches"),
    _float(
        "latency_device_median_ms",
        "as latency_median_ms, between events on the device with the call queued before",
        "ms",
    ),
    _float(
        "latency_from_host_median_ms", "as latency_median_ms, inputs in host memory each call", "ms"
    ),
    _float("latency_graph_median_ms", "as latency_median_ms, replayed from a CUDA graph", "ms"),
    _float("cores_busy", "CPU time over wall time of the timed calls, the median over launches"),
    _integer("launches", "fresh processes that measured"),
    _float("ratio_to_native", "median latency over torch-eager's in this run; below 1 is faster"),
    # memory of a fresh process, each the median over launches
    _float("memory_peak_mib", "peak resident set", "MiB"),
    _float("memory_steady_mib", "resident set after the timed calls", "MiB"),
    _float("memory_import_mib", "resident set that importing the runtime adds to Python's", "MiB"),
    _float("memory_model_mib", "steady less the resident set after importing the runtime", "MiB"),
    _float(
        "memory_model_data_mib", "as memory_model_mib, without pages of program files", "MiB"
    ),
    _float("memory_peak_data_mib", "as memory_peak_mib, without pages of program files", "MiB"),
    _float("heap_free_mib", "free inside the process's allocator", "MiB"),
    # the device while it was measured
    _float("sm_clock_mhz", "clock of the multiprocessors after the timed calls", "MHz"),
    _float("mem_clock_mhz", "clock of the card's memory after the timed calls", "MHz"),
    _float("gpu_temperature", "of the card after the timed calls", "degrees Celsius"),
    _text("gpu_throttle", "what held its clock down meanwhile, joined by '>'"),
    _integer(
        "gpu_foreign_processes",
        "other compute processes on the card, the most seen; empty where some could not be seen",
    ),
    _integer("gpu_samples_retaken", "sample sets thrown away for either reason"),
    # the device's memory after the timed calls; figures.parquet has it at every point
    _float("gpu_allocated_mib", "held by tensors and by libraries' workspaces", "MiB"),
    _float("gpu_reserved_mib", "held by the framework's allocator", "MiB"),
    _float("gpu_requested_mib", "as gpu_allocated_mib, before the allocator rounded it up", "MiB"),
    _float("gpu_peak_mib", "as gpu_allocated_mib, the most at once", "MiB"),
    _float("gpu_process_mib", "held by the process, by NVML", "MiB"),
    _float("gpu_used_mib", "used on the whole card, by NVML", "MiB"),
    _float("gpu_slack", "1 - allocated / reserved"),
    _float(
        "gpu_external_fragmentation",
        "1 - largest free block / all free, a pool, after varied shapes if there are such; "
        "cached segments count",
    ),
    _float("gpu_internal_fragmentation", "1 - requested / allocated"),
    _float("gpu_leak_bytes", "slope of what tensors hold over further calls, a call", "bytes"),
    _float("gpu_kept_mib", "held by tensors once the model was released", "MiB"),
    _message("gpu_message", "why a column of the device is empty"),
    _text("measure_kind", "why measuring failed; accuracy columns stay", _ALL_KINDS),
    _message("measure_message", "first line of the error that stopped measuring"),
    # what the cell cost
    _float(
        "harness_seconds",
        "wall time of asking the cell outside of its process: fork, pipes, supervision",
        "s",
    ),
    _float("stage_seconds", "own time of the cell's load, run and compare", "s"),
    _text("environment", "key of the environment the runtime ran in"),
)

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}

#: The columns that a launch fills; all others are known once the cell has been judged.
MEASURED: tuple[str, ...] = NAMES[
    NAMES.index("latency_median_ms") : NAMES.index("measure_message") + 1
]

#: Characters of a message that are kept: a tool may answer with pages.
MESSAGE_LENGTH = 500

#: An absolute path, its last part in a group; a file's URL is one, the address of a site is not.
_PATH = re.compile(r"(?:file://|(?<![\w./]))(?:/[\w.+@-]+)+/([\w.+@-]+)")

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def one_line(text: str) -> str:
    """``text`` as one printable line: line breaks and control characters become a space.

    Every row is one line of the file, so that a truncated table can be told, and output
    of a crashed process cannot put escape sequences into anybody's terminal.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROL.sub(" ", _ESCAPE_SEQUENCE.sub("", text)).strip()


def without_paths(text: str) -> str:
    """``text`` with only the last part of each absolute path: tables are published."""
    return _PATH.sub(r"\1", text)


def checked(column_name: str, value: Any) -> Any:
    """The value as the column holds it, or an exception that names the column.

    None, NaN and the empty text all become None: a field that was not measured is empty.
    (A NaN in an output has a verdict and a kind; its error has no value.) A message is cut, and
    of a path in it only the file's name stays.
    Raises UnknownName for a column or closed-list value nobody knows, TypeError for a
    value of another type.
    """
    column = BY_NAME.get(column_name)
    if column is None:
        raise UnknownName("column", column_name, NAMES)
    if value is None:
        return None
    given = f"{type(value).__name__}: {value!r}"
    if column.dtype == "text":
        if not isinstance(value, str):
            raise TypeError(f"column {column_name} holds text, not {given}")
        value = one_line(value)
        if column.message:  # scrubbed before it is cut: half a path would end in a folder's name
            value = without_paths(value)[:MESSAGE_LENGTH]
        if not value:
            return None
        if column.values and value not in column.values:
            raise UnknownName(column_name, value, column.values)
        if column_name == "stage":
            vocabulary.stage_base(value)
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"column {column_name} holds a number, not {given}")
    if column.dtype == "integer":
        if value != value or int(value) != value:
            raise TypeError(f"column {column_name} holds whole numbers, not {value!r}")
        return int(value)
    number = float(value)
    return None if math.isnan(number) else number


def key_of(cell: Cell) -> dict[str, str]:
    """The five columns that name ``cell``."""
    return {name: getattr(cell, name) for name in KEY}


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell a row is of."""
    return Cell(*(row[name] for name in KEY))


def as_markdown() -> str:
    """The columns as a Markdown table, for the docs."""
    lines = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for column in COLUMNS:
        meaning = column.description
        # the list of kinds has a home of its own; repeating it here would drown the table
        if column.values and column.values != _ALL_KINDS:
            meaning += ": " + ", ".join(f"`{value}`" for value in column.values)
        lines.append(f"| `{column.name}` | {column.dtype} | {column.unit} | {meaning} |")
    return "\n".join(lines)
