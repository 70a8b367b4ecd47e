"""``switchyard sets`` and ``switchyard lock``: what they print of sets made up here, and that the
sets which are committed are whole."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import fake_uv
import pytest

from switchyard.cli import main
from switchyard.runner import environments, inventory, locking, version_sets
from switchyard.runner.options import DEFAULT_SET
from switchyard.runner.version_sets import FLAVOURS
from switchyard.tables.provenance import ENVIRONMENT_PREFIXES

OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
SET_TOML = f"""
why = "a test"
python = "{OWN}"
platform = "x86_64-manylinux_2_28"
[environments.core]
why = "one package"
[environments.side]
only = "cpu"
why = "another"
"""
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Two sets, neither locked, as the only ones there are."""
    folder = tmp_path / "version_sets"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        (folder / name / "set.toml").write_text(SET_TOML)
        (folder / name / "core.in").write_text("package\n")
        (folder / name / "side.in").write_text("other\n")
    fake_uv.place(tmp_path, monkeypatch, {"package": ["1.0"], "other": ["3.0"]})
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(version_sets, "SETS", folder)
    return folder


def listed(capsys) -> dict[str, list[str]]:
    """``switchyard sets`` as rows by name, columns apart by two blanks."""
    assert main(["sets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {words[0]: words[1:] for words in (re.split(r" {2,}", line) for line in lines)}


# switchyard lock


def test_lock_prints_what_moved_and_dates_the_lock(sets, capsys, tmp_path, monkeypatch):
    assert main(["lock", "one"]) == 0
    expected = ["core.cpu.lock:", "+ package 1.0", "side.cpu.lock:", "+ other 3.0"]
    assert capsys.readouterr().out.splitlines() == expected
    first = (sets / "one" / "core.cpu.lock").read_text().splitlines()[0]
    assert first == f"# Made on {datetime.date.today()} by: switchyard lock one"

    fake_uv.offer(tmp_path, monkeypatch, {"package": ["1.0", "2.0"], "other": ["3.0"]})
    assert main(["lock", "one"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "nothing moved"
    assert main(["lock", "one", "--upgrade"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  package 1.0 -> 2.0"
    assert not list((sets / "two").glob("*.lock")), "only the set that was named"


def test_a_first_lock_for_cuda_stays_near_the_cpus(sets, tmp_path, monkeypatch, capsys):
    assert main(["lock", "one"]) == 0
    fake_uv.offer(tmp_path, monkeypatch, {"package": ["1.0", "2.0"], "other": ["3.0"]})
    assert main(["lock", "one", "--flavour", "cuda"]) == 0
    assert "package==1.0" in (sets / "one" / "core.cuda.lock").read_text()
    assert not (sets / "one" / "side.cuda.lock").exists(), "the same on every device"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ones", "did you mean one"),
        ("current", "has no lock"),
        ("one+package==2.0", "derived from one"),
        ("one+package", "name==version"),
        ("night", "resolved anew at every run"),
        ("two", "other was not found"),
    ],
)
def test_lock_says_what_is_wrong(sets, capsys, tmp_path, monkeypatch, name, says):
    (sets / "night").mkdir()
    (sets / "night" / "set.toml").write_text('lock = "each run"\n' + SET_TOML)
    fake_uv.offer(tmp_path, monkeypatch, {"package": ["1.0"]})
    assert main(["lock", name]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("switchyard: ") and says in printed and "Traceback" not in printed


@pytest.mark.parametrize("command", [["sets"], ["sets", "--prune"], ["lock", "one"]])
def test_a_slip_in_a_set_is_said_with_its_file(sets, capsys, command):
    (sets / "two" / "set.toml").write_text(SET_TOML.replace(f'"{OWN}"', OWN))
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.err.startswith("switchyard: ") and "two/set.toml: python is a text" in said.err
    assert not said.out


def test_what_is_not_looked_at_for_a_lock_is_named_where_it_fails(sets, capsys, monkeypatch):
    monkeypatch.setenv("UV_INDEX", "https://private/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://private/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    (sets / "one" / "core.in").write_text("private\n")
    assert main(["lock", "one"]) == 2
    said = capsys.readouterr().err
    assert "private was not found" in said and "UV_DEFAULT_INDEX" in said
    assert re.findall(r"not looked at here: ([^;]*)", said) == ["UV_INDEX, PIP_FIND_LINKS"], (
        "pip's extra index is not what uv would have taken, since its own is set"
    )


@pytest.mark.parametrize("flavour", ["cpu", "cuda"])
def test_what_is_not_looked_at_for_a_device_is_named_where_it_fails(sets, monkeypatch, flavour):
    main(["lock", "one", "--flavour", flavour])
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", "https://private/simple")
    monkeypatch.setenv("FAKE_UV_FAILS", "error: No solution found")
    with pytest.raises(environments.ProvisioningError) as caught:
        environments.provision(environments.find("one"), "core", lambda line: None, flavour)
    assert ("not looked at here: " in str(caught.value)) == (flavour == "cuda")


@pytest.mark.parametrize(("flavour", "offered"), [("cpu", "/wheels"), ("cuda", "")])
def test_builds_that_this_machine_offers_are_for_the_cpu_alone(
    sets, tmp_path, monkeypatch, flavour, offered
):
    main(["lock", "one", "--flavour", flavour])
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels")
    environments.provision(environments.find("one"), "core", lambda line: None, flavour)
    lines = (line for line in (tmp_path / "uv.log").read_text().splitlines() if "venv" not in line)
    (install,) = (line for line in lines if line.startswith("pip install"))
    assert install.endswith(f"UV_FIND_LINKS={offered}")
    assert main(["lock", "one"]) == 0
    resolved = (tmp_path / "uv.log").read_text().splitlines()[-1]
    assert resolved.startswith("pip compile") and resolved.endswith("UV_FIND_LINKS=")


# switchyard sets


def test_sets_says_what_is_there(sets, capsys):
    rows = listed(capsys)
    assert rows["current"] == ["this interpreter"]
    assert rows["one"] == rows["two"] == ["no lock"]

    main(["lock", "one"])
    capsys.readouterr()
    assert listed(capsys)["one"] == ["not installed", "today"]
    environments.provision(environments.find("one"), "core", lambda line: None)
    assert listed(capsys)["one"][0] == "1 of 2 installed"
    environments.provision(environments.find("one"), "side", lambda line: None)
    assert listed(capsys)["one"][0] == "installed"
    assert listed(capsys)["two"] == ["no lock"]


def test_size_is_what_the_disk_holds_each_file_once(sets, capsys, tmp_path):
    main(["lock", "one"])
    one = environments.find("one")
    (core, side) = (
        Path(environments.provision(one, name, lambda line: None).bin).parent
        for name in ("core", "side")
    )
    before = found("one").size_bytes
    (core / "weights").write_bytes(b"1" * 4_000_000)
    (side / "weights").hardlink_to(core / "weights")
    held = sum(file.stat().st_blocks * 512 for file in (core / "weights",))
    assert found("one").size_bytes == before + held

    (sets / "one" / "core.in").write_text("package\nother\n")  # its environment is now an old one
    main(["lock", "one"])
    entry = found("one")
    assert entry.state == "1 of 2 installed" and entry.other_bytes is not None
    assert entry.size_bytes + entry.other_bytes == before + held
    assert found("two").size_bytes is None and found("two").other_bytes is None


def found(name: str, **options) -> inventory.Entry:
    return next(one for one in inventory.inventory(**options) if one.name == name)


def test_age_is_that_of_the_oldest_lock(sets):
    main(["lock", "one"])
    lock = sets / "one" / "side.cpu.lock"
    lock.write_text(re.sub(r"\d{4}-\d\d-\d\d", "2026-01-30", lock.read_text()))
    assert found("one", today=datetime.date(2026, 2, 11)).age_days == 12
    assert found("one", today=datetime.date(2026, 1, 31)).age_days == 1
    lock.write_text("# by hand\nother==3.0\n")
    assert found("one").age_days == 0, "what a lock does not say is not made up"


def test_the_date_of_a_lock_does_not_reinstall_it(sets):
    main(["lock", "one"])
    one = environments.find("one")
    before = environments.home_of(one, "core")
    lock = one.lock("core")
    lock.write_text(re.sub(r"\d{4}-\d\d-\d\d", "2026-01-30", lock.read_text()))
    assert environments.home_of(one, "core") == before
    lock.write_text(lock.read_text().replace("package==1.0", "package==1.1"))
    assert environments.home_of(one, "core") != before


# The sets that are committed.

COMMITTED = {name: one for name, one in version_sets.version_sets().items() if one.folder}
LOCKED = [one for one in COMMITTED.values() if one.fixed]


def named(set_, environment: str, flavour: str) -> set[str]:
    texts = (path.read_text() for path in set_.inputs(environment, flavour))
    lines = (line for text in texts for line in text.splitlines() if line[:1] not in ("", "#"))
    return {re.match(r"[\w.-]+", line)[0] for line in lines}


def test_five_sets_are_locked_and_one_is_not():
    assert [one.name for one in LOCKED] == (
        ["torch2.0-tf2.13", "torch2.1-tf2.15", "torch2.5-tf2.18", "torch2.9-tf2.20",
         "torch2.13-tf2.21"]
    )  # fmt: skip
    assert [one.name for one in COMMITTED.values() if not one.fixed] == ["nightly"]


@pytest.mark.parametrize("set_", LOCKED, ids=lambda one: one.name)
def test_a_set_is_locked_for_every_flavour_and_says_why_of_every_pin(set_):
    import tomllib

    said = tomllib.loads((set_.folder / "set.toml").read_text())["environments"]
    of_the_core = said["core"]["pins"]
    for environment in ("core", "onnx2tf"):  # hops ask for these two by name
        reasons = {*said[environment].get("pins", {}), *of_the_core}
        for flavour in FLAVOURS:
            lock = set_.lock(environment, flavour)
            locked = locking.pins(lock.read_text())
            for name in named(set_, environment, flavour):
                assert locking.normalised(name) in locked, f"{name} is not in {lock}"
                plain = re.sub(r"-(?:cpu|gpu)$", "", name)
                assert plain in reasons, f"{name} has no reason in {set_.folder}/set.toml"


@pytest.mark.parametrize("set_", LOCKED, ids=lambda one: one.name)
def test_the_locks_of_the_two_flavours_differ_in_the_device_alone(set_):
    def versions(flavour):
        paths = [set_.lock("core", flavour), *set_.constraints("core", flavour)]
        return {n: p.version for path in paths for n, p in locking.pins(path.read_text()).items()}

    cpu, cuda = versions("cpu"), versions("cuda")
    differing = {name for name in cpu.keys() | cuda.keys() if cpu.get(name) != cuda.get(name)}
    device = {"tensorflow", "tensorflow-cpu", "onnxruntime", "onnxruntime-gpu", "ninja"}
    assert not {name for name in differing - device if not locking.CUDA.match(name)}
    assert {"tensorflow", "onnxruntime-gpu"} <= cuda.keys() and not {"tensorflow"} & cpu.keys()


def test_the_nightly_set_pins_nothing_but_names_what_the_default_names():
    nightly, default = COMMITTED["nightly"], COMMITTED["torch2.13-tf2.21"]
    for environment in nightly.environments:
        for flavour in FLAVOURS:
            for path in nightly.inputs(environment, flavour):
                assert not re.search(r"[=<>~]", path.read_text()), path
            left = named(default, environment, flavour) - named(nightly, environment, flavour)
            # These follow from the frameworks; the newest h5py would hold TensorFlow back.
            assert left <= {"numpy", "protobuf", "ml-dtypes", "flatbuffers", "h5py"}


def test_nothing_names_the_command_that_was():
    for path in [*(ROOT / "switchyard").rglob("*.py"), *(ROOT / "version_sets").rglob("*.*")]:
        if path.is_file():
            assert "switchyard.runner.locking SET" not in path.read_text(), path
            assert "python -m switchyard.runner.locking" not in path.read_text(), path


def test_tox_has_an_environment_for_every_set():
    import configparser

    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    (section,) = (name for name in tox.sections() if "torch2.13-tf2.21" in name)
    names = section.removeprefix("testenv:{").removesuffix("}").split(",")
    assert set(names) == COMMITTED.keys()
    assert "--version-set {env_name}" in tox[section]["commands"]


def test_what_changes_what_is_measured_gets_through_tox():
    import configparser
    import fnmatch

    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    passed = tox["testenv"]["pass_env"].split()
    names = [f"{prefix}ANY" if prefix[-1] == "_" else prefix for prefix in ENVIRONMENT_PREFIXES]
    for name in (*names, "CUDA_HOME", "HF_HUB_OFFLINE", "HF_HOME"):
        assert any(fnmatch.fnmatch(name, pattern) for pattern in passed), name


def test_the_nightly_matrix_has_every_set_and_the_default_beside_the_newest():
    job = (ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    listed = job[job.index("version_set:\n") : job.index("name: ${{ matrix")]
    assert set(re.findall(r"^ +- (\S+)$", listed, re.MULTILINE)) == COMMITTED.keys()
    assert re.findall(r"^ +DEFAULT: (\S+)$", job, re.MULTILINE) == [DEFAULT_SET]
