"""What CUDA, torch, ONNX Runtime and TensorFlow say of a device, and the kind it has.

The texts are those the projects' sources print; none was recorded on a card.
"""

from __future__ import annotations

import subprocess

import pytest

from switchyard.vocabulary import KINDS
from switchyard.worker.blame import (
    ON_DEVICE_RULES,
    SHORT_RULES,
    first_line,
    kind_of,
    outcome_of,
)
from switchyard.worker.sharing import Tenants


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


TRAILER = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)
OOM = (
    "Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which "
    "1.20 GiB is free"
)
ORT_OOM = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; hostname=build-box-7"
    " ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=47 ; "
    "expr=cudaMalloc((void**)&p, size);"
)
TF_OOM = (
    "OOM when allocating tensor with shape[4096,4096] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc [Op:MatMul]"
)
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL"
)


@pytest.mark.parametrize("stage", ["load", "run", "measure"])
@pytest.mark.parametrize("error, kind", [
    (OutOfMemoryError(f"CUDA out of memory. {OOM}"), "device-oom"),
    (RuntimeError(f"CUDA error: out of memory{TRAILER}"), "device-oom"),
    (RuntimeError(ORT_OOM), "device-oom"),
    (RuntimeError(TF_OOM), "device-oom"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
     "device-oom"),
    (RuntimeError("CUDA driver error: out of memory"), "device-oom"),
    (RuntimeError("Triton Error [CUDA]: out of memory"), "device-oom"),
    (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "device-oom"),
    (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"),
     "device-oom"),
    (RuntimeError("CUDA error: CUSPARSE_STATUS_ALLOC_FAILED when calling `cusparseCreate(h)`"),
     "device-oom"),
    (RuntimeError(f"CUDA error: device-side assert triggered{TRAILER}"), "crash"),
    (RuntimeError(f"CUDA error: unspecified launch failure{TRAILER}"), "crash"),
    (RuntimeError(f"CUDA error: an illegal memory access was encountered{TRAILER}"), "crash"),
    (RuntimeError(f"CUDA error: uncorrectable ECC error encountered{TRAILER}"), "device-lost"),
    (RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; "
                  "hostname=x ; file=a.cc ; line=1 ; expr=cudaStreamSynchronize(stream);"),
     "crash"),
    (RuntimeError("Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal "
                  "memory access was encountered"), "crash"),
    (RuntimeError("failed to synchronize: CUDA_ERROR_ECC_UNCORRECTABLE"), "device-lost"),
    (RuntimeError("CUDA error: the launch timed out and was terminated"), "timeout"),
    (RuntimeError(TOO_OLD), "driver-too-old"),
    (RuntimeError("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version "
                  "; GPU=-1 ; hostname=x"), "driver-too-old"),
    (RuntimeError("Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported "
                  "display driver / cuda driver combination"), "driver-too-old"),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device"),
     "abi-mismatch"),
    (RuntimeError("cuDNN version incompatibility: PyTorch was compiled  against (9, 20, 0) but "
                  "found runtime version (9, 13, 0)."), "abi-mismatch"),
    (RuntimeError("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : cuDNN is unavailable "
                  "for CUDA Execution Provider: dlsym failed"), "missing-dependency"),
    (RuntimeError("Unrecognized CachingAllocator option: expandable_segments"),
     "missing-dependency"),
    (RuntimeError("No CUDA GPUs are available"), "provider-fallback"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
     "device-oom"),
    (RuntimeError("No algorithm worked!  Error messages:\n  Profiling failure on CUDNN engine "
                  "eng0: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."),
     "device-oom"),
])  # fmt: skip
def test_a_devices_words_have_their_kind_at_every_stage(error, kind, stage):
    assert kind in KINDS and kind_of(error, stage) == kind


@pytest.mark.parametrize("stage", ["load", "run", "measure"])
def test_tensors_that_a_model_makes_elsewhere_are_the_zoos_fault_on_a_device_alone(stage):
    error = RuntimeError("Expected all tensors to be on the same device, but found at least two "
                         "devices, cuda:0 and cpu!")  # fmt: skip
    assert outcome_of(error, stage, ON_DEVICE_RULES).verdict == "void"
    assert kind_of(error, stage, ON_DEVICE_RULES) == "bad-fixture"
    assert kind_of(error, stage) == ("load-rejected" if stage == "load" else "unexplained")


