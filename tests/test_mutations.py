"""Against green by definition: an honest artefact with one thing changed must turn red."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from pathlib import Path

import pytest

from switchyard.runner.expectations import COLUMNS
from switchyard.vocabulary import PASSING

PLANTED = Path(__file__).parent / "planted"
ZOO = Path(__file__).parents[1] / "models_zoo"

#: Models of the built-in zoo, and what is changed in the artefact of each.
MUTATED = {
    "resnet18": "one_weight",
    "vgg": "one_bias",
    "mobilenet_v2": "clips_lost",
    "resize_bilinear_aligned": "attribute_changed",
    "grid_sample_aligned": "attribute_changed",
    "unet": "node_dropped",
    "lstm": "one_weight",
    "gru": "attribute_changed",
    "group_norm": "attribute_changed",
    "sdpa": "attribute_changed",
    "layer_norm": "gammas_lost",
    "vit": "gammas_exchanged",
    "several_inputs_and_outputs": "output_dropped",
    "dict_output": "outputs_swapped",
    "broadcast_sub": "node_turned",
    "flatten_linear": "output_scaled",
    "gelu_erf": "output_shifted",
}
FAMILIES = ("convnets", "recurrent", "norms", "attention", "structure", "layout", "activations",
            "pooling_resize", "sampling")  # fmt: skip


@pytest.fixture(scope="module")
def run(bench, tmp_path_factory):
    """One run in which every cell is expected to pass."""
    folder = tmp_path_factory.mktemp("expectations")
    (folder / "torch2.13-tf2.21-cpu.csv").write_text(",".join(COLUMNS) + "\n")
    zoo = [word for family in FAMILIES for word in ("--zoo", ZOO / f"{family}.py")]
    cells = [f"{model}-torchscript-{change}-ort" for model, change in MUTATED.items()]
    cells += [f"{model}-torchscript-ort" for model in MUTATED]
    report = folder / "report.xml"
    run = bench(*zoo, "--hop", PLANTED / "mutations.py", "--tier", "full", "--precision", "float32",
                "--expectations", folder, f"--junitxml={report}", *bench.only(*cells))  # fmt: skip
    run.red = {
        re.search(r":([a-z0-9_]+-.*)\]", case.get("name")).group(1)
        for case in xml.etree.ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }
    return run


@pytest.mark.parametrize("model", MUTATED)
def test_one_change_turns_the_cell_of_an_honest_artefact_red(run, model):
    honest, mutated = f"{model}-torchscript-ort", f"{model}-torchscript-{MUTATED[model]}-ort"
    assert run.rows[honest]["verdict"] in PASSING and honest not in run.red, run.rows[honest]
    assert run.rows[mutated]["verdict"] in ("investigate", "failed"), run.rows[mutated]
    assert run.rows[mutated]["stage"] in ("load", "run", "compare"), run.rows[mutated]
    assert mutated in run.red


def test_mutations_are_many_and_of_many_kinds():
    assert len(MUTATED) >= 10 and len(set(MUTATED.values())) >= 6


def test_a_run_with_red_cells_fails(run):
    assert run.status == 1
