"""The roads from torch that need no ONNX: which tensor is which, what narrowed, what is refused,
and that their side environments hold the same torch as the core."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from switchyard import hops
from switchyard.hops import litert_torch, torch_program, torchax
from switchyard.manifest import Manifest
from switchyard.runner import environments, locking, version_sets
from switchyard.runner.crew import Crew
from switchyard.runner.workers import Limits
from switchyard.worker import jobs
from switchyard.worker.arguments import Misnamed
from switchyard.worker.blame import outcome_of

LITERT, TORCHAX, NOBUCO, KERAS_HUB = (
    hops.builtin()[name] for name in ("litert-torch", "torchax", "nobuco", "keras-hub")
)


@pytest.fixture
def torch_of_names(monkeypatch):
    """What ``dynamic_shapes`` wants of torch."""
    dim = SimpleNamespace(DYNAMIC="open")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(export=SimpleNamespace(Dim=dim)))


def test_only_declared_dimensions_are_dynamic(torch_of_names):
    shapes = torch_program.dynamic_shapes({"x": ("batch", 3, "length"), "scale": (4,)})
    assert shapes == {"x": {0: "open", 2: "open"}, "scale": {}}
    assert torch_program.dynamic_shapes({"x": (2, 3)}) is None


def test_where_open_sizes_fail_fixed_ones_are_taken_and_said(torch_of_names):
    asked = []

    def convert(shapes):
        asked.append(shapes)
        if shapes is not None:
            raise TypeError("not a concrete size\nwhile tracing /somebody/s/file.py")

    facts = torch_program.dynamic_or_fixed({"x": ("batch", 3)}, convert)
    assert asked == [{"x": {0: "open"}}, None]
    reason = "TypeError: not a concrete size"  # and no path: tables are published
    assert facts == {"dynamic": "specialised", "dynamic_reason": reason}

    asked.clear()
    assert torch_program.dynamic_or_fixed({"x": (2, 3)}, convert) == {"dynamic": "declared"}
    assert asked == [None]


def test_what_fails_with_fixed_sizes_too_is_blamed_for_that_alone(torch_of_names):
    def convert(shapes):
        if shapes is not None:
            raise ValueError("Constraints violated")
        raise RuntimeError("Lowering not found: aten.sort.default")

    with pytest.raises(RuntimeError) as caught:
        torch_program.dynamic_or_fixed({"x": ("batch", 3)}, convert)
    outcome = outcome_of(caught.value, "convert:litert-torch", LITERT.refusals)
    assert (outcome.kind, outcome.verdict) == ("unsupported-operator", "refused")
    assert caught.value.__context__ is None


def test_inputs_come_in_the_order_of_forwards_parameters():
    def forward(first, second, third=None):
        pass

    assert torch_program.argument_order(forward, ["second", "first"]) == ["first", "second"]
    with pytest.raises(Misnamed, match="'other'; did you mean third"):
        torch_program.argument_order(forward, ["second", "other"])
    by_place = (lambda *inputs: None), (lambda first, second, /: None)
    assert all(torch_program.argument_order(one, ["b", "a"]) == ["b", "a"] for one in by_place)
    assert torch_program.argument_order(object(), ["b", "a"]) == ["b", "a"]  # a scripted one

    def by_keyword(input, *, low=None, high=None, **rest):
        pass

    paths = ["other", "high", "input", "low"]
    order = ["input", "low", "high", "other"]
    assert torch_program.argument_order(by_keyword, paths) == order
    assert torch_program.argument_order(by_keyword, ["high", "input"]) == ["input", "high"]


def test_an_output_that_holds_nothing_is_no_dynamic_file():
    """What litert-torch writes where a lowering took the open batch for a number, and LiteRT then
    fails on; fixed sizes are tried next."""
    full, empty = np.zeros((2, 5)), np.zeros((0, 5))
    litert_torch.require_sizes([("output_0", "float32", (None, 5))], {"output": full})
    litert_torch.require_sizes([("output_0", "float32", (0, 5))], {"output": empty})
    with pytest.raises(ValueError, match="output_1 is written with a size of 0"):
        litert_torch.require_sizes(
            [("output_0", "float32", (2, 5)), ("output_1", "float32", (0, 5))],
            {"output_0": full, "output_1": full},
        )


def test_litert_torch_names_arguments_by_place_and_outputs_by_place_or_key():
    assert litert_torch.input_names(["a", "b", "c"], 2) == {"a": "args_0", "b": "args_1", "c": "c"}

    def found(*names):
        return [(name, "float32", (2,)) for name in names]

    assert litert_torch.output_names(["output"], found("output_0")) == {"output": "output_0"}
    several = [f"output_{place}" for place in range(11)]
    assert litert_torch.output_names(several, found(*sorted(several))) == {n: n for n in several}
    keys = litert_torch.output_names(["low", "high"], found("high", "low"))
    assert keys == {"low": "low", "high": "high"}


def test_integers_that_narrowed_are_undone_and_floats_are_only_said():
    arrays = {"ids": np.zeros(2, np.int64), "x": np.zeros(2), "mask": np.zeros(2, bool),
              "gone": np.zeros(2)}  # fmt: skip
    names = {"ids": "args_0", "x": "args_1", "mask": "args_2", "gone": "args_3"}
    found = [("args_0", "int32", (2,)), ("args_1", "float32", (2,)), ("args_2", "bool", (2,))]
    notes = torch_program.notes(arrays, names, found)
    manifest = Manifest({}, notes, notes)
    fed = manifest.feeds(arrays)
    assert {name: array.dtype.name for name, array in fed.items()} == {
        "args_0": "int32", "args_1": "float64", "args_2": "bool"}  # fmt: skip
    answers = {"args_0": np.ones(2, np.int32), "args_1": np.ones(2, np.float32)}
    back = manifest.results(answers)
    assert {path: array.dtype.name for path, array in back.items()} == {
        "ids": "int64", "x": "float32"}  # fmt: skip
    assert torch_program.narrowed(arrays, names, found) == {
        "ids": "int64 -> int32", "x": "float64 -> float32"}  # fmt: skip


def test_only_overloads_that_torch_lacks_are_declared():
    declared = []

    class Operators:
        def __getattr__(self, name):
            have = {"prod": ["default", "dim_Dimname"], "all": ["default", "dimname"]}
            return SimpleNamespace(overloads=lambda: have.get(name, ["default"]))

    def library(namespace, kind):
        assert (namespace, kind) == ("aten", "FRAGMENT")
        return SimpleNamespace(define=declared.append)

    torch = SimpleNamespace(
        library=SimpleNamespace(Library=library), ops=SimpleNamespace(aten=Operators())
    )
    _, lacking = torchax.declare(torch)
    assert set(torchax.OVERLOADS) - set(lacking) == {"prod.dim_Dimname", "all.dimname"}
    assert declared == [f"{name}(Tensor self) -> Tensor" for name in lacking]


def test_sizes_and_what_holds_of_them_are_told_as_jax_wants_them():
    assert torchax._polymorphic(("s0", 3, "2*s0")) == "(s0, 3, 2*s0)"
    assert torchax._polymorphic(("s0",)) == "(s0,)" and torchax._polymorphic(()) == "()"
    between = {"s0": SimpleNamespace(lower=0, upper=2**63), "s1": SimpleNamespace(lower=2, upper=9)}
    program = SimpleNamespace(range_constraints=between)
    assert torchax._constraints(program) == ("s0 >= 1", "s1 >= 2", "s1 <= 9")


@pytest.mark.parametrize("error, platforms", [
    (None, [("cpu", "cuda")]),
    (NotImplementedError("'eigh' not found for platform cuda"), [("cpu", "cuda"), ("cpu",)]),
])  # fmt: skip
def test_a_saved_model_is_lowered_for_the_card_too_where_jax_can(error, platforms):
    asked = []

    def save(which):
        asked.append(which)
        if error and "cuda" in which:
            raise error

    facts = torchax.for_all_or_the_cpu(save)
    assert asked == platforms and facts["platforms"] == list(platforms[-1])
    assert ("platforms_reason" in facts) == bool(error)


def test_what_has_nothing_to_do_with_the_platform_is_raised_at_once():
    def save(which):
        raise NotImplementedError("dynamic shapes of this operator")

    with pytest.raises(NotImplementedError, match="dynamic shapes"):
        torchax.for_all_or_the_cpu(save)


@pytest.mark.parametrize(
    "hop, error, kind, operator",
    [
        (LITERT, RuntimeError("Lowering not found: aten.fft_rfft.default"),
         "unsupported-operator", "aten.fft_rfft.default"),
        (TORCHAX, AssertionError("aten.fake_quantize.default"),
         "unsupported-operator", "aten.fake_quantize.default"),
        (TORCHAX, AssertionError("switchyard.signed_root.default\n\nWhile executing %signed_root"),
         "unsupported-operator", ""),
        (TORCHAX, AssertionError("a shape is wrong\naten.add.Tensor"), "unexplained", ""),
        (LITERT, RuntimeError("Unsupported ir element type: complex<f32>"),
         "unsupported-dtype", ""),
        (LITERT, KeyError("torch.complex64 While executing %view"), "unsupported-dtype", ""),
        (LITERT, TypeError("Got unsupported ScalarType BFloat16"), "unsupported-dtype", ""),
        (NOBUCO, AttributeError("'UnimplementedOpStub' object has no attribute 'reset_states'"),
         "unsupported-operator", ""),
        (KERAS_HUB, KeyError("vgg16_bn"), "unsupported-operator", ""),
        (KERAS_HUB, ValueError("Currently, the architecture resnet10t is not supported."),
         "unsupported-operator", ""),
        (KERAS_HUB, KeyError("somewhere else"), "unexplained", ""),
        (TORCHAX, AssertionError("a shape is wrong"), "unexplained", ""),
        (TORCHAX, AssertionError("expected to have an entirely functional graph, but found %detach_ "
                                 ": [num_users=0] = call_function[target=torch.ops.aten.detach_"
                                 ".default](args = (%lift_fresh_copy,), kwargs = {})"),
         "unexplained", ""),
        (TORCHAX, RuntimeError("aten.add ran out of luck"), "unexplained", ""),
    ],
)  # fmt: skip
def test_what_they_cannot_carry_is_a_refusal_that_names_it(hop, error, kind, operator):
    outcome = outcome_of(error, f"convert:{hop.name}", hop.refusals)
    assert (outcome.kind, outcome.operator) == (kind, operator)
    assert outcome.verdict == ("refused" if kind != "unexplained" else "failed")


#: What decides which model it is that a hop from torch converts.
OF_THE_MODEL = ("torch", "transformers", "scikit-learn", "numpy")


def test_where_torch_is_beside_the_core_it_is_the_cores():
    """The reference is made in the core, so that another torch would be judged for its model."""
    sides = {hop.environment for hop in hops.builtin().values() if hop.source == "torch"}
    checked = 0
    for set_ in version_sets.version_sets().values():
        if set_.folder is None or not set_.fixed:
            continue
        core = locking.pins(set_.lock("core").read_text())
        for side in sides & set_.environments.keys() - {"core"}:
            beside = locking.pins(set_.lock(side).read_text())
            for name in OF_THE_MODEL:
                assert beside[name].version == core[name].version, (set_.name, side, name)
                checked += 1
    assert checked >= 2 * len(OF_THE_MODEL)


@pytest.mark.parametrize("environment", ["litert-torch", "torchax"])
def test_a_set_without_the_environment_has_rows_that_say_so(environment, tmp_path):
    crew = Crew(None, tmp_path, tmp_path, Limits(1, 1), {}, lambda text: None)
    outcome = crew.environment("torch2.5-tf2.18", environment)
    assert (outcome.stage, outcome.verdict) == ("resolve", "unavailable")
    assert outcome.kind == "missing-dependency"
    start = f"version set torch2.5-tf2.18, environment {environment}: not set up: {environment}"
    assert outcome.message.startswith(start)
    with pytest.raises(environments.NotDeclared):
        environments.provision("torch2.5-tf2.18", environment)


def test_every_set_says_of_every_hop_with_an_environment_of_its_own_why_it_has_none():
    wanted = {hop.environment for hop in hops.builtin().values()} - {""}
    for set_ in version_sets.version_sets().values():
        if set_.name != "current":
            missing = wanted - {*set_.environments, *set_.absent}
            assert not missing, (set_.name, missing)


def test_an_environment_that_nobody_speaks_of_is_said_too():
    set_ = version_sets.find("torch2.5-tf2.18")
    with pytest.raises(environments.NotDeclared, match="none of that name, but core and onnx2tf"):
        environments.provision(set_, "elsewhere")


def test_a_model_that_cannot_be_built_in_the_side_environment_is_unavailable(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("TMPDIR", raising=False)
    """The core could: this environment lacks what the model needs, which is not the hop's."""
    (tmp_path / "reference.json").write_text(json.dumps({"outputs": [], "probes": []}))
    zoo = tmp_path / "needy.py"
    zoo.write_text("import a_distribution_that_nobody_has\n")
    done = jobs.run({"do": "convert", "hop": "litert-torch", "hop_files": [], "file": str(zoo),
                     "model": "needy", "reference": str(tmp_path), "target": str(tmp_path),
                     "source": None, "dims": {}})  # fmt: skip
    outcome = done["outcome"]
    assert (outcome["stage"], outcome["verdict"]) == ("build", "unavailable")
    assert outcome["kind"] == "missing-dependency"
    # a refusal is kept until one of the project's files that its process imported has changed
    assert any(path.endswith("models_zoo/entry.py") for path in done["sources"])


@pytest.mark.parametrize("name", ["litert-torch", "torchax"])
def test_what_both_roads_share_is_part_of_their_artefacts_keys(name):
    names = {file.rpartition("/")[2] for file in hops.builtin()[name].files}
    assert {"torch_program.py", "onnx_io.py"} <= names
    assert not {"onnx2tf.py", "torch_onnx.py"} & names


def test_a_transfer_of_weights_is_made_anew_where_the_matching_changes():
    names = {file.rpartition("/")[2] for file in hops.builtin()["weight-transfer"].files}
    assert {"weight_transfer.py", "manual.py", "weight_flow.py", "weight_matching.py",
            "weight_sides.py"} <= names  # fmt: skip
