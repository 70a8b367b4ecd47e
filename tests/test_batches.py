"""Answers batch by batch, with arrays alone; the arithmetic of running statistics, and what becomes
of a training that ends in NaN."""

from __future__ import annotations

import types

import numpy as np
import pytest

from switchyard import wire
from switchyard.routes import Route
from switchyard.runner.asked import CellUnderTest
from switchyard.runner.plan import Planned
from switchyard.tables import schema
from switchyard.vocabulary import Cell, Outcome
from switchyard.worker import asking, batches, jobs, training
from switchyard.worker.layers import initialiser_fault
from switchyard.worker.reference import task_accuracy

RNG = np.random.default_rng(3)
IMAGES, LABELS = RNG.standard_normal((130, 4)).astype("float32"), RNG.integers(0, 4, 130)


def plain(inputs):
    return {"output": inputs["image"] * 2}


def by_the_batch(inputs):
    """As a net in train mode answers: normalised by what it is asked together with."""
    image = inputs["image"]
    return {"output": (image - image.mean(0)) * 2}


TASK = types.SimpleNamespace(examples=lambda: ({"image": IMAGES}, LABELS))


def written(folder, run):
    """The reference of a model whose answers in torch are those of ``run``."""
    batches.write(types.SimpleNamespace(task=TASK), run, folder)

    def read(what):
        return lambda name: wire.load_tensors(folder / f"{name}.{what}.tensors")

    return types.SimpleNamespace(folder=folder, inputs=read("inputs"), outputs=read("outputs"))


@pytest.fixture
def reference(tmp_path):
    return written(tmp_path, plain)


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


def test_a_second_output_of_nan_is_not_hidden_by_a_first_that_agrees(tmp_path):
    def two(inputs, factor=1.0):
        return {**plain(inputs), "other": inputs["image"] * factor}

    figures = []
    fields = batches.ask(lambda x: two(x, np.nan), written(tmp_path, two), figures)
    errors = ("batch1_mse", "batch64_mse", "split_mse_mean", "split_mse_worst")
    assert [fields[name] for name in errors] == [None] * 4 and figures == []
    assert fields["batch64_accuracy"] is not None  # that is the first output's


def test_nan_hits_no_label_of_the_task_either():
    entry = types.SimpleNamespace(task=TASK)
    right = float((IMAGES.argmax(-1) == LABELS).mean())
    assert task_accuracy(entry, plain) == task_accuracy(entry, plain, batch=7) == right
    assert task_accuracy(entry, lambda x: {"output": x["image"] * np.nan}) == 0.0


def test_an_artefact_of_one_batch_size_is_asked_all_labelled_examples_too():
    """130 of them by four: the last batch would have two."""
    sizes = []

    def by_four(inputs):
        sizes.append(len(inputs["image"]))
        if sizes[-1] != 4:
            raise ValueError("batch")
        return plain(inputs)

    entry = types.SimpleNamespace(task=TASK, sizes={"batch": (4, 8)})
    asked = types.SimpleNamespace(run=by_four, model=types.SimpleNamespace(entry=entry))
    assert asking._task(asked, {}) == float((IMAGES.argmax(-1) == LABELS).mean())
    assert sizes == [4] * 33


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


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("statistic", ["moving_mean", "moving_variance"])
def test_a_statistic_that_turned_nan_is_not_taken_for_one_without_an_error(statistic, place):
    norms = [norm(0.9), norm(0.9)]
    setattr(norms[place].keras, statistic, Held([np.nan]))
    assert np.isnan(training.errors(norms)["running_unexplained"])
    with pytest.raises(training.NotFinite, match="after 100 steps: running_.*unexplained"):
        training.finite_errors(norms, 100)


def test_a_channel_that_never_varied_and_is_the_same_on_both_sides_has_no_error():
    still = norm(0.9)
    nought = Held([0.0])
    still.torch.running_mean = still.torch.running_var = nought
    still.keras.moving_mean = still.keras.moving_variance = nought
    still.variance = np.zeros(1)
    still.batches = [(count, 0 * mean, 0 * variance) for count, mean, variance in still.batches]
    assert set(training.finite_errors([still], 1).values()) == {0.0}


def test_a_training_that_ended_in_nan_fails_its_suite_and_is_not_skipped_as_unmeasured(monkeypatch):
    """From the worker's job to the suite's item; what is fake is the model, and the run's store."""

    def train(job):
        lost = norm(0.9)
        lost.keras.moving_mean = Held([np.nan])
        found = training.finite_errors([lost], 100)
        return {"fields": {f"{name}_100": value for name, value in found.items()}, "figures": []}

    def do(version_set, environment, job, stage):
        return types.SimpleNamespace(result=jobs.run(job), outcome=None)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    row = dict.fromkeys(schema.NAMES)
    hop = types.SimpleNamespace(name="manual", environment="core", preloads=[])
    options = {"--tier": "quick", "--version-set": [], "--zoo": [], "--hop": []}
    run = types.SimpleNamespace(
        resumed=frozenset(), hops={"manual": hop}, hop_files=(),
        yard=types.SimpleNamespace(
            reference=lambda planned: types.SimpleNamespace(folder=""), lost=lambda planned: None
        ),
        progress=types.SimpleNamespace(watch=lambda text: lambda: None),
        crew=types.SimpleNamespace(do=do),
        folder=types.SimpleNamespace(row=lambda cell: row, update=lambda cell, **f: row.update(f)),
        answer=lambda planned: Outcome("compare", "excellent"),
        config=types.SimpleNamespace(getoption=lambda name: options.get(name)),
    )  # fmt: skip
    planned = Planned(Cell("set", "cpu", "float32", "digits", "manual-tf"),
                      Route("manual-tf", ("manual",), "tf", "quick"),
                      {"precision": "float32", "file": "digits.py"})  # fmt: skip
    with pytest.raises((pytest.fail.Exception, pytest.skip.Exception), match="non-finite") as ended:
        CellUnderTest(run, planned).trains_as_torch_does()
    assert ended.type is pytest.fail.Exception
    assert row["measure_kind"] == "non-finite" and row["running_unexplained_100"] is None


def test_a_node_that_normalises_by_the_batch_at_hand_says_so():
    one = dict(mean=np.zeros(3), variance=np.ones(3), gamma=np.arange(3.0), beta=np.arange(3.0),
               epsilon=1e-5)  # fmt: skip
    assert initialiser_fault(one, [one]) == ""
    assert "batch at hand" in initialiser_fault(one, [{**one, "training": True}])
