"""A float32 model in other precisions: which cells there are, how it is cast, how it is judged."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest

from models_zoo import Task, Tensor, collect, model
from models_zoo.twins.weights import UnmatchedWeights
from switchyard import hops, routes, runtimes
from switchyard.compare import bands, statistics
from switchyard.compare.document import silent
from switchyard.compare.rendering import Terminal
from switchyard.hops import Refusal
from switchyard.hops.manual import SignatureMismatch, in_dtype
from switchyard.runner import again, options
from switchyard.runner.plan import NothingUsable, Planned, Zoo, plan
from switchyard.runner.precisions import precisions_of
from switchyard.vocabulary import CAST, Cell, cast_to, verdict_of_failure
from switchyard.worker.agreement import Agreement, band, band_scale
from switchyard.worker.blame import DTYPE_RULES, kind_of, operator_of
from switchyard.worker.casting import NotInThisDtype, cast_entry

ROUTES = routes.routes(hops.builtin(), runtimes.builtin())


def described(**more):
    return {"name": "one", "precision": "float32", "tier": "smoke", "precisions": [], **more}


def test_a_model_has_its_own_precision_alone_unless_more_is_asked_for():
    for tier in ("smoke", "quick"):
        assert precisions_of(described(), ROUTES["dynamo-ort"], tier) == ("float32",)
    assert precisions_of(described(precision="float64"), ROUTES["manual-tf"], "full") == (
        "float64",
    )


def test_a_quick_run_has_what_a_model_declares_on_one_road_each():
    declares = described(precisions=["float16", "float64"])
    wanted = ("float32", "float16", "float64")
    for route in ("torch-eager", "dynamo-ort", "manual-tf"):
        assert precisions_of(declares, ROUTES[route], "quick") == wanted
    assert precisions_of(declares, ROUTES["torchscript-ort"], "quick") == ("float32",)
    assert precisions_of(declares, ROUTES["dynamo-ort"], "smoke") == ("float32",)


def test_a_full_run_casts_the_models_of_tier_smoke_on_the_cheapest_routes():
    all_of_them = ("float32", *CAST)
    for route in ("torchscript-ort", "manual-tf"):
        assert precisions_of(described(), ROUTES[route], "full") == all_of_them
    for route in ("torchscript17-ort", "dynamo-onnx2tf-tf"):
        assert precisions_of(described(), ROUTES[route], "full") == ("float32",)
    assert precisions_of(described(tier="quick"), ROUTES["dynamo-ort"], "full") == ("float32",)


def test_what_is_named_is_what_runs():
    route = ROUTES["dynamo-onnx2tf-tf"]
    assert precisions_of(described(), route, "quick", ["float16"]) == ("float16",)
    assert precisions_of(described(), route, "quick", ["float16", "float32"]) == (
        "float32", "float16")  # fmt: skip
    # What is float64 on purpose is no float16 model.
    assert precisions_of(described(precision="float64"), route, "quick", ["float16"]) == ()
    assert precisions_of(described(), route, "quick", ["float64"], tf32=True) == ("float64",)
    assert precisions_of(described(), route, "quick", [], tf32=True) == ("float32", "tf32")


@pytest.mark.parametrize(
    "given, said", [("flaot16", "did you mean.*float16"), ("tf32", "--gpu --tf32")]
)
def test_an_unknown_precision_is_refused_with_the_nearest(given, said):
    values = {"--accept": False, "--reason": "", "--zoo": [], "--precision": [given]}
    config = types.SimpleNamespace(
        getoption=lambda name: values.get(name), option=types.SimpleNamespace()
    )
    with pytest.raises(pytest.UsageError, match=said):
        options.check(config)


def test_the_command_that_runs_a_cell_again_names_its_precision():
    cell = Cell("s", "cpu", "bfloat16", "one", "dynamo-ort")
    planned = Planned(cell, ROUTES["dynamo-ort"], described())
    assert planned.cast == "bfloat16" and planned.label == "one[bfloat16]"
    assert "--precision bfloat16" in again.command(cell)
    row = {"model": "one", "route": "dynamo-ort", "device": "cpu", "precision": "bfloat16",
           "version_set": "s"}  # fmt: skip
    assert again.of_row(row) == again.command(cell)
    own = dataclasses.replace(planned, cell=dataclasses.replace(cell, precision="tf32"))
    assert own.cast == "" and "--precision" not in again.command(own.cell)


def entry(**inputs):
    with collect():

        @model(task=Task(lambda: ({"x": np.ones((3, 2), np.float32)}, [0, 1, 0])), **inputs)
        def one():
            return None

    return one


def test_floating_inputs_and_examples_are_cast_and_integers_are_not():
    own = entry(x=Tensor("batch", 2, range=(0, 1)), n=Tensor("batch", dtype="int64"))
    cast = cast_entry(own, cast_to(own.precision, "float16"))
    assert cast.inputs["x"] == Tensor("batch", 2, dtype="float16", range=(0, 1))
    assert cast.inputs["n"] == own.inputs["n"] and cast.precision == "float16"
    inputs, labels = cast.task.examples()
    assert inputs["x"].dtype == np.float16 and labels == [0, 1, 0]
    assert cast_entry(own, cast_to("float32", "tf32")) is own


def test_complex_inputs_have_no_such_dtype_and_nobody_is_to_blame():
    with pytest.raises(NotInThisDtype, match="complex64") as raised:
        cast_entry(entry(x=Tensor("batch", dtype="complex64")), "float16")
    assert verdict_of_failure(raised.value.stage, raised.value.kind) == "unavailable"
    assert verdict_of_failure("convert:manual", "unsupported-dtype") == "refused"
    assert verdict_of_failure("load", "unsupported-dtype") == "failed"


def test_only_a_float32_model_declares_others_and_only_known_ones():
    for wrong in ({"precision": "float64", "precisions": ("float16",)}, {"precisions": ("tf32",)}):
        with pytest.raises(ValueError, match="float64 model|unknown precision"):
            entry(x=Tensor("batch", 2), **wrong)
    with pytest.raises(NothingUsable, match="float16: only float32 models"):
        plan({"s": Zoo({"one": described(precision="float64", file="a.py")}, {})}, ROUTES, "cpu",
             "quick", ["one"], precisions=["float16"])  # fmt: skip


def test_bands_give_way_to_rounding_and_to_nothing_else():
    assert [band_scale(d) for d in ("float32", "float64", "float16", "int64")] == [1] * 4
    assert band_scale("bfloat16") == pytest.approx(2 * (4 * 2**-8) ** 2 / 1e-5)

    def verdict(dtype, **figures):
        return band(Agreement(dtype=dtype, **figures))[0]

    assert verdict("float32", mse=3e-4, nmse=3e-4) == "acceptable"
    assert verdict("bfloat16", mse=3e-4, nmse=3e-4) == "excellent"
    assert verdict("bfloat16", mse=0.06, nmse=0.06) == "investigate"
    # Values of the size of 100 rounded to float16: mse 1e-3, and no fault.
    assert verdict("float16", mse=1.2e-3, nmse=1.2e-7) == "excellent"
    assert verdict("float32", mse=1.2e-3, nmse=1.2e-7) == "investigate"
    # However wide the band, ten times torch's own error is not passed.
    assert band(Agreement(dtype="bfloat16", mse=3e-4, nmse=3e-4, error_vs_fp64=11.0)) == (
        "investigate", "precision")  # fmt: skip


def test_the_summary_says_which_bands_were_widened():
    rows = [{"precision": "float16", "band_scale": 1.0}, {"precision": "bfloat16"},
            {"precision": "bfloat16", "band_scale": band_scale("bfloat16")}]  # fmt: skip
    (line,) = bands.band_notes(rows, Terminal(width=400))
    assert line.startswith("bfloat16: bands of 48.8 times float32's (4.9e-04 and 4.9e-02)")
    assert bands.band_notes(rows[:2], Terminal()) == []


def test_the_summary_names_what_passes_and_is_wrong_at_another_size():
    def row(model, verdict, dynamic):
        return {"model": model, "route": "dynamo-ort", "verdict": verdict, "dynamic": dynamic}

    rows = [row("a", "excellent", "wrong"), row("b", "excellent", "ok"),
            row("c", "acceptable", "specialised"), row("d", "investigate", "wrong")]  # fmt: skip
    (line,) = bands.wrong_at_another_size(rows, Terminal(width=400))
    assert line == (
        "1 passes, and answers wrongly at another size (column dynamic): a-dynamo-ort"
    )
    assert bands.wrong_at_another_size(rows[1:], Terminal()) == []
    many = [row(f"m{n}", "excellent", "wrong") for n in range(9)]
    (line,) = bands.wrong_at_another_size(many, Terminal(width=400))
    assert line.startswith("9 pass, and answer wrongly") and line.endswith("m5-dynamo-ort, ...")


class NotImplemented_(Exception):
    """As ONNX Runtime's is called."""


