"""From an exception to an outcome: the stage it came in, its kind, its operator.

Rules are tables tried in order; a kind is given only where a rule knows the exception, else
``unexplained``. The whole chain of causes is looked at, since converters wrap what they catch.
"""

from __future__ import annotations

import re
import subprocess
import traceback
from typing import Iterable, Iterator, Sequence, Tuple, Union

from switchyard.vocabulary import (
    KINDS,
    Outcome,
    signature_of,
    stage_base,
    verdict_of_failure,
)

#: (exception type name or "", text in its message or a pattern that is found there, kind)
Rule = Tuple[str, Union[str, "re.Pattern[str]"], str]

#: That the machine had no memory left, as Python and torch's own allocator say it.
MEMORY_RULES: Sequence[Rule] = (
    ("MemoryError", "", "host-oom"),
    ("", "DefaultCPUAllocator: ", "host-oom"),
)

IMPORT_RULES: Sequence[Rule] = (
    ("ModuleNotFoundError", "", "missing-dependency"),
    ("", "undefined symbol", "abi-mismatch"),
    ("", "GLIBC", "abi-mismatch"),
    ("", "compiled using NumPy 1.x", "abi-mismatch"),
    ("", "numpy.dtype size changed", "abi-mismatch"),
    # Of NumPy 2, by what was compiled for NumPy 1.
    ("", "_ARRAY_API not found", "abi-mismatch"),
    # As torch says of what was built for another torch: operator torchvision::nms does not exist.
    ("", re.compile(r"\boperator [\w.]+::[\w.]+ does not exist"), "abi-mismatch"),
    # protobuf, of code that was generated for another one; the first is 3.20's and 4's.
    ("TypeError", re.compile(r"Descriptors cannot (?:not )?be created directly"), "abi-mismatch"),
    ("VersionError", "Protobuf Gencode/Runtime", "abi-mismatch"),
    ("", "cannot open shared object file", "missing-dependency"),
    ("", "cannot import name", "removed-api"),
    # Of a package or of torch.ops, and not of an object: that may be a slip in the file that is
    # imported. Nor of a "partially initialized module", which is imported in a circle.
    ("AttributeError", re.compile(r"^module '?[\w.]+'? has no attribute"), "removed-api"),
    ("AttributeError", re.compile(r"^'_OpNamespace' '\w+' object has no"), "removed-api"),
    ("ImportError", "", "missing-dependency"),
)

BUILD_RULES: Sequence[Rule] = (
    ("ModuleNotFoundError", "", "missing-dependency"),
    ("AttributeError", "module 'torch", "removed-api"),
    ("ImportError", "cannot import name", "removed-api"),
    # As torch says that a kernel of its own is missing: "addmm_impl_cpu_" not implemented for ...
    ("", "\" not implemented for '", "unsupported-dtype"),
    *MEMORY_RULES,
)

CONVERT_RULES: Sequence[Rule] = (
    ("ModuleNotFoundError", "", "missing-dependency"),
    ("", "Constraints violated", "dynamic-shape"),
    ("", "is not implemented for 'Half'", "unsupported-dtype"),
    ("", "is not implemented for 'BFloat16'", "unsupported-dtype"),
    ("TypeError", "Got unsupported ScalarType", "unsupported-dtype"),  # torch's Tensor.numpy
    ("CheckerError", "", "invalid-graph"),
    ("InferenceError", "", "invalid-graph"),
    ("DecodeError", "", "invalid-graph"),
    ("", "the SavedModel has no signature", "invalid-graph"),
    *MEMORY_RULES,
)

LOAD_RULES: Sequence[Rule] = (
    ("", "Unsupported model IR version", "ir-or-opset-too-new"),
    ("", "is under development and support for this is limited", "ir-or-opset-too-new"),
    ("NoSuchFile", "", "invalid-graph"),
    ("InvalidProtobuf", "", "invalid-graph"),
    ("InvalidGraph", "", "invalid-graph"),
    ("ManifestMismatch", "", "invalid-graph"),
    ("BrokenFrame", "", "invalid-graph"),
    ("", "the SavedModel has no signature", "invalid-graph"),
    *MEMORY_RULES,
    ("", "", "load-rejected"),
)

RUN_RULES: Sequence[Rule] = (
    *MEMORY_RULES,
    ("", "NOT_IMPLEMENTED", "unsupported-operator"),
    ("", "Unsupported", "unsupported-operator"),
    ("", "unexpected input data type", "dtype"),
    ("", "Cannot set tensor: Got value of type", "dtype"),
    ("", "Cannot set tensor: Dimension mismatch", "shape"),
    ("", "Unexpected input data type", "dtype"),
    ("", "cannot compute", "dtype"),
    ("", "Got invalid dimensions", "shape"),
    ("", "shape mismatch", "shape"),
    ("", "Incompatible shapes", "shape"),
    # An XlaCallModule that was lowered for other devices.
    ("", "is not among the platforms required by the module", "load-rejected"),
    # A SavedModel that calls a Python function of the process that made it.
    ("", "Could not find callback with key=", "invalid-graph"),
)

