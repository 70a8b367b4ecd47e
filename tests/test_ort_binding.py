"""What is timed runs on the inputs it was given, also once nobody else holds them."""

from __future__ import annotations

import gc
import sys
import types
import weakref

import numpy as np

from switchyard.runtimes.onnxruntime_cpu import OrtSession


class Array(np.ndarray):
    """An array that a weak reference can point to."""


class Binding:
    def bind_ortvalue_input(self, name, value):
        pass

    def bind_output(self, name, device):
        pass


def test_a_prepared_call_holds_its_inputs(monkeypatch):
    forgetful = types.SimpleNamespace(ortvalue_from_numpy=lambda array: object())
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(OrtValue=forgetful))
    ran, output = [], types.SimpleNamespace(name="output", type="tensor(float)")
    session = OrtSession(
        types.SimpleNamespace(
            get_inputs=lambda: [],
            get_outputs=lambda: [output],
            io_binding=Binding,
            run_with_iobinding=lambda binding: ran.append(alive()),
        )
    )
    array = np.ones(3, "float32").view(Array)
    alive = weakref.ref(array)
    once = session.prepare({"input": array})
    del array
    gc.collect()
    once()
    assert ran[0] is not None