NotImplemented_.__name__ = "NotImplemented"


@pytest.mark.parametrize("error, operator", [
    (NotImplemented_("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation "
                     "for Conv(11) node with name 'node_Conv_19'"), "Conv"),
    (ValueError("This is an invalid model. Type Error: Type 'tensor(bfloat16)' of input parameter "
                "(image) of operator (MaxPool) in node (pool) is invalid."), "MaxPool"),
])  # fmt: skip
def test_a_runtime_without_the_dtype_is_blamed_for_it_and_in_float32_is_not(error, operator):
    assert kind_of(error, "load", DTYPE_RULES) == "unsupported-dtype"
    assert kind_of(error, "load") == "load-rejected"
    assert operator_of(str(error)) == operator


@pytest.mark.parametrize("said", [
    "Non-zero status code returned while running LSTM node. Name:'node_lstm__2' Status Message: "
    "LSTM operator does not support double yet",
    "No corresponding Numpy type for Tensor Type. bfloat16",
])  # fmt: skip
def test_half_a_kernel_and_an_answer_that_numpy_cannot_hold_are_the_dtypes_too(said):
    assert kind_of(RuntimeError(said), "run", DTYPE_RULES) == "unsupported-dtype"
    assert kind_of(RuntimeError(said), "run") == "unexplained"


