"""NVIDIA's libraries as pip installs them, for ONNX Runtime where it does not find them."""

from __future__ import annotations

import os
import sys
import types

import pytest

from switchyard.runtimes import Target, cuda_libraries, onnxruntime_cuda

INSTALLED = (
    "cudnn/lib/libcudnn.so.9", "cudnn/lib/libcudnn_ops.so.9", "cublas/lib/libcublas.so.12",
    "cublas/lib/libcublasLt.so.12", "cublas/lib/libnvblas.so.12",
    "cuda_runtime/lib/libcudart.so.12", "cufft/lib/libcufft.so.11", "cufft/lib/libcufftw.so.11",
    "cusolver/lib/libcusolver.so.11",
)  # fmt: skip


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """A folder of packages with those of NVIDIA in it; what is loaded is written down."""
    for name in INSTALLED:
        (tmp_path / "nvidia" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nvidia" / name).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    loaded = []

    def load(file, mode):
        if "libcudnn_ops" in file:
            raise OSError("it needs what is not there")
        loaded.append(file)

    monkeypatch.setattr(cuda_libraries.ctypes, "CDLL", load)
    return loaded


def test_what_the_provider_is_linked_against_is_loaded_each_before_what_needs_it(nvidia):
    assert [os.path.basename(file) for file in cuda_libraries.load()] == [
        "libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12", "libcufft.so.11",
        "libcudnn.so.9",
    ]  # fmt: skip
    first, by_name = nvidia[:2]
    assert first.endswith("nvidia/cuda_runtime/lib/libcudart.so.12")
    assert by_name == "libcudart.so.12" and len(nvidia) == 2 * 5


def test_without_nvidias_packages_nothing_is_loaded(monkeypatch):
    monkeypatch.setattr(cuda_libraries.importlib.util, "find_spec", lambda name: None)
    assert cuda_libraries.load() == []


@pytest.mark.parametrize("looks, beside", [(False, True), (True, True), (True, False)])
def test_a_version_that_finds_them_itself_is_left_to_it(
    nvidia, tmp_path, monkeypatch, looks, beside
):
    said = []
    taken = {onnxruntime_cuda.CUDA: {"device_id": "0", "use_tf32": "0"}}
    session = types.SimpleNamespace(
        get_providers=lambda: [onnxruntime_cuda.CUDA], get_provider_options=lambda: taken
    )
    package = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace, InferenceSession=lambda *given, **named: session,
        __file__=str(tmp_path / ("." if beside else "elsewhere") / "onnxruntime" / "__init__.py"),
    )  # fmt: skip
    if looks:
        package.preload_dlls = lambda: said.append("itself")
    monkeypatch.setitem(sys.modules, "onnxruntime", package)
    monkeypatch.setenv(onnxruntime_cuda.TF32_OVERRIDE, "1")
    assert onnxruntime_cuda._session("m.onnx", Target("cuda"), onnxruntime_cuda.CUDA) is session
    assert (said, len(nvidia)) == ((["itself"], 0) if looks and beside else ([], 2 * 5))
