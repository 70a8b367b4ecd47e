"""Planted faults: each is caught, named with the right kind, and hurts no neighbour."""

from __future__ import annotations

from pathlib import Path

import pytest

PLANTED = Path(__file__).parent / "planted"

#: fault -> the model it is planted in, and the stage, kind and verdict it must be given.
FAULTS = {
    "bn_swapped": ("conv_bn", "compare", "channel-affine", "investigate"),
    "bn_epsilon": ("conv_bn", "compare", "channel-affine", "investigate"),
    "bn_forgotten": ("conv_bn", "compare", "channel-affine", "investigate"),
    "clip_lost": ("clipped", "compare", "unexplained", "investigate"),
    "norm_epsilon": ("normed", "compare", "precision", "investigate"),
    "nhwc_flatten": ("flattened", "compare", "layout-permuted", "investigate"),
    "constant_branch": ("branch", "compare", "constant-baked", "investigate"),
    "constant_count": ("loop", "compare", "constant-baked", "investigate"),
    "all_zero": ("mlp", "compare", "constant-output", "investigate"),
    "swapped": ("two_outputs", "compare", "output-structure", "investigate"),
    "missing": ("two_outputs", "compare", "output-structure", "investigate"),
    "narrowed_inside": ("mlp64", "compare", "precision", "investigate"),
    "narrowed_output": ("mlp64", "compare", "dtype", "investigate"),
    "nan_once": ("mlp", "compare", "non-finite", "investigate"),
    "right_once": ("mlp", "compare", "unstable-across-runs", "investigate"),
    "truncated": ("mlp", "load", "invalid-graph", "failed"),
    "segfaults": ("mlp", "convert:segfaults", "crash", "failed"),
    "exits": ("mlp", "convert:exits", "no-result", "failed"),
    "kills_server": ("mlp", "convert:kills_server", "crash", "failed"),
    "babbles": ("mlp", "compare", "", "excellent"),
    "leaves_child": ("mlp", "compare", "", "excellent"),
}

#: Models whose reference says nothing: no route is to blame.
VOID = ("nan_reference", "restless_reference")

#: The same models by honest routes, in the same run.
HONEST = [f"{model}-torchscript-ort" for model in (
    "conv_bn", "flattened", "two_outputs", "mlp", "mlp64", "clipped", "normed")]  # fmt: skip
HONEST += ["branch-scripted-ort", "loop-scripted-ort", "conv_bn-dynamo-ort", "mlp-dynamo-ort"]
HONEST += ["square_image-manual-tf", "oblong_image-manual-tf", "square_kernel-manual-tf",
           "last_step-torchscript-ort"]  # fmt: skip

#: Of a model whose entry lists its inputs in another order than ``forward`` does.
REORDERED = ["masked-torchscript-ort", "masked-dynamo-ort", "masked-traced_in_train-ort"]
#: And of one whose ``forward`` takes an input by its name alone.
REORDERED += ["masked_by_name-dynamo-ort", "masked_by_name-traced_in_train-ort"]

#: An artefact that is no ONNX file.
UNSIGNED = "mlp-unsigned-tf"

#: Cells whose fault lies behind what a manifest undoes, and the kind that each must be given.
UNDONE = {
    "square_image-turned_output-tf": "layout-permuted",
    "oblong_image-turned_output-tf": "shape",
    "square_kernel-kernel_as_it_was-tf": "unexplained",
    "last_step-gates_unchanged-ort": "unexplained",
}

#: Cells whose artefact does not take the sizes that its manifest declares dynamic, and what their
#: column ``dynamic`` says.
OTHER_SIZES = {"last_step-fixed_sizes-ort": "failed", "last_step-baked_length-ort": "wrong"}

#: Faults that need a limit of their own, and that limit.
LIMITS = {
    "hangs": ("timeout", ["--stage-timeout", "25"]),
    "eats": ("host-oom", ["--memory-limit", "1500"]),
}


@pytest.fixture(scope="module")
def run(bench):
    cells = [f"{model}-{fault}-ort" for fault, (model, *_) in FAULTS.items()]
    cells += [f"{model}-torchscript-ort" for model in VOID] + HONEST + REORDERED
    cells += [UNSIGNED, *UNDONE, *OTHER_SIZES]
    return bench("--zoo", PLANTED / "zoo.py", "--hop", PLANTED / "hops.py",
                 "--hop", PLANTED / "undone.py", "--tier", "full", *bench.only(*cells))  # fmt: skip


