"""TensorRT's sessions of one artefact: its engine is built once. ONNX Runtime is a fake here; the
provider itself has never run."""

from __future__ import annotations

import gc
import os
import sys
import types

from switchyard.runtimes import Target, onnxruntime_cuda


def test_the_session_that_placement_asks_takes_the_engine_of_the_first(tmp_path, monkeypatch):
    made = []

    class Fake:
        def __init__(self, path, sess_options, providers, enable_fallback):
            made.append(dict(one for one in providers if isinstance(one, tuple)))

        def get_providers(self):
            return [onnxruntime_cuda.TENSORRT, onnxruntime_cuda.CUDA, onnxruntime_cuda.CPU]

        def get_provider_options(self):
            return {name: {one: str(has) for one, has in options.items()}
                    for name, options in made[-1].items()}  # fmt: skip

        def get_outputs(self):
            return []

        get_inputs = get_outputs

        def end_profiling(self):
            (tmp_path / "profile.json").write_text("[]")
            return str(tmp_path / "profile.json")

    package = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace, InferenceSession=Fake, __file__=__file__
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", package)
    monkeypatch.setattr(onnxruntime_cuda.cuda_libraries, "load", lambda: [])
    monkeypatch.setenv(onnxruntime_cuda.TF32_OVERRIDE, "0")  # set in here, and put back behind
    session = onnxruntime_cuda.CudaSession("m.onnx", Target("cuda"), onnxruntime_cuda.TENSORRT)
    session._profiled(lambda one: None)
    first, second = (each[onnxruntime_cuda.TENSORRT] for each in made)
    assert first == second and first["trt_engine_cache_enable"] is True
    folder = first["trt_engine_cache_path"]
    assert os.path.isdir(folder)
    del session
    gc.collect()
    assert not os.path.exists(folder)

    plain = onnxruntime_cuda.CudaSession("m.onnx", Target("cuda"), onnxruntime_cuda.CUDA)
    assert plain._made_from[-1] == "" and onnxruntime_cuda.TENSORRT not in made[-1]