class KerasConfig:
    """The four functions of ``keras.config`` that are used."""

    def __init__(self):
        self.said = {"floatx": "float32", "dtype_policy": "float32"}

    def __getattr__(self, name):
        if name.startswith("set_"):
            return lambda value: self.said.update({name[4:]: value})
        return lambda: self.said[name]


def test_a_twin_is_built_in_the_dtype_and_what_it_lacks_is_refused():
    config = KerasConfig()
    with in_dtype(config, "bfloat16"):
        assert set(config.said.values()) == {"bfloat16"}
    assert set(config.said.values()) == {"float32"}
    with in_dtype(config, ""):
        assert set(config.said.values()) == {"float32"}
    for error in (SignatureMismatch("dtype", "other"), ValueError("no kernel for DT_HALF")):
        with pytest.raises(Refusal, match="the twin in float16") as raised, \
                in_dtype(config, "float16"):  # fmt: skip
            raise error
        assert raised.value.kind == "unsupported-dtype"
        assert set(config.said.values()) == {"float32"}
    with pytest.raises(SignatureMismatch), in_dtype(config, "float16"):
        raise SignatureMismatch("shape", "another shape")
    # it names the dtype of every layer, and is no matter of the dtype
    with pytest.raises(UnmatchedWeights), in_dtype(config, "float16"):
        raise UnmatchedWeights(["no counterpart for linear (4, 4) float16"])
    with pytest.raises(Refusal, match="two fit"), in_dtype(config, "float16"):
        raise Refusal("ambiguous-mapping", "two fit float16")


def of_a_layer(words):
    """As Keras raises again what a layer raised."""
    return ValueError(
        f"Exception encountered when calling Dense.call().\n\n\x1b[1m{words}\x1b[0m\n\nArguments "
        "received by Dense.call():\n  • inputs=<KerasTensor shape=(None, 6), dtype=float16>"
    )


@pytest.mark.parametrize("words", [
    "expected axis -1 of the input to have value 6",
    "sent on behalf of a layer of bfloat16",
])  # fmt: skip
def test_an_error_is_not_the_dtypes_for_what_else_stands_beside_it(words):
    with pytest.raises(ValueError, match="when calling"), in_dtype(KerasConfig(), "float16"):
        raise of_a_layer(words)


@pytest.mark.parametrize("dtype, words", [
    ("float16", "half is not in the list of allowed values"),
    ("float16", "no kernel for float16"),
    ("bfloat16", "Could not find device for node Qr[T=DT_BFLOAT16]"),
    ("float64", "Unsupported dtype: double"),
])  # fmt: skip
def test_an_error_that_names_the_dtype_itself_is_the_dtypes(dtype, words):
    with pytest.raises(Refusal) as raised, in_dtype(KerasConfig(), dtype):
        raise of_a_layer(words)
    assert raised.value.kind == "unsupported-dtype"


def test_a_model_counts_once_where_it_was_cast():
    def row(model, precision, verdict="investigate"):
        return {"version_set": "s", "device": "cpu", "model": model, "precision": precision,
                "route": "r", "family": "f", "verdict": verdict, "kind": "precision"}  # fmt: skip

    rows = [row("a", "float32", "excellent"), row("a", "float16"), row("b", "float16")]
    assert statistics.in_own_precision(rows) == [rows[0], rows[2]]
    assert [fault.model for fault in silent.silent_faults(rows)["f"]] == ["b"]
    cast = [row("a", "float16"), row("a", "bfloat16"), row("b", "bfloat16"), row("b", "float32")]
    assert statistics.in_own_precision(cast) == [cast[0], cast[3]]  # "a" was never asked in its own
    assert statistics.without_casts(cast) == [cast[0], cast[1], cast[3]]
