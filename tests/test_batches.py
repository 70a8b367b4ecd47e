"""Answers batch by batch, with arrays alone; the arithmetic of running statistics."""

from __future__ import annotations

import types

import numpy as np
import pytest

from switchyard import wire
from switchyard.worker import batches, training
from switchyard.worker.layers import initialiser_fault

RNG = np.random.default_rng(3)
IMAGES, LABELS = RNG.standard_normal((130, 4)).astype("float32"), RNG.integers(0, 4, 130)


def plain(inputs):
    return {"output": inputs["image"] * 2}


def by_the_batch(inputs):
    """As a net in train mode answers: normalised by what it is asked together with."""
    image = inputs["image"]
    return {"output": (image - image.mean(0)) * 2}


@pytest.fixture
def reference(tmp_path):
    task = types.SimpleNamespace(examples=lambda: ({"image": IMAGES}, LABELS))
    batches.write(types.SimpleNamespace(task=task), plain, tmp_path)

    def read(what):
        return lambda name: wire.load_tensors(tmp_path / f"{name}.{what}.tensors")

    return types.SimpleNamespace(folder=tmp_path, inputs=read("inputs"), outputs=read("outputs"))


def test_an_honest_route_has_no_error_at_any_size_and_torchs_accuracy(reference):
    figures = []
    fields = batches.ask(plain, reference, figures)
    right = float((IMAGES.argmax(-1) == LABELS).mean())
    assert fields.pop("batch1_accuracy") == fields.pop("batch64_accuracy") == right
    assert fields == dict.fromkeys(
        ("batch1_mse", "batch64_mse", "split_mse_mean", "split_mse_worst"), 0.0
    )
    assert [one["condition"] for one in figures] == [f"test-split-{i:03d}" for i in range(3)]


def test_what_normalises_by_the_batch_is_worst_alone_and_in_the_last_small_batch(reference):
    figures = []
    fields = batches.ask(by_the_batch, reference, figures)
    alone = float(np.mean((2 * IMAGES[:64].astype(float)) ** 2))
    assert fields["batch1_mse"] == pytest.approx(alone)
    assert fields["batch64_mse"] < 0.2 * alone
    errors = [one["value"] for one in figures]
    assert fields["split_mse_worst"] == max(errors) == errors[-1]
    assert fields["split_mse_mean"] == pytest.approx(np.mean(errors))
    assert fields["batch1_accuracy"] == float((LABELS == 0).mean())  # all scores are zero


def test_a_size_that_is_refused_leaves_its_columns_empty_and_no_others(reference):
    def only_one(inputs):
        if len(inputs["image"]) > 1:
            raise ValueError("batch")
        return plain(inputs)

    fields = batches.ask(only_one, reference, [])
    assert fields["batch1_mse"] == 0.0 and fields["batch1_accuracy"] is not None
    assert {fields[n] for n in ("batch64_mse", "split_mse_mean", "batch64_accuracy")} == {None}


def test_nan_is_no_error_that_could_be_told_and_hits_no_label(reference):
    fields = batches.ask(lambda x: {"output": x["image"] * np.nan}, reference, [])
    assert fields["batch64_mse"] is None and fields["split_mse_worst"] is None
    assert fields["batch64_accuracy"] == 0.0


class Held:
    """What torch's and Keras's tensors have in common here."""

    def __init__(self, value):
        self.value = np.asarray(value, np.float64)

    def numpy(self):
        return self.value


def norm(keras_momentum, factor=1.0, off=0.0):
    """Three steps of one channel: torch's momentum 0.1 and unbiased variance, ``factor`` being
    n/(n-1), and Keras's, ``off`` beside what it should be."""
    means, variances, start = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], (0.0, 1.0)
    given = [(16, np.array([m]), np.array([v])) for m, v in zip(means, variances)]
    share = 1 - keras_momentum
    ours = types.SimpleNamespace(
        momentum=0.1,
        running_mean=Held([training.moved(start[0], means, 0.1)]),
        running_var=Held([training.moved(start[1], [factor * v for v in variances], 0.1)]),
    )
    theirs = types.SimpleNamespace(
        momentum=keras_momentum,
        moving_mean=Held([training.moved(start[0], means, share) + off]),
        moving_variance=Held([training.moved(start[1], variances, share)]),
    )
    return training.Norm(ours, theirs, np.array([start[0]]), np.array([start[1]]), given)


def test_statistics_move_by_the_share_of_the_new():
    assert training.moved(np.array([0.0]), [np.array([1.0]), np.array([1.0])], 0.1) == [0.19]


def test_with_momentum_converted_only_the_unbiased_factor_is_left():
    found = training.errors([norm(0.9, factor=16 / 15)])
    assert found["running_mean_error"] < 1e-12 and found["running_unexplained"] < 1e-12
    assert found["running_var_error"] > 0.01 and found["running_var_biased_error"] < 1e-12


def test_another_momentum_is_an_error_that_is_explained_and_anything_else_is_not():
    found = training.errors([norm(0.9), norm(0.99)])
    assert found["running_mean_error"] > 0.1 and found["running_unexplained"] < 1e-12
    assert training.errors([norm(0.9, off=0.5)])["running_unexplained"] > 0.1


def test_a_node_that_normalises_by_the_batch_at_hand_says_so():
    one = dict(mean=np.zeros(3), variance=np.ones(3), gamma=np.arange(3.0), beta=np.arange(3.0),
               epsilon=1e-5)  # fmt: skip
    assert initialiser_fault(one, [one]) == ""
    assert "batch at hand" in initialiser_fault(one, [{**one, "training": True}])
