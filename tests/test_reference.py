"""When two runs of a model are one: what is not declared stochastic must answer twice alike; and
what becomes of a model without an answer in float64."""

from __future__ import annotations

import types

import numpy as np
import pytest

from models_zoo import Tensor
from switchyard.worker import building, jobs
from switchyard.worker.reference import Reference, _same


def same(one, two, dtype=np.float32):
    return _same({"y": np.array(one, dtype)}, {"y": np.array(two, dtype)})


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_beside_a_value_that_is_not_finite_a_difference_is_as_large_as_elsewhere(value):
    assert same([value, 1.0, 2.0], [value, 1.0 + 1e-5, 2.0])
    assert not same([value, 1.0, 2.0], [value, 1.5, 2.0])
    assert not same([1.0, 2.0], [1.5, 2.0])


def test_infinity_gives_no_scale_in_complex_numbers_either():
    assert same([complex(np.inf, 1), 1 + 1j], [complex(np.inf, 1), 1 + 1j], np.complex64)
    assert not same([complex(np.inf, 1), 1 + 1j], [complex(np.inf, 1), 2 + 1j], np.complex64)


def test_what_is_not_finite_stands_in_the_same_places_with_the_same_sign():
    assert same([np.nan, np.inf], [np.nan, np.inf])
    for other in ([np.inf, np.nan], [np.nan, -np.inf], [np.nan, 1.0], [1.0, np.inf]):
        assert not same([np.nan, np.inf], other)


def test_integers_are_alike_to_the_bit_and_nothing_differs_from_nothing():
    assert same([1, 2], [1, 2], np.int64) and not same([1, 2], [1, 3], np.int64)
    assert same([], [])


@pytest.fixture
def referenced(tmp_path, monkeypatch):
    """``referenced(error)``: what came of the reference of a model that raises it in float64."""
    entry = types.SimpleNamespace(
        name="net", inputs={"x": Tensor("batch", 4)}, sizes={"batch": (2, 3)}, probes={}, tags=(),
        task=None, picture=None, stochastic=False,
    )  # fmt: skip

    def make(error, run=lambda inputs: {"y": inputs["x"] * 2}, in_float64=None, **declared):
        vars(entry).update(declared)

        def run_float64(inputs):
            if in_float64 is None:
                raise error
            return in_float64(inputs)

        model = types.SimpleNamespace(entry=entry, cast="", run=run, run_float64=run_float64)
        monkeypatch.setattr(building, "build", lambda *asked: model)
        return jobs.run(
            {"do": "reference", "file": "", "model": "net", "target": str(tmp_path)}
        )

    return make


def test_an_operator_without_float64_leaves_a_reference_that_says_so(referenced, tmp_path):
    assert referenced(RuntimeError("no kernel for double"))["ok"]
    facts = Reference.read(tmp_path).facts
    assert not facts["float64"] and facts["float64_reason"] == "RuntimeError: no kernel for double"


@pytest.mark.parametrize("error", [
    MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
])  # fmt: skip
def test_what_had_no_room_in_float64_is_out_of_memory_and_leaves_no_reference(
    referenced, tmp_path, error
):
    outcome = referenced(error)["outcome"]
    assert (outcome["stage"], outcome["kind"]) == ("reference", "host-oom")
    assert not (tmp_path / "reference.json").exists()


def test_a_size_that_nobody_declared_and_torch_does_not_take_is_left_out(referenced, tmp_path):
    """And one at which its answer is no number; the model is none the worse for it."""

    def run(inputs):
        largest = np.abs(inputs["x"]).max()
        if largest > 6:
            raise ValueError("too large")
        return {"y": inputs["x"] / np.float32(0 if 0 < largest < 0.1 else 1)}

    with np.errstate(divide="ignore"):
        assert referenced(RuntimeError("no kernel for double"), run)["ok"]
    facts = Reference.read(tmp_path).facts
    assert facts["left_out"]["tenfold"] == "ValueError: too large"
    assert "not finite" in facts["left_out"]["thousandth"]
    assert facts["probes"] == ["example", "fresh", "negated", "zeros", "resized"]


def test_outputs_of_another_structure_at_another_size_are_left_out(referenced, tmp_path):
    def run(inputs):
        large = np.abs(inputs["x"]).max() > 6
        return {("large" if large else "y"): inputs["x"] * 2}

    assert referenced(None, run, lambda inputs: {"y": np.float64(inputs["x"]) * 2})["ok"]
    assert list(Reference.read(tmp_path).facts["left_out"]) == ["tenfold"]


def test_a_mask_does_not_keep_another_size_from_being_asked(referenced, tmp_path):
    """Infinities that the example has as well are none of the size's."""

    def run(inputs):
        masked = inputs["x"].copy()
        masked[:, 0] = -np.inf
        return {"y": masked}

    assert referenced(RuntimeError("no kernel for double"), run)["ok"]
    assert Reference.read(tmp_path).facts["left_out"] == {}


def test_another_size_that_float64_alone_does_not_take_costs_no_other_probe_its_float64(
    referenced, tmp_path
):
    def in_float64(inputs):
        if np.abs(inputs["x"]).max() > 6:
            raise ValueError("too large for double")
        return {"y": np.float64(inputs["x"]) * 2}

    assert referenced(None, in_float64=in_float64)["ok"]
    reference = Reference.read(tmp_path)
    assert reference.facts["left_out"] == {"tenfold": "ValueError: too large for double"}
    assert reference.facts["float64"] and reference.outputs64("resized") is not None
    assert reference.probes == ("example", "fresh", "negated", "zeros", "thousandth", "resized")


@pytest.mark.parametrize("declared", [
    {"inputs": {"x": Tensor("batch", 4, dtype="float16")}}, {"stochastic": True},
])  # fmt: skip
def test_where_another_size_shows_nothing_it_is_not_asked(referenced, tmp_path, declared):
    """16 bits have no digits left at a thousandth, and overflow; a spread has no rounding."""
    assert referenced(None, in_float64=lambda inputs: inputs, **declared)["ok"]
    assert Reference.read(tmp_path).probes == ("example", "fresh", "negated", "zeros", "resized")