@pytest.mark.parametrize("rules", [(), ON_DEVICE_RULES], ids=["cpu", "device"])
def test_a_converter_that_mixes_devices_is_not_excused(rules):
    error = RuntimeError("Expected all tensors to be on the same device, but found at least two "
                         "devices, cpu and meta!")  # fmt: skip
    found = outcome_of(error, "convert:dynamo", rules)
    assert (found.verdict, found.kind) == ("failed", "unexplained")


@pytest.mark.parametrize("words", [
    "No CUDA GPUs are available",
    "CUDA error: unknown error",
    "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
    "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=x",
])  # fmt: skip
@pytest.mark.parametrize("stage", ["load", "run"])
def test_a_card_on_which_cuda_started_before_and_does_not_now_is_lost(words, stage):
    assert kind_of(RuntimeError(words), stage, ON_DEVICE_RULES) == "device-lost"


@pytest.mark.parametrize("words", [
    "GET was unable to find an engine to execute this computation",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "DNN library initialization failed. Look at the errors above for more details. [Op:Conv2D]",
])  # fmt: skip
def test_what_has_several_causes_is_memory_only_where_memory_was_kept_short(words):
    assert kind_of(RuntimeError(words), "run", ON_DEVICE_RULES) == "unexplained"
    assert kind_of(RuntimeError(words), "run", (*ON_DEVICE_RULES, *SHORT_RULES)) == "device-oom"
    tenants = Tenants()
    for short, kind in ((False, "unexplained"), (True, "device-oom")):
        tenants.enter({"tenants": {}, "short": short})
        assert kind_of(RuntimeError(words), "run", tenants.rules()) == kind


def test_an_arenas_words_mean_the_device_only_where_the_job_was_on_one():
    error = RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc:376 "
        "Failed to allocate memory for requested buffer of size 17179869184"
    )
    assert kind_of(error, "run") == "unexplained"
    assert kind_of(error, "run", ON_DEVICE_RULES) == "device-oom"


def test_a_card_with_no_room_for_tensorflow_itself_is_out_of_memory():
    error = RuntimeError("Failed to allocate scratch buffer for device 0 [Op:VarHandleOp]")
    assert kind_of(error, "run", ON_DEVICE_RULES) == "device-oom"


def test_the_host_that_a_message_names_is_not_in_the_row():
    said = first_line(RuntimeError(ORT_OOM))
    assert "build-box-7" not in said and "CUDA failure 2: out of memory" in said


#: As onnxruntime 1.31.1 says it, beside its provider that could not start.
ORT_CALL = (
    "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/"
    "core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, common::Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudnnStatus_t; bool THRW = true] "
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 onnxruntime::CudaCall(int) "
    "[with ERRTYPE = cudnnStatus_t] CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0"
)

#: As tensorflow 2.21 does of a SavedModel that JAX lowered for the CPU.
TF_PLATFORM = """Graph execution error:

Detected at node XlaCallModule defined at (most recent call last):
<stack traces unavailable>
The current platform CUDA is not among the platforms required by the module: [CPU]
\t [[{{node XlaCallModule}}]]
\t [[StatefulPartitionedCall/XlaCallModule]] [Op:__inference_signature_wrapper_serve_61]"""

TF_SEVERAL = """Graph execution error:

Detected at node MatMul defined at (most recent call last):
<stack traces unavailable>
2 root error(s) found.
  (0) INTERNAL:  Failed to run cuBLAS routine
\t [[{{node MatMul}}]]
  (1) CANCELLED: another
0 successful operations.
0 derived errors ignored. [Op:__inference_f_7]"""


def test_what_a_cuda_library_answered_stands_before_the_signature_that_asked():
    assert first_line(RuntimeError(ORT_CALL)) == (
        "RuntimeError: [ONNXRuntimeError] : 1 : FAIL : Exception during initialization: "
        "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0"
    )


