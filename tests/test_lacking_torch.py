"""What a version set's own torch cannot do: the cell is unavailable there, and no fault of ours."""

import sys
import types

import pytest

from switchyard.runtimes.torch_native import compiled
from switchyard.worker.blame import outcome_of


def outcome(error, stage):
    found = outcome_of(error, stage)
    return found.stage, found.kind, found.verdict


def test_a_dtype_without_a_kernel_makes_the_reference_unavailable():
    error = RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")
    assert outcome(error, "reference") == ("reference", "unsupported-dtype", "unavailable")


def test_any_other_error_of_the_reference_is_the_fixtures():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert outcome(error, "reference") == ("reference", "bad-reference", "void")


@pytest.mark.parametrize("message, stage, kind", [
    ("Python 3.11+ not yet supported for torch.compile", "import", "removed-api"),
    ("no C++ compiler", None, None),
])  # fmt: skip
def test_a_torch_without_compile_for_this_python_lacks_it(monkeypatch, message, stage, kind):
    def refuse(module):
        raise RuntimeError(message)

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(compile=refuse))
    with pytest.raises(RuntimeError) as caught:
        compiled(object())
    assert getattr(caught.value, "stage", None) == stage
    assert getattr(caught.value, "kind", None) == kind
