"""Options of ONNX Runtime's CUDA provider that a version does not know: named, or all dropped."""

from __future__ import annotations

import sys
import types

import pytest

from switchyard.runtimes import NotOffered, Target, onnxruntime_cuda

CUDA = onnxruntime_cuda.CUDA


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Sessions of a version that knows ``known``; the options of CUDA that each was asked for."""

    def made(known, raises):
        asked = []

        class Session:
            def __init__(self, path, sess_options, providers, enable_fallback):
                options = dict(one for one in providers if isinstance(one, tuple))[CUDA]
                asked.append(sorted(options))
                self.has = dict.fromkeys(known, "-1")
                unknown = [name for name in options if name not in known]
                if unknown and raises:
                    raise RuntimeError(f'Unknown provider option: "{unknown[0]}".')
                if not unknown:
                    self.has.update({name: str(value) for name, value in options.items()})

            def get_providers(self):
                return [CUDA, onnxruntime_cuda.CPU]

            def get_provider_options(self):
                return {CUDA: self.has}

        package = types.SimpleNamespace(
            SessionOptions=types.SimpleNamespace, InferenceSession=Session, __version__="1.15.1",
            __file__=str(tmp_path / "__init__.py"),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "onnxruntime", package)
        monkeypatch.setattr(onnxruntime_cuda.cuda_libraries, "load", lambda: [])
        monkeypatch.setenv(onnxruntime_cuda.TF32_OVERRIDE, "0")
        return asked

    return made


def session(**more):
    return onnxruntime_cuda._session("m.onnx", Target("cuda"), CUDA, more=more)


@pytest.mark.parametrize("raises", [True, False])
def test_an_unknown_option_is_left_out_and_the_others_are_taken(made, raises):
    asked = made({"device_id", "enable_cuda_graph"}, raises)
    assert session(enable_cuda_graph=1).has == {"device_id": "0", "enable_cuda_graph": "1"}
    assert len(asked) == 2 and asked[-1] == ["device_id", "enable_cuda_graph"]


@pytest.mark.parametrize("raises", [True, False])
def test_an_option_that_a_series_is_about_is_not_left_out(made, raises):
    made({"device_id", "use_tf32"}, raises)
    with pytest.raises(NotOffered, match="onnxruntime 1.15.1 has no user_compute_stream"):
        session(user_compute_stream="4711")


def test_where_all_are_known_one_session_is_made(made):
    asked = made({"device_id", "use_tf32"}, raises=True)
    session()
    assert len(asked) == 1


def test_what_else_is_wrong_is_raised_as_it_is(made, monkeypatch):
    made({"device_id", "use_tf32"}, raises=True)

    def broken(*given, **named):
        raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(sys.modules["onnxruntime"], "InferenceSession", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        session()


def test_an_option_that_is_named_where_cuda_does_not_start_is_not_taken_for_unknown(
    made, monkeypatch
):
    made({"device_id", "use_tf32"}, raises=True)
    tries = []

    def too_old(*given, **named):
        tries.append(given)
        raise RuntimeError('Failed to parse provider option "device_id": CUDA failure 35: CUDA '
                           "driver version is insufficient for CUDA runtime version")  # fmt: skip

    monkeypatch.setattr(sys.modules["onnxruntime"], "InferenceSession", too_old)
    with pytest.raises(RuntimeError, match="driver version is insufficient"):
        session()
    assert len(tries) == 1