def test_of_a_graphs_error_the_line_that_says_it_is_told():
    said = first_line(RuntimeError(TF_PLATFORM))
    assert said.endswith("error: The current platform CUDA is not among the platforms required by "
                         "the module: [CPU]")  # fmt: skip
    assert kind_of(RuntimeError(TF_PLATFORM), "run") == "load-rejected"
    several = first_line(RuntimeError(TF_SEVERAL))
    assert several.endswith("(0) INTERNAL:  Failed to run cuBLAS routine")
    assert first_line(RuntimeError("Graph execution error:")).endswith("Graph execution error:")


def test_behind_a_line_that_only_announces_stands_what_it_announces():
    text = "Found the following conflicts between user-specified ranges and inferred ranges:\n\n  - "
    text += "Received length=5, but it is at most 4\nand advice"
    assert first_line(ValueError(text)).endswith("ranges: - Received length=5, but it is at most 4")
    assert first_line(ValueError("nothing behind it:\n")) == "ValueError: nothing behind it:"


def test_one_error_has_one_signature_however_long_the_paths_in_it_are():
    words = "Load model from %s/model.onnx failed:This is an invalid model. " + 300 * "(name, "
    short, long = (outcome_of(RuntimeError(words % path), "load") for path in
                   ("/a/b", "/home" + 20 * "/some/where"))  # fmt: skip
    assert short.signature == long.signature and len(long.message) == 1000


def test_what_tensorflow_says_behind_the_users_code_is_told():
    text = """in user code:

    File "hop.py", line 26, in serve
        x = tf.matmul(x, weight)

    TypeError: Input 'b' of 'MatMul' Op has type float16
"""
    assert first_line(TypeError(text)) == (
        "TypeError: in user code: TypeError: Input 'b' of 'MatMul' Op has type float16"
    )


def test_of_a_command_that_failed_what_it_said_is_told():
    failed = subprocess.CalledProcessError(1, ["ninja", "-v"], output=b"FAILED: main.o\n")
    built = RuntimeError(
        "Error building extension 'swish': [1/2] c++ -MMD -c main.cpp\nFAILED: main.o \n"
        "main.cpp: In function 'int f(int)':\nmain.cpp:2:23: error: 'y' was not declared\n"
    )
    built.__cause__ = failed  # as torch 2.13's cpp_extension raises it
    assert first_line(built) == (
        "RuntimeError: Error building extension 'swish': main.cpp:2:23: error: 'y' was not declared"
    )
    linked = RuntimeError(
        "Error building extension 'swish': [3/3] c++ main.o -lcudart -o swish.so\n"
        "/usr/bin/ld: cannot find -lcudart: No such file or directory\n"
        "collect2: error: ld returned 1 exit status\nninja: build stopped: subcommand failed."
    )
    assert first_line(linked).endswith("'swish': /usr/bin/ld: cannot find -lcudart: No such file "
                                       "or directory")  # fmt: skip
    alone = "CalledProcessError: Command '['ninja', '-v']' returned non-zero exit status 1."
    assert first_line(failed) == f"{alone} FAILED: main.o"
    assert first_line(subprocess.CalledProcessError(1, ["ninja", "-v"])) == alone


def test_a_line_that_only_announces_the_next_is_joined_to_it():
    said = first_line(RuntimeError("backend='inductor' raised:\nFileNotFoundError: gcc\n\nSet X"))
    assert said == "RuntimeError: backend='inductor' raised: FileNotFoundError: gcc"
    assert first_line(RuntimeError("it raised:")) == "RuntimeError: it raised:"


def test_what_the_packages_lack_is_unavailable_and_what_a_session_lost_has_failed():
    from switchyard.runtimes import DeviceUnavailable, ProviderFallback

    lacking, lost = DeviceUnavailable("no CUDA"), ProviderFallback("only the CPU's")
    assert outcome_of(lacking, lacking.stage).verdict == "unavailable"
    found = outcome_of(lost, lost.stage)
    assert (found.stage, found.verdict, found.kind) == ("load", "failed", "provider-fallback")