#: What CUDA and the frameworks on it say, at whatever stage: texts of the CUDA runtime
#: (cudaGetErrorString), of torch's c10, of ONNX Runtime's CUDA provider and of TensorFlow.
DEVICE_RULES: Sequence[Rule] = (
    ("OutOfMemoryError", "", "device-oom"),
    ("", "CUDA out of memory", "device-oom"),
    ("", "CUDA error: out of memory", "device-oom"),
    ("", "CUDA failure 2: out of memory", "device-oom"),
    ("", "CUDA_ERROR_OUT_OF_MEMORY", "device-oom"),
    ("", "CUDA driver error: out of memory", "device-oom"),
    ("", "Triton Error [CUDA]: out of memory", "device-oom"),
    ("", "CUBLAS_STATUS_ALLOC_FAILED", "device-oom"),
    ("", "CUFFT_ALLOC_FAILED", "device-oom"),
    ("", "CUSOLVER_STATUS_ALLOC_FAILED", "device-oom"),
    ("", "CUSPARSE_STATUS_ALLOC_FAILED", "device-oom"),
    ("", "CUDNN_STATUS_ALLOC_FAILED", "device-oom"),
    ("", "DEVICE_ALLOCATION_FAILED", "device-oom"),  # cuDNN 9's name of the same
    ("", "RESOURCE_EXHAUSTED: Out of memory", "device-oom"),
    ("", "Status: out of memory", "device-oom"),
    ("", "by allocator GPU_", "device-oom"),
    # A kernel's own fault: its process can do no more on the card, and the card is well.
    ("", "device-side assert triggered", "crash"),
    ("", "unspecified launch failure", "crash"),
    ("", "an illegal memory access was encountered", "crash"),
    ("", "an illegal instruction was encountered", "crash"),
    ("", "misaligned address", "crash"),
    ("", "hardware stack error", "crash"),
    ("", "invalid program counter", "crash"),
    ("", "CUDA_ERROR_ASSERT", "crash"),
    ("", "CUDA_ERROR_ILLEGAL_ADDRESS", "crash"),
    ("", "CUDA_ERROR_ILLEGAL_INSTRUCTION", "crash"),
    ("", "CUDA_ERROR_MISALIGNED_ADDRESS", "crash"),
    ("", "CUDA_ERROR_LAUNCH_FAILED", "crash"),
    ("", "uncorrectable ECC error", "device-lost"),
    ("", "uncorrectable NVLink error", "device-lost"),
    ("", "CUDA_ERROR_ECC_UNCORRECTABLE", "device-lost"),
    ("", "device(s) is/are busy or unavailable", "device-lost"),
    ("", "the launch timed out and was terminated", "timeout"),
    ("", "The NVIDIA driver on your system is too old", "driver-too-old"),
    ("", "CUDA driver version is insufficient", "driver-too-old"),
    ("", "unsupported display driver / cuda driver combination", "driver-too-old"),
    ("", "forward compatibility was attempted on non supported HW", "driver-too-old"),
    ("", "the provided PTX was compiled with an unsupported toolchain", "driver-too-old"),
    ("", "no kernel image is available for execution on the device", "abi-mismatch"),
    ("", "cuDNN version incompatibility", "abi-mismatch"),
    ("", "cuDNN is unavailable for CUDA Execution Provider", "missing-dependency"),
    # Triton, and what it builds the launcher of a kernel with (``runtimes/triton_host.py``).
    ("", "Cannot find a working triton installation", "missing-dependency"),
    ("", "Failed to find C compiler", "missing-dependency"),
    ("", "libcuda.so cannot found", "missing-dependency"),
    ("", re.compile(r"Command '\['[^']+', '[^']+\.c', '-O3'"), "missing-dependency"),
    # A way of allocating that this torch does not have yet.
    ("", "Unrecognized CachingAllocator option", "missing-dependency"),
    ("", "Found no NVIDIA driver on your system", "provider-fallback"),
    ("", "No CUDA GPUs are available", "provider-fallback"),
)

#: Of a job on a device: a model that makes tensors of its own on the CPU, which is the zoo's fault
#: and no route's. A conversion has no such excuse: its converter may itself have made the others.
TENSORS_ELSEWHERE: Rule = ("", "Expected all tensors to be on the same device", "bad-fixture")

