"""What differs between two ecosystems' preprocessing, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from models_zoo import Tensor, collect, model
from models_zoo.preprocessing import Preprocessing, Steps
from switchyard import hops, routes, runtimes
from switchyard.compare import statistics
from switchyard.compare.document import claims, silent
from switchyard.runner.plan import Zoo, plan
from switchyard.vocabulary import PASSING
from switchyard.worker.agreement import band, compare
from switchyard.worker.picture_parts import KERNELS, account, applied, differing, resize_matrix
from switchyard.worker.preprocessing import COUNT, drawn_pictures, judged

SIZE = (32, 24)
PICTURES = drawn_pictures(90, 70)


def told(torch, tensorflow, ours=None, theirs=None):
    """The parts, and the sentence; each side's input is what its steps say unless given."""
    how = Preprocessing("image", torch, tensorflow)
    sides = [
        applied(PICTURES, SIZE, account(steps, side)).astype(np.float32) if given is None else given
        for given, steps, side in ((ours, torch, "torch"), (theirs, tensorflow, "tensorflow"))
    ]
    return differing(PICTURES, SIZE, how, *sides)


def test_pictures_are_the_same_everywhere_and_no_two_alike():
    again = drawn_pictures(90, 70)
    assert again.dtype == np.uint8 and again.shape == (COUNT, 90, 70, 3)
    assert np.array_equal(again, PICTURES)
    assert len({picture.tobytes() for picture in PICTURES}) == COUNT
    assert all(picture.std() > 20 for picture in PICTURES)


@pytest.mark.parametrize("torch, tensorflow, parts", [
    (Steps(), Steps(antialias=False), ("antialias",)),
    (Steps("bicubic", antialias=False), Steps("bicubic", antialias=False), ("resize filter",)),
    (Steps("bicubic"), Steps("bilinear"), ("resize filter",)),
    (Steps("nearest", antialias=False), Steps("nearest", antialias=False), ("resize filter",)),
    (Steps(scaling="caffe_rgb"), Steps(scaling="caffe"), ("channel order",)),
    (Steps(scaling="unit"), Steps(scaling="tf"), ("scaling",)),
    (Steps(scaling="imagenet"), Steps(scaling="half"), ("mean and deviation",)),
    (Steps(scaling="unit"), Steps(scaling="tf", antialias=False), ("antialias", "scaling")),
])  # fmt: skip
def test_the_part_that_differs_is_named(torch, tensorflow, parts):
    found, why = told(torch, tensorflow)
    assert found == parts
    assert all(f"{part} (torch: " in why for part in parts) and "it vanishes (mse" in why


def test_nothing_is_named_where_a_side_did_something_else():
    shifted = np.roll(applied(PICTURES, SIZE, account(Steps(), "torch")), 1, axis=3)
    parts, why = told(Steps(), Steps(antialias=False), ours=shifted.astype(np.float32))
    assert parts == () and "torch's result is not what its steps say" in why
    parts, why = told(Steps(), Steps(antialias=False), theirs=shifted.astype(np.float32))
    assert parts == () and "TensorFlow's result" in why


def test_rounding_to_eight_bits_costs_less_than_a_band():
    sides = [
        applied(PICTURES, SIZE, account(Steps(rounded=rounded), "torch"))
        for rounded in (True, False)
    ]
    found = compare({"image": sides[0]}, {"image": sides[1]})
    assert band(found)[0] in PASSING and found.mse > 0


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("antialias", (True, False))
def test_each_pixel_is_a_mean_of_pixels_and_the_same_size_changes_nothing(kernel, antialias):
    for before, after in ((90, 32), (7, 23), (5, 1)):
        matrix = resize_matrix(before, after, kernel, antialias)
        assert matrix.shape == (after, before) and matrix.sum(1) == pytest.approx(1)
    assert resize_matrix(9, 9, kernel, antialias) == pytest.approx(np.eye(9))


def test_antialias_is_for_pictures_that_shrink():
    grown = [resize_matrix(9, 20, "triangle", antialias) for antialias in (True, False)]
    assert np.array_equal(*grown)
    shrunk = [resize_matrix(20, 9, "triangle", antialias) for antialias in (True, False)]
    assert not np.allclose(*shrunk)


@pytest.mark.parametrize("picture, inputs, said", [
    (Preprocessing("photo", Steps(), Steps()), {}, "'photo'.*no input"),
    (Preprocessing("image", Steps(), Steps()), {"image": Tensor("batch", 3, "height", 24)},
     "height and width as numbers"),
    (Preprocessing("image", Steps(), Steps()), {"image": Tensor("batch", 1, 32, 24)},
     "3 channels"),
])  # fmt: skip
def test_a_picture_without_its_place_is_refused(picture, inputs, said):
    given = {"image": Tensor("batch", 3, 32, 24), **inputs}
    sizes = {"height": (32, 40)} if "height" in given["image"].dims else {}
    with pytest.raises(ValueError, match=said), collect():
        model(picture=picture, sizes=sizes, **given)


@pytest.mark.parametrize("steps", [
    {"resize": "lanczos"}, {"scaling": "zero"}, {"resize": "nearest", "antialias": True},
])  # fmt: skip
def test_unknown_steps_are_refused(steps):
    with pytest.raises(ValueError):
        Steps(**steps)


def test_a_model_that_takes_pictures_is_planned_on_the_ways_to_tensorflow_alone():
    one = {"name": "one", "precision": "float32", "tier": "smoke", "file": "a.py",
           "twin": {"weights": True, "chain": False}, "picture": True}  # fmt: skip
    every = routes.routes(hops.builtin(), runtimes.builtin())
    found = {p.cell.route for p in plan({"s": Zoo({"one": one}, {})}, every, "cpu", "full")}
    assert {"torch-eager", "manual-tf", "dynamo-onnx2tf-litert"} <= found
    assert not [name for name in found if name.endswith(("-ort", "compile"))]


def test_no_route_is_blamed_for_what_stopped_before_it():
    def row(model, stage, verdict, **more):
        return {"version_set": "s", "device": "cpu", "precision": "float32", "model": model,
                "route": "manual-tf", "hops": "manual", "family": "pictures", "stage": stage,
                "verdict": verdict, **more}  # fmt: skip

    rows = [
        row("alike", "compare", "excellent", preprocess_mse=1e-12),
        row("order", "preprocess", "investigate", kind="preprocessing", preprocess_mse=0.4,
            preprocess_differs="channel order", preprocess_top1_agreement=0.25),
    ]  # fmt: skip
    (rate,) = statistics.rates(rows)
    assert (rate.passed, rate.attempted, rate.planned) == (1, 1, 2)
    assert silent.silent_faults(rows) == {"pictures": []}
    (judged,) = [one for one in claims.judge({"s": rows}) if one.claim == "preprocessing"]
    assert judged.verdict == "holds for order"
    assert judged.figure == (
        "1 of 2 pairs differ beyond the bands: channel order (best class stays on 25%)"
    )
    (silent_set,) = [one for one in claims.judge({"s": []}) if one.claim == "preprocessing"]
    assert silent_set.verdict == claims.NOT_MEASURED


@pytest.mark.parametrize("scale", [1 / 255, 1.0, 255.0])
def test_the_unit_of_an_input_decides_nothing(scale):
    """Rounding to 8 bits passes, and another mean does not, whatever the values run to."""
    ours = np.random.default_rng(3).uniform(0, 1, (2, 3, 8, 6)) * scale
    assert judged(ours, np.round(ours / scale * 255) / 255 * scale) in PASSING
    assert judged(ours, ours + 0.1 * scale) == "investigate"
    assert judged(ours, ours) == "excellent"
