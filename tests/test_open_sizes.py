"""Sizes that a converter keeps open, or fixes, and what the artefact's manifest says of it."""

from __future__ import annotations

import errno

import pytest

from switchyard.hops.open_sizes import inherited, open_or_fixed
from switchyard.manifest import Manifest


def fails_open(error):
    def convert(some_open):
        if some_open:
            raise error
        return "fixed"

    return convert


def test_where_open_sizes_fail_the_cause_is_said_and_not_what_wraps_it():
    wrapper = RuntimeError("Failed to export the model: see above")
    wrapper.__cause__ = ValueError("length was specialized to 5\nand a page of advice")
    made, facts = open_or_fixed(True, fails_open(wrapper))
    assert made == "fixed"
    assert facts == {
        "dynamic": "specialised",
        "dynamic_reason": "ValueError: length was specialized to 5",
    }


def test_a_model_of_fixed_sizes_is_converted_once_and_nothing_is_said():
    assert open_or_fixed(False, fails_open(ValueError())) == ("fixed", {"dynamic": "declared"})
    assert open_or_fixed(True, lambda some_open: some_open) == (True, {"dynamic": "declared"})


def test_what_open_sizes_cannot_be_blamed_for_is_not_tried_again():
    asked = []

    def convert(some_open):
        asked.append(some_open)
        raise KeyError("no such operator")

    with pytest.raises(KeyError):
        open_or_fixed(True, convert, lambda error: not isinstance(error, KeyError))
    assert asked == [True]


def over(cause):
    """An error in which an exporter wraps ``cause``."""
    wrapper = RuntimeError("Failed to export the model")
    wrapper.__cause__ = cause
    return wrapper


ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("error", [
    MemoryError(), OSError(errno.ENOSPC, "No space left on device"), RuntimeError(ALLOCATOR),
    over(OSError(errno.EMFILE, "Too many open files")), over(MemoryError()),
])  # fmt: skip
def test_what_the_machine_lacked_is_no_fact_about_open_sizes(error):
    """The artefact would be kept, fixed for good."""
    with pytest.raises(type(error)) as raised:
        open_or_fixed(True, fails_open(error))
    assert raised.value is error


@pytest.mark.parametrize("error", [
    OSError("could not get source code"), over(FileNotFoundError(errno.ENOENT, "no such file")),
])  # fmt: skip
def test_an_oserror_that_is_no_state_of_the_machine_is_blamed_on_open_sizes_as_any_other(error):
    assert open_or_fixed(True, fails_open(error))[1]["dynamic"] == "specialised"


def test_what_was_fixed_once_stays_so_with_its_reason():
    said = {"dynamic": "specialised", "dynamic_reason": "why", "fixed_dims": ["length"]}
    source = Manifest({"onnx": "m.onnx"}, (), (), {**said, "opset": 17})
    assert inherited(source) == said
    assert inherited(Manifest({"onnx": "m.onnx"}, (), (), {})) == {}
