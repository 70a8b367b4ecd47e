"""``SET+name==version``, and the sets without a lock: what is resolved, when, and who keeps it.

uv is played by ``fake_uv``; nothing here needs the network.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import fake_uv
import pytest

from switchyard.runner import derived, environments, locking, settling, version_sets
from switchyard.runner.expectations import expected
from switchyard.vocabulary import Cell, Outcome, UnknownName

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
SET_TOML = f"""
why = "a test"
python = "{OWN}"
platform = "x86_64-manylinux_2_28"
[environments.core]
why = "a framework and a runtime"
[environments.side]
why = "a converter that brings its own runtime"
"""
INDEX = {
    "framework": {"versions": ["1.0", "1.1", "2.0"], "needs": ["shared"]},
    "tensorflow-cpu": ["2.0", "2.1"],
    "onnxruntime": ["1.0", "1.1"],
    "shared": ["3.0", "3.1"],
    "converter": {"versions": ["5.0"], "needs": ["onnxruntime", "deep"]},
    "deep": ["6.0", "6.1"],
}
CORE_IN = "framework==1.0\nonnxruntime==1.0\n"


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """A folder with one locked set ``base``; afterwards the index has newer versions too."""
    folder = tmp_path / "version_sets"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "set.toml").write_text(SET_TOML)
    (folder / "base" / "core.in").write_text(CORE_IN)
    (folder / "base" / "core.cpu.in").write_text("tensorflow-cpu==2.0\n")
    (folder / "base" / "side.in").write_text("converter==5.0\n")
    old = {**INDEX, "shared": ["3.0"], "deep": ["6.0"], "onnxruntime": ["1.0"]}
    fake_uv.place(tmp_path, monkeypatch, old)
    base = environments.find("base", folder)
    for environment in base.environments:
        locking.relock(base, environment)
    fake_uv.offer(tmp_path, monkeypatch, INDEX)
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def log(sets, tmp_path):
    (tmp_path / "uv.log").write_text("")
    return tmp_path / "uv.log"


def provision(sets: Path, name: str, environment: str = "core", say=lambda line: None):
    return environments.provision(environments.find(name, sets), environment, say)


# Names.


@pytest.mark.parametrize(
    ("given", "canonical", "pins"),
    [
        ("base+shared==3.1", "base+shared==3.1", {"shared": "3.1"}),
        ("base+B_c==2+a==1", "base+a==1+b-c==2", {"a": "1", "b-c": "2"}),
        ("base+x==1.0.dev20240413", "base+x==1.0.dev20240413", {"x": "1.0.dev20240413"}),
    ],
)
def test_a_name_says_the_base_and_the_pins(sets, given, canonical, pins):
    found = environments.find(given, sets)
    assert (found.name, found.base, dict(found.pins)) == (canonical, "base", pins)
    assert found.environments.keys() == {"core", "side"}


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("bas+shared==3.1", UnknownName, "did you mean base"),
        ("base+shared", derived.BadPin, "name==version"),
        ("base+shared=3.1", derived.BadPin, "name==version"),
        ("base+shared==", derived.BadPin, "name==version"),
        ("base+shared==3.*", derived.BadPin, "name==version"),
        ("base+torch==2.13.0+cpu", derived.BadPin, "without a local part"),
        ("base+a/b==1", derived.BadPin, "name==version"),
        ("base+a==1+A==2", derived.BadPin, "a is pinned twice"),
        ("current+a==1", derived.BadPin, "has no lock"),
    ],
)
def test_a_name_that_is_none_says_why(sets, given, error, says):
    with pytest.raises(error, match=says):
        environments.find(given, sets)


def test_a_derived_sets_name_is_legal_in_file_names_and_test_ids(sets, tmp_path):
    name = environments.find("base+onnxruntime==1.1", sets).name
    (tmp_path / f"{name}-cpu.csv").write_text("")
    cell = Cell(name, "cpu", "float32", "model", "torch-eager")
    assert cell.id.split(":")[0] == name and not set(name) & set("/:[] ,\"'\\")


# Inputs.

TEXTS = {
    "core.in": "a==1.0  # why\nb[extra]>=2; python_version < '4'\nc\n",
    "core.cpu.in": "tensorflow-cpu==2.0\n",
    "core.cpu.override": 'a==0.9\ntensorflow; sys_platform == "never"\n',
}


@pytest.mark.parametrize(
    ("pins", "file", "becomes"),
    [
        ({"a": "3"}, "core.in", "a==3# why\nb[extra]>=2; python_version < '4'\nc\n"),
        ({"b": "3"}, "core.in", "a==1.0  # why\nb[extra]==3; python_version < '4'\nc\n"),
        ({"c": "3"}, "core.in", TEXTS["core.in"].replace("\nc\n", "\nc==3\n")),
        ({"d": "3"}, "core.in", TEXTS["core.in"] + "d==3\n"),
        ({"tensorflow": "3"}, "core.cpu.in", "tensorflow-cpu==3\n"),
        ({"tensorflow": "3"}, "core.in", TEXTS["core.in"]),
        ({"tensorflow": "3"}, "core.cpu.override", TEXTS["core.cpu.override"]),
        ({"a": "3"}, "core.cpu.override", 'a==3\ntensorflow; sys_platform == "never"\n'),
    ],
)
def test_pins_replace_those_of_the_inputs(pins, file, becomes):
    assert derived.with_pins(TEXTS, pins, first="core.in")[file] == becomes


@pytest.mark.parametrize(
    ("package", "changes"),
    [
        ("framework", ["core"]),
        ("tensorflow", ["core"]),
        ("onnxruntime", ["core"]),  # named by the core; the converter's own is its business
        ("converter", ["side"]),
        ("deep", ["side"]),  # named by nobody, in one lock
        ("shared", ["core"]),
        ("nothing", []),
    ],
)
def test_only_environments_that_hold_the_package_change(sets, package, changes):
    assert derived.holders(environments.find("base", sets), package, "cpu") == changes


# Locks.


def test_it_is_resolved_once_near_the_bases_lock_and_installed_as_others_are(sets, log):
    said = []
    base = provision(sets, "base")
    made = provision(sets, "base+framework==1.1", say=said.append)
    assert made.packages == {**base.packages, "framework": "1.1"}, "shared stays at 3.0"
    assert made.version_set == "base+framework==1.1"
    assert made.lock_hash != base.lock_hash and made.python != base.python
    assert any("resolving" in line for line in said) and fake_uv.resolved(log) == 1

    again = provision(sets, "base+Framework==1.1", say=said.append)
    assert again == made and fake_uv.resolved(log) == 1
    assert (sets / "base" / "core.in").read_text() == CORE_IN
    assert sorted(path.name for path in sets.iterdir()) == ["base"], "nothing is written there"


def test_an_environment_without_the_package_is_the_bases_own(sets, log):
    base, made = provision(sets, "base", "side"), provision(sets, "base+framework==1.1", "side")
    assert made.python == base.python and made.packages == base.packages
    assert (base.version_set, made.version_set) == ("base", "base+framework==1.1")
    assert fake_uv.resolved(log) == 0


def test_pins_of_the_same_lock_share_one_environment(sets):
    assert provision(sets, "base+shared==3.0").python == provision(sets, "base").python


def test_several_pins_each_where_it_belongs(sets):
    name = "base+deep==6.1+framework==2.0+shared==3.1"
    core, side = provision(sets, name), provision(sets, name, "side")
    assert (core.packages["framework"], core.packages["shared"]) == ("2.0", "3.1")
    assert side.packages == {"converter": "5.0", "onnxruntime": "1.0", "deep": "6.1"}


def test_another_lock_of_the_base_is_another_derived_lock(sets, log):
    first = provision(sets, "base+framework==1.1")
    base = environments.find("base", sets)
    assert locking.relock(base, "core", upgrade=True) == ["  shared 3.0 -> 3.1"]
    second = provision(sets, "base+framework==1.1")
    assert (first.packages["shared"], second.packages["shared"]) == ("3.0", "3.1")


@pytest.mark.parametrize(
    ("name", "package", "says", "kind"),
    [
        ("base+framework==9.9", "framework", "9.9.*ask for a version", "unsatisfiable-pins"),
        ("base+framewrok==1.1", "framewrok", "no package 'framewrok'.*framework", "no-result"),
        ("base+shared==99+framework==1.1", "shared", "shared==99", "unsatisfiable-pins"),
    ],
)
def test_what_cannot_be_resolved_is_one_error_that_names_it(
    sets, tmp_path, name, package, says, kind
):
    with pytest.raises(environments.ProvisioningError, match=f"(?s){says}") as caught:
        provision(sets, name)
    first = str(caught.value).splitlines()[0]
    assert caught.value.package == package and package in first and name.split("+")[0] in first
    assert caught.value.kind == kind
    assert not list((tmp_path / "cache" / environments.SETTLED).glob("*"))


def test_what_was_not_looked_at_is_named_and_an_index_that_fails_is_no_fault_of_the_pins(
    sets, monkeypatch
):
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_INDEX", "https://private/simple")
    monkeypatch.setenv("FAKE_UV_FAILS", "error: Failed to fetch: `https://index/simple/framework/`")
    with pytest.raises(environments.ProvisioningError) as caught:
        provision(sets, "base+framework==1.1")
    assert caught.value.kind == "no-result"
    assert "not looked at here: UV_INDEX;" in str(caught.value)


def test_a_base_without_a_lock_says_which_to_make(sets):
    base = environments.find("base+framework==1.1", sets)
    with pytest.raises(environments.ProvisioningError, match="switchyard lock base --flavour cuda"):
        environments.provision(base, "core", lambda line: None, flavour="cuda")


def test_a_set_without_locks_is_resolved_at_every_run(sets, log, tmp_path, monkeypatch):
    night = sets / "night"
    night.mkdir()
    (night / "set.toml").write_text('lock = "each run"\n' + SET_TOML)
    (night / "core.in").write_text("framework\n")
    (night / "side.in").write_text("converter\n")
    first, second = provision(sets, "night"), provision(sets, "night")
    assert first.packages == {"framework": "2.0", "shared": "3.1"}
    assert first == second and fake_uv.resolved(log) == 2
    newer = {**INDEX, "framework": {"versions": ["2.0", "2.1"], "needs": ["shared"]}}
    fake_uv.offer(tmp_path, monkeypatch, newer)
    third = provision(sets, "night")
    assert third.packages["framework"] == "2.1" and third.python != first.python
    older = provision(sets, "night+framework==2.0")
    assert older.packages == first.packages and older.version_set == "night+framework==2.0"

    settling.keep([third], tmp_path / "run")
    kept = environments.find("night", tmp_path / "run" / "locks")
    count = fake_uv.resolved(log)
    assert environments.provision(kept, "core", lambda line: None) == dataclasses.replace(
        third, made_in=""
    )
    assert fake_uv.resolved(log) == count, "what was kept is locked"


def test_a_run_keeps_the_locks_that_are_nowhere_else_and_they_make_a_set(sets, log, tmp_path):
    name = "base+framework==1.1"
    used = [provision(sets, "base"), provision(sets, name), provision(sets, name, "side")]
    settling.keep(used, tmp_path / "run")
    kept = tmp_path / "run" / "locks"
    assert [path.name for path in kept.iterdir()] == [name], "base's own is committed"
    copied = version_sets.version_sets(kept)[name]
    for environment in ("core", "side"):
        assert environments.provision(copied, environment, print).packages == next(
            one.packages for one in used[1:] if one.name == environment
        )
    assert fake_uv.resolved(log) == 1


# What is expected of it.


def test_what_is_expected_starts_from_the_bases_table_until_it_has_its_own(tmp_path):
    cell = Cell("base", "cpu", "float32", "model", "dynamo-ort")
    outcome = Outcome("convert:dynamo", "refused", "unsupported-operator")
    base = expected(tmp_path, "base", "cpu")
    assert not base.exists and base.starts_from is None
    base.accept([(cell, outcome)], "the base's reason")
    base.write()

    own = expected(tmp_path, "base+a==1", "cpu", "base")
    assert own.exists and own.starts_from == base.path and own.of(cell).met_by(outcome)
    before = base.path.read_bytes()
    own.accept([(cell, Outcome("compare", "excellent"))], "mended")
    own.write()
    assert base.path.read_bytes() == before and own.starts_from is None

    read = expected(tmp_path, "base+a==1", "cpu", "base")
    assert read.exists and read.starts_from is None and read.of(cell) is None
    assert not expected(tmp_path, "other+a==1", "cpu", "other").exists
