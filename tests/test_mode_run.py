"""Two mistakes with BatchNorm and the mode on the digits, in one real run."""

from __future__ import annotations

from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[1] / "models_zoo" / "digits.py"
SUITES = ("conversion", "accuracy", "training")
PRESERVED, COPIED = "digits-torchscript_preserve_train-ort", "digits-manual_copied_momentum-tf"


@pytest.fixture(scope="module")
def run(bench):
    routes = [name.partition("-")[2] for name in (PRESERVED, COPIED)]
    return bench("--zoo", DIGITS, "--model", "digits",
                 *(word for route in routes for word in ("--route", route)),
                 files=[f"bench/test_{suite}.py" for suite in SUITES])  # fmt: skip


def test_an_artefact_left_in_train_mode_is_told_and_the_model_it_was_made_from_has_changed(run):
    row = run.rows[PRESERVED]
    assert run.outcome(PRESERVED) == ("compare", "channel-affine", "investigate"), row
    assert "batch at hand" in row["message"] and row["source_changed"] == "buffers"
    assert float(row["batch1_mse"]) > 2 * float(row["batch64_mse"]) > 1e-3
    assert float(row["split_mse_worst"]) > float(row["split_mse_mean"]) > 1e-3
    assert float(row["batch1_accuracy"]) < float(row["task_accuracy_native"])


def test_momentum_changes_no_answer_and_every_running_statistic(run):
    row = run.rows[COPIED]
    assert row["verdict"] == "excellent" and row["source_changed"] == "no"
    assert row["batch1_accuracy"] == row["batch64_accuracy"] == row["task_accuracy_native"]
    assert float(row["running_var_error_100"]) > 1e-2 > 1e-4 > float(row["running_unexplained_100"])


def test_training_is_asked_of_cells_that_can_be_trained_alone(run):
    # three cells of two suites, one of a third; torch-eager's own row is not asked about
    assert "collected 5 items" in run.output
    assert run.status == 0, run.output
    assert not run.rows[PRESERVED]["running_mean_error_1"]