@pytest.fixture(scope="module")
def limited(bench):
    cells = [f"mlp-{fault}-ort" for fault in LIMITS]
    return bench("--zoo", PLANTED / "zoo.py", "--hop", PLANTED / "hops.py", "--tier", "full",
                 *[word for _, words in LIMITS.values() for word in words],
                 *bench.only(*cells, "mlp-torchscript-ort"))  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_given_its_stage_kind_and_verdict(run, fault):
    model, *wanted = FAULTS[fault]
    assert run.outcome(f"{model}-{fault}-ort") == tuple(wanted), run.rows[f"{model}-{fault}-ort"]


@pytest.mark.parametrize("fault, probe", [
    ("clipped-clip_lost-ort", "tenfold"), ("normed-norm_epsilon-ort", "thousandth"),
])  # fmt: skip
def test_what_the_size_of_the_drawn_inputs_hides_shows_at_another(run, fault, probe):
    row = run.rows[fault]
    assert row["worst_probe"] == probe, row
    assert f"on probe {probe!r}, layer '0'" in row["message"], row


@pytest.mark.parametrize("cell", UNDONE)
def test_what_a_manifest_undoes_hides_no_fault_behind_it(run, cell):
    assert run.outcome(cell) == ("compare", UNDONE[cell], "investigate"), run.rows[cell]


@pytest.mark.parametrize("cell", OTHER_SIZES)
def test_sizes_that_an_artefact_does_not_take_are_not_taken_for_dynamic(run, cell):
    assert run.rows[cell]["dynamic"] == OTHER_SIZES[cell], run.rows[cell]
    assert run.rows["last_step-torchscript-ort"]["dynamic"] == "ok"


def test_a_saved_model_without_a_serving_signature_is_an_invalid_artefact(run):
    assert run.outcome(UNSIGNED) == ("load", "invalid-graph", "failed")
    assert "no signature 'serving_default'; it has none at all" in run.rows[UNSIGNED]["message"]


@pytest.mark.parametrize("cell", HONEST)
def test_a_neighbour_of_planted_faults_is_excellent(run, cell):
    assert run.outcome(cell) == ("compare", "", "excellent"), run.rows[cell]


@pytest.mark.parametrize("cell", REORDERED)
def test_inputs_keep_their_names_in_whatever_order_an_entry_lists_them(run, cell):
    assert run.outcome(cell) == ("compare", "", "excellent"), run.rows[cell]


@pytest.mark.parametrize("model", VOID)
def test_an_unusable_reference_is_void_and_blames_no_route(run, model):
    for route in ("torch-eager", "torchscript-ort"):
        assert run.outcome(f"{model}-{route}") == ("reference", "bad-reference", "void")


def test_a_bad_reference_fails_the_run_and_a_fault_without_expectations_does_not(run):
    failures = [line for line in run.output.splitlines() if line.startswith("FAILED bench/")]
    assert run.status == 1
    assert len(failures) == len(VOID), failures
    assert all(any(f":{model}-" in line for model in VOID) for line in failures), failures


def test_every_cell_of_the_run_came_to_its_end(run):
    assert {row["state"] for row in run.rows.values()} == {"done"}


def test_a_message_names_what_is_wrong(run):
    rows = run.rows
    assert "mean and variance swapped" in rows["conv_bn-bn_swapped-ort"]["message"]
    assert "epsilon 0.001" in rows["conv_bn-bn_epsilon-ort"]["message"]
    assert "SIGSEGV" in rows["mlp-segfaults-ort"]["message"]
    assert "output_1" in rows["two_outputs-missing-ort"]["message"]
    assert "second run" in rows["mlp-right_once-ort"]["message"]


@pytest.mark.parametrize("fault", LIMITS)
def test_what_oversteps_a_limit_is_ended_and_named(limited, fault):
    kind, words = LIMITS[fault]
    assert limited.outcome(f"mlp-{fault}-ort") == (f"convert:{fault}", kind, "failed")
    assert words[0] in limited.rows[f"mlp-{fault}-ort"]["message"]


def test_a_neighbour_of_what_oversteps_a_limit_is_excellent(limited):
    assert limited.outcome("mlp-torchscript-ort") == ("compare", "", "excellent")
    assert limited.status == 0


def test_no_process_outlives_a_run(run, limited):
    assert run.left_behind() == []
    assert limited.left_behind() == []
