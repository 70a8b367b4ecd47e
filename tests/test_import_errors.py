"""What an import that fails means: what is missing, too new or built for another, or nothing that
is known. The texts are those the projects' sources print."""

from __future__ import annotations

import pytest

from switchyard.worker.blame import kind_of, outcome_of


class VersionError(Exception):
    """As protobuf calls its own."""


OUT_OF_DATE = (
    "\nIf this call came from a _pb2.py file, your generated code is out of date and must be "
    "regenerated with protoc >= 3.19.0."
)


@pytest.mark.parametrize("error, kind", [
    (ModuleNotFoundError("No module named 'onnxscript'"), "missing-dependency"),
    (ImportError("DLL load failed"), "missing-dependency"),
    # torch loads some of its libraries by ctypes, whose errors are no ImportError.
    (OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),
     "missing-dependency"),
    (RuntimeError("operator torchvision::nms does not exist"), "abi-mismatch"),
    (RuntimeError("operator aten::all.dimname does not exist"), "abi-mismatch"),
    (TypeError(f"Descriptors cannot not be created directly.{OUT_OF_DATE}"), "abi-mismatch"),
    (TypeError(f"Descriptors cannot be created directly.{OUT_OF_DATE}"), "abi-mismatch"),
    (VersionError("Detected incompatible Protobuf Gencode/Runtime versions when loading a.proto: "
                  "gencode 6.31.1 runtime 5.29.6."), "abi-mismatch"),
    (AttributeError("_ARRAY_API not found"), "abi-mismatch"),
    (ImportError("cannot import name 'Newer' from 'torch'"), "removed-api"),
    (AttributeError("module 'numpy' has no attribute 'object'.\n`np.object` was an alias"),
     "removed-api"),
    (AttributeError("module transformers.models has no attribute Newer"), "removed-api"),
    (AttributeError("'_OpNamespace' 'aten' object has no attribute 'newer'"), "removed-api"),
])  # fmt: skip
def test_what_an_import_lacks_has_its_kind(error, kind):
    assert kind_of(error, "import") == kind


@pytest.mark.parametrize("error", [
    FileNotFoundError("the folder of weights does not exist"),
    AttributeError("'NoneType' object has no attribute 'split'"),
    AttributeError("partially initialized module 'own' has no attribute 'Net' (most likely due to "
                   "a circular import)"),
    TypeError("Tensor() takes no keyword arguments"),
    ZeroDivisionError("division by zero"),
])  # fmt: skip
def test_without_evidence_an_import_that_fails_is_unexplained(error):
    found = outcome_of(error, "import")
    assert (found.verdict, found.kind) == ("unavailable", "unexplained")


def test_a_package_behind_the_one_that_fails_is_what_is_missing():
    try:
        try:
            raise ModuleNotFoundError("No module named 'ml_dtypes'")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to import transformers.models.bert because of") from error
    except RuntimeError as error:
        assert kind_of(error, "import") == "missing-dependency"
