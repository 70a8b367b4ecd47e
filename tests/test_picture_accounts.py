"""What the parts of preprocessing are explained with is what the frameworks themselves do, in the
default set's environment."""

from __future__ import annotations

import json

import pytest
from default_set import said_by

STEPS = {
    "bilinear": {},
    "bilinear without antialias": {"antialias": False},
    "bicubic": {"resize": "bicubic"},
    "bicubic without antialias": {"resize": "bicubic", "antialias": False},
    "nearest": {"resize": "nearest", "antialias": False},
    "rounded": {"rounded": True},
    **{f"scaled as {name}": {"scaling": name}
       for name in ("unit", "imagenet", "half", "tf", "caffe", "caffe_rgb")},
}  # fmt: skip

#: Above float32's rounding: to 8 bits a value at a half may go to either side, and TensorFlow's
#: cubic kernel is read from a table of 1,024 places (kTableSize of its resize_bicubic_op.cc).
ROOM = {
    ("rounded", "torch"): 1e-6,
    ("rounded", "tensorflow"): 1e-6,
    ("bicubic without antialias", "tensorflow"): 1e-7,
}

EXPLAINED = """
import json, sys
import numpy as np
from models_zoo.preprocessing import Steps
from switchyard.worker.picture_parts import account, applied
from switchyard.worker.preprocessing import by_tensorflow, by_torch, drawn_pictures

pictures, size, found = drawn_pictures(90, 70, 4), (32, 24), {}
for name, given in json.loads(sys.argv[1]).items():
    steps = Steps(**given)
    for side, does in (("torch", by_torch), ("tensorflow", by_tensorflow)):
        it = does(pictures, steps, size).astype(float)
        said = applied(pictures, size, account(steps, side))
        found[f"{name}, {side}"] = float(np.mean((it - said) ** 2) / np.var(it))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    """nmse of what each framework does from what its account says, by steps and side."""
    return said_by(EXPLAINED, tmp_path_factory.mktemp("pictures"), json.dumps(STEPS))


@pytest.mark.parametrize("side", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", STEPS)
def test_an_account_is_what_the_framework_does(parted, name, side):
    assert parted[f"{name}, {side}"] < ROOM.get((name, side), 1e-10)