#: Of a job on a device only: an arena's words are the same wherever its memory lies; and where CUDA
#: does not start, it is behind the loss of a card, since it had started when the run began.
ON_DEVICE_RULES: Sequence[Rule] = (
    ("", "CUDA error: unknown error", "device-lost"),
    ("", "CUDA unknown error - this may be due to", "device-lost"),
    ("", "system not yet initialized", "device-lost"),
    ("", "no CUDA-capable device is detected", "device-lost"),
    ("", "No CUDA GPUs are available", "device-lost"),
    ("", "CUDA_ERROR_NO_DEVICE", "device-lost"),
    ("", "CUDA_ERROR_UNKNOWN", "device-lost"),
    ("", "CUDA_ERROR_SYSTEM_NOT_READY", "device-lost"),
    ("", "Failed to allocate memory for requested buffer", "device-oom"),
    ("", "Dst tensor is not initialized", "device-oom"),
    ("", "Failed to allocate scratch buffer for device", "device-oom"),
    TENSORS_ELSEWHERE,
)

#: Of a job whose memory on the device was limited on purpose: what torch and TensorFlow say where
#: the workspace of an algorithm, or a library's own memory, finds no room. Elsewhere each of these
#: has other causes too.
SHORT_RULES: Sequence[Rule] = (
    ("", "unable to find an engine to execute this computation", "device-oom"),
    ("", "CUBLAS_STATUS_NOT_INITIALIZED", "device-oom"),
    ("", "CUDNN_STATUS_NOT_INITIALIZED", "device-oom"),
    ("", "DNN library initialization failed", "device-oom"),
    ("", "No algorithm worked!", "device-oom"),
)

#: Of a cell in another precision than float32 only: what ONNX Runtime says of a type that ONNX does
#: not let an operator have, of one that it has no kernel for (it knows every operator that the
#: exporters write in float32) or only half of one, and TensorFlow of a missing kernel.
DTYPE_RULES: Sequence[Rule] = (
    ("", "Type Error: Type 'tensor(bfloat16)'", "unsupported-dtype"),
    ("", "Type Error: Type 'tensor(float16)'", "unsupported-dtype"),
    ("", "Type Error: Type 'tensor(double)'", "unsupported-dtype"),
    ("NotImplemented", "Could not find an implementation for", "unsupported-dtype"),
    ("", "No OpKernel was registered to support Op", "unsupported-dtype"),
    ("", "does not support double yet", "unsupported-dtype"),
    # ONNX Runtime's Python hands its answers over as numpy's, which has no bfloat16.
    ("", "No corresponding Numpy type for Tensor Type", "unsupported-dtype"),
)

_HOST = re.compile(r"\bhostname=\S+")
#: The places in ONNX Runtime, with their C++ signatures, before what a CUDA library answered there.
_CUDA_CALL = re.compile(r"/\S+\.cc:\d+ .*?(?=CU\w+ failure \d+: )", re.DOTALL)

#: Where a compiler or a linker says what is wrong, and not that it is the one who says so.
_WRONG = re.compile(r"(?<!collect2: )error:|: cannot find |: undefined reference ")

RULES = {
    "import": IMPORT_RULES,
    "build": BUILD_RULES,
    "reference": BUILD_RULES,
    "convert": CONVERT_RULES,
    "load": LOAD_RULES,
    "run": RUN_RULES,
    "compare": MEMORY_RULES,
}

#: What to say where no rule matched and it is not ``unexplained``.
FALLBACK = {"build": "bad-fixture", "reference": "bad-reference"}

_OPERATORS = (
    re.compile(r"OpOverload\(op='([\w.:]+)'"),
    re.compile(r"operator '?((?:aten|prim|torchvision|quantized|\w+)::\w+)"),
    re.compile(r"\b((?:aten|prim|prims)::?\.?\w+)"),
    re.compile(r"implementation for ([\w.]+)\("),
    re.compile(r"of operator \((\w+)\)"),
    re.compile(r"node with name '[^']*'.*?op_type:? ?(\w+)"),
    re.compile(r"\b(aten\.\w+(?:\.\w+)?)"),
    re.compile(r"op_type: ?(\w+)"),
)


class Told(Exception):
    """An error of the harness's own, whose message says what went wrong, whatever it came from."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """``error``, then what caused it, outermost first; each once."""
    seen = set()
    current = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )


def _matches(error: BaseException, rule: Rule) -> bool:
    type_name, text, _ = rule
    names = {cls.__name__ for cls in type(error).__mro__}
    if type_name and type_name not in names:
        return False
    if isinstance(text, re.Pattern):
        return text.search(str(error)) is not None
    return text in str(error)


def kind_of(error: BaseException, stage: str, rules: Iterable[Rule] = ()) -> str:
    """The kind of the first rule that any exception of the chain matches."""
    base = stage_base(stage)
    table = [*rules, *DEVICE_RULES, *RULES.get(base, ())]
    links = list(chain(error))
    for rule in table:
        if base == "convert" and rule is TENSORS_ELSEWHERE:
            continue
        if any(_matches(link, rule) for link in links):
            return rule[2]
    return FALLBACK.get(base, "unexplained")


#: Of what is asked of the system by a wrong name, which is no state of the machine.
_BY_NAME = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def of_the_moment(error: BaseException) -> bool:
    """Whether what went wrong is how the machine was just then (no memory, a full disk, too many
    open files), and so no fact about what was tried. Of OSErrors those that the system numbered:
    ``inspect`` and torch raise it without a number where code has no source."""
    return any(
        any(_matches(link, rule) for rule in MEMORY_RULES)
        or (isinstance(link, OSError) and link.errno and not isinstance(link, _BY_NAME))
        for link in chain(error)
    )


def operator_of(text: str) -> str:
    """The operator an error speaks of, or "" where it names none."""
    for pattern in _OPERATORS:
        found = pattern.search(text)
        if found:
            return found.group(1)
    return ""


def first_line(error: BaseException) -> str:
    """``Type: message`` of the link that says most about the cause, at most 4,000 characters.

    Wrappers ("Failed to export the model with torch.export. ...") say what they did; the
    innermost link says what went wrong, unless one is Told, or that is that a command failed: what
    it said is in the wrapper, or beside it. No host is named: tables are published.
    """
    links = list(chain(error))
    ours = [link for link in links if isinstance(link, Told)]
    told = [link for link in links if not isinstance(link, subprocess.CalledProcessError)]
    root = ours[0] if ours else (told or links)[-1]
    text = _CUDA_CALL.sub("", _HOST.sub("", _words(root)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(root).__name__}: {_telling(lines) or '(no message)'}"[:4000]


def _words(error: BaseException) -> str:
    """The error's own, and of a command that failed the last line that it wrote."""
    written = getattr(error, "stderr", None) or getattr(error, "output", None)
    if not isinstance(error, subprocess.CalledProcessError) or not written:
        return str(error)
    text = written.decode("utf-8", "replace") if isinstance(written, bytes) else str(written)
    return f"{error} {(text.strip().splitlines() or [''])[-1]}"


def _telling(lines: Sequence[str]) -> str:
    """The first line, or of an error that only announces there what went wrong, the line that
    says it: of TensorFlow's ``Graph execution error:``, behind the node and its trace, the first
    error of several or the last line that names no node (``[[...]]``), and behind its ``in user
    code:`` and that code the last one; of torch's ``Error building extension`` the compiler's or
    the linker's first error; behind any other colon the next, as of dynamo's ``backend=...
    raised:`` and of ``torch.export``'s conflicts."""
    if not lines:
        return ""
    if lines[0].startswith("Error building extension"):
        wrong = [line for line in lines[1:] if _WRONG.search(line)]
        return f"{lines[0].split(':')[0]}: {wrong[0]}" if wrong else lines[0]
    if lines[0] == "in user code:":
        return f"{lines[0]} {lines[-1]}"
    if lines[0] == "Graph execution error:" and len(lines) > 1:
        first = [line for line in lines if line.startswith("(0) ")]
        said = first or [line for line in lines if not line.startswith("[[")]
        return f"{lines[0]} {said[0] if first else said[-1]}"
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def outcome_of(error: BaseException, stage: str, rules: Iterable[Rule] = ()) -> Outcome:
    """What an exception means for the cell it came to, with its traceback's end as detail.

    An exception says itself what it means where its attribute ``kind`` is one of ``KINDS``
    (``operator``: a text); others' have attributes of that name that mean something else.
    """
    kind = getattr(error, "kind", "")
    if not isinstance(kind, str) or kind not in KINDS:
        kind = kind_of(error, stage, rules)
    operator = getattr(error, "operator", "")
    text = "\n".join(str(link) for link in chain(error))
    message = first_line(error)
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Outcome(
        stage=stage,
        verdict=verdict_of_failure(stage, kind),
        kind=kind,
        operator=(operator if isinstance(operator, str) else "")
        or (operator_of(text) if KINDS[kind] in ("capability", "artefact") else ""),
        message=message[:1000],  # what a table keeps of it, it cuts once paths are taken out
        signature=signature_of(message),
        detail=trace[-6000:],
    )
