"""Provisioning: what is asked for is there once, whole, and a failure says whose it is.

The sets installed here are two tiny pure-Python packages, locked by the shipped command.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from switchyard.runner import environments, installation, locking, version_sets
from switchyard.runner.variables import environment_variables
from switchyard.tables import provenance
from switchyard.vocabulary import UnknownName

DEFAULT = "torch2.13-tf2.21"
SET_TOML = """
why = "a test"
python = "{python}"
platform = "x86_64-manylinux_2_28"
[environments.core]
why = "two tiny packages"
"""
INPUT = "six==1.17.0\niniconfig==2.1.0\n"


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A set of two packages with its lock, made once."""
    folder = tmp_path_factory.mktemp("version_sets") / "tiny"
    folder.mkdir()
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / "set.toml").write_text(SET_TOML.format(python=own))
    (folder / "core.in").write_text(INPUT)
    tiny = environments.find("tiny", folder.parent)
    assert locking.relock(tiny, "core") == ["+ iniconfig 2.1.0", "+ six 1.17.0"]
    return tiny


@pytest.fixture
def tiny(locked, tmp_path, monkeypatch):
    """That set, with a cache of the test's own."""
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "cache"))
    return locked


@pytest.fixture
def no_process(monkeypatch):
    """Starting any process is an error."""

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    return lambda: monkeypatch.setattr(subprocess, "Popen", refuse)


def with_lock(set_, folder: Path, text: str):
    """The same set with another lock, in another folder."""
    folder.mkdir()
    (folder / "core.cpu.lock").write_text(text)
    return dataclasses.replace(set_, folder=folder)


def homes(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "environments").glob("*") if path.is_dir()]


def test_installs_once_and_then_starts_nothing(tiny, no_process):
    said = []
    first = environments.provision(tiny, "core", said.append)
    assert first.packages == {"six": "1.17.0", "iniconfig": "2.1.0"}
    assert "2 packages" in said[0] and first.lock_hash in said[0] and "log:" in said[0]
    assert re.search(r"installed in \d+ s", said[-1])

    no_process()
    second = environments.provision(tiny, "core", said.append)
    assert second == first and second.fingerprint == first.fingerprint
    assert len(said) == 2, "a warm environment says nothing"


def test_bytecode_is_written_at_first_use_and_is_no_change(tiny):
    made = environments.provision(tiny, "core", lambda line: None)
    packages = next(Path(made.bin).parent.glob("lib/python*/site-packages"))
    assert not list(packages.glob("**/*.pyc"))
    variables = environment_variables(made, Path(made.bin), environments.cache_root())
    subprocess.run([made.python, "-c", "import six"], env=variables, check=True)
    assert list(packages.glob("__pycache__/six.*.pyc"))
    said = []
    assert environments.provision(tiny, "core", said.append) == made and not said


def test_sees_nothing_of_the_shell_or_the_user(tiny, tmp_path, monkeypatch):
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "stray.py").write_text("")
    made = environments.provision(tiny, "core", lambda line: None)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stray"))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "stray"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "stray"))
    question = (
        "import importlib.util as u, site, six; print(u.find_spec('stray'), site.ENABLE_USER_SITE)"
    )
    variables = environment_variables(made, tmp_path / "worker-path", tmp_path / "cache")
    answer = subprocess.check_output([made.python, "-c", question], env=variables, text=True)
    assert answer.split() == ["None", "False"]
    assert variables["PATH"].split(os.pathsep)[0] == made.bin
    assert "CONDA_PREFIX" not in variables
    # Keras would take its dtype and layout from a file there.
    assert Path(variables["KERAS_HOME"]).is_relative_to(tmp_path / "cache")
    here = environments.provision("current")
    here = environment_variables(here, tmp_path / "worker-path", tmp_path / "cache")
    assert here["CONDA_PREFIX"] == str(tmp_path / "stray"), "its interpreter may be of that"


def test_this_interpreter_keeps_the_packages_that_its_user_installed(tiny, tmp_path, monkeypatch):
    made = environments.provision(tiny, "core", lambda line: None)
    here = environments.provision("current")
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path))
    locked, own = (environment_variables(one, tmp_path, tmp_path) for one in (made, here))
    assert locked["PYTHONNOUSERSITE"] == "1" and "PYTHONUSERBASE" not in locked
    assert own["PYTHONUSERBASE"] == str(tmp_path) and "PYTHONNOUSERSITE" not in own
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    assert environment_variables(here, tmp_path, tmp_path)["PYTHONNOUSERSITE"] == "1"


@pytest.mark.parametrize("given, kept", [(None, "1"), ("0", "0")])
def test_a_hub_is_asked_only_by_who_says_so(tiny, tmp_path, monkeypatch, given, kept):
    made = environments.provision(tiny, "core", lambda line: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if given is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", given)
    assert environment_variables(made, tmp_path, tmp_path)["HF_HUB_OFFLINE"] == kept


def test_two_runs_at_once_make_one_environment(tiny, tmp_path):
    program = (
        "import sys, pathlib; from switchyard.runner import environments as e;"
        "s = e.find('tiny', pathlib.Path(sys.argv[1]));"
        "print(e.provision(s, 'core').fingerprint)"
    )
    command = [sys.executable, "-c", program, str(tiny.folder.parent)]
    root = Path(environments.__file__).parents[2]
    both = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=root) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    said = "".join(out for out, _ in outputs)
    assert said.count("installing 2 packages") == 1
    assert len({out.split()[-1] for out, _ in outputs}) == 1
    assert len(homes(tmp_path)) == 1


def test_an_installation_that_did_not_finish_is_made_anew(tiny, tmp_path):
    made = environments.provision(tiny, "core", lambda line: None)
    (homes(tmp_path)[0] / installation.MARKER).unlink()
    (homes(tmp_path)[0] / "half").write_text("what a killed run left")
    said = []
    assert environments.provision(tiny, "core", said.append) == made
    assert "not complete" in said[0]
    assert not (homes(tmp_path)[0] / "half").exists()


def test_a_change_by_hand_is_said_and_changes_the_fingerprint(tiny):
    made = environments.provision(tiny, "core", lambda line: None)
    uninstall = [locking.uv_binary(), "pip", "uninstall", "-q", "--python", made.python, "six"]
    subprocess.run(uninstall, check=True)
    said = []
    after = environments.provision(tiny, "core", said.append)
    assert after.packages == {"iniconfig": "2.1.0"} and after.fingerprint != made.fingerprint
    assert "by hand" in said[0]


@pytest.mark.parametrize(
    ("spoil", "package", "words", "kind"),
    [
        (
            lambda lock: lock.replace("six==1.17.0", "six==99.0"),
            "six",
            "no version",
            "unsatisfiable-pins",
        ),
        (
            lambda lock: re.sub("sha256:.{8}", "sha256:00000000", lock),
            "",
            "ash mismatch",
            "no-result",
        ),
        (lambda lock: lock.replace("six==1.17.0", "six==="), "", "parse", "no-result"),
    ],
    ids=["no such version", "another file than the one locked", "damaged"],
)
def test_a_lock_that_cannot_be_installed(tiny, tmp_path, monkeypatch, spoil, package, words, kind):
    # No cache: what uv has verified before, it would not fetch and verify again.
    broken = with_lock(tiny, tmp_path / "broken", spoil(tiny.lock("core").read_text()))
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(environments.ProvisioningError) as caught:
        environments.provision(broken, "core", lambda line: None)
    error = caught.value
    assert (error.version_set, error.environment) == ("tiny", "core")
    assert words in str(error) and error.log in str(error) and "what to do" in str(error)
    assert words in Path(error.log).read_text() and error.kind == kind
    if "ash mismatch" in words:
        assert error.package in ("six", "iniconfig")
    else:
        assert error.package == package
    assert homes(tmp_path) == [], "what is left of it would be gigabytes"


def test_an_index_that_cannot_be_reached_is_no_fault_of_the_packages(tiny, monkeypatch):
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(environments.ProvisioningError, match="index cannot be reached") as caught:
        environments.provision(tiny, "core", lambda line: None)
    assert caught.value.kind == "no-result"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("cause: Because six was not found in the package registry", "unsatisfiable-pins"),
        ("hint: Packages were unavailable because the network was disabled.", "no-result"),
        ("hint: An index URL (u) could not be queried due to a lack of valid", "no-result"),
        ("hint: An index (u) returned a 403 Forbidden error.", "no-result"),
    ],
)
def test_what_uv_could_not_ask_about_is_not_taken_as_unsolvable(words, kind):
    said = f"error: No solution found when resolving dependencies\n  {words}"
    assert locking.blamed(said).kind == kind


@pytest.mark.parametrize("target", ["aarch64-apple-darwin", "aarch64-manylinux_2_28", "windows"])
def test_a_set_of_another_machine_is_said_before_uv_is_asked(tiny, monkeypatch, no_process, target):
    monkeypatch.setattr(version_sets.platform, "system", lambda: "Linux")
    monkeypatch.setattr(version_sets.platform, "machine", lambda: "x86_64")
    no_process()
    with pytest.raises(environments.ProvisioningError, match=f"{target}.*Linux on x86_64"):
        environments.provision(dataclasses.replace(tiny, platform=target), "core", print)
    assert version_sets.fits_here("x86_64-manylinux_2_28") and version_sets.fits_here("linux")


def test_a_missing_interpreter_is_one_clear_error(tiny):
    with pytest.raises(
        environments.ProvisioningError, match=r"needs Python 3\.99.*\n.*\n.*install"
    ) as caught:
        environments.provision(dataclasses.replace(tiny, python="3.99"), "core", lambda line: None)
    assert caught.value.package == "python"


def test_a_missing_lock_says_how_to_make_it(tiny):
    with pytest.raises(environments.ProvisioningError, match="switchyard lock tiny --flavour cuda"):
        environments.provision(tiny, "core", lambda line: None, flavour="cuda")


def test_time_that_is_up_ends_uv(tiny, tmp_path, monkeypatch):
    sleeper = tmp_path / "uv"
    sleeper.write_text("#!/bin/sh\nsleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(locking, "uv_binary", lambda: str(sleeper))
    started = time.monotonic()
    with pytest.raises(environments.ProvisioningError, match="too long"):
        environments.provision(tiny, "core", lambda line: None, timeout_s=0.5)
    assert time.monotonic() - started < 10


def test_the_end_of_the_run_ends_an_installation_in_another_thread(tiny, tmp_path, monkeypatch):
    sleeper = tmp_path / "uv"
    sleeper.write_text(f"#!/bin/sh\ntouch {tmp_path / 'begun'}\nsleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(locking, "uv_binary", lambda: str(sleeper))
    ended, said = threading.Event(), []

    def install():
        with pytest.raises(environments.ProvisioningError) as caught:
            environments.provision(tiny, "core", lambda line: None, ended=ended)
        said.append(str(caught.value))

    thread = threading.Thread(target=install)
    thread.start()
    while not (tmp_path / "begun").exists() and thread.is_alive():
        thread.join(0.01)
    ended.set()
    thread.join(30)
    assert not thread.is_alive() and "the run ended before it was installed" in said[0]
    assert not list((tmp_path / "cache").glob("environments/*/bin"))


def test_a_cache_that_cannot_be_written_is_said(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWITCHYARD_CACHE", str(tmp_path / "file"))
    with pytest.raises(environments.ProvisioningError, match="set SWITCHYARD_CACHE"):
        environments.provision(tiny, "core", lambda line: None)


def test_without_uv_current_works_and_the_rest_says_what_to_do(tiny, monkeypatch, no_process):
    monkeypatch.setattr(locking, "uv_binary", lambda: None)
    with pytest.raises(environments.ProvisioningError, match="pip install uv"):
        environments.provision(tiny, "core", lambda line: None)
    no_process()
    core = environments.provision("current", "core")
    side = environments.provision("current", "onnx2tf")
    assert core.python == side.python == sys.executable
    assert core.packages["pytest"] == pytest.__version__
    assert core.fingerprint == side.fingerprint


def test_fingerprint_is_of_packages_and_interpreter():
    current = environments.provision("current")
    other = dataclasses.replace(current, packages={**current.packages, "torch": "2.13.0+cpu"})
    assert other.fingerprint != current.fingerprint
    assert dataclasses.replace(current, python_version="3.9.1").fingerprint != current.fingerprint
    assert dataclasses.replace(current, python="elsewhere").fingerprint == current.fingerprint


def test_unknown_names_offer_the_nearest(tiny):
    with pytest.raises(UnknownName, match=DEFAULT.replace(".", r"\.")):
        environments.find("torch2.13-tf2.12")
    with pytest.raises(environments.NotDeclared, match="core"):
        environments.provision(tiny, "cores")


def test_a_set_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "set.toml").write_text("python = '3.11'\n")
    with pytest.raises(
        version_sets.BadSet, match=r"odd/set\.toml: 'environments' is missing|'why' is missing"
    ):
        version_sets.version_sets(tmp_path)
    with pytest.raises(version_sets.BadSet, match="no folder"):
        version_sets.version_sets(tmp_path / "none")


def test_two_processes_may_write_a_marker_at_once(tmp_path, monkeypatch):
    path = tmp_path / installation.MARKER
    program = "import sys, pathlib; from switchyard.tables.replacing import replace_atomically as r;"
    program += "r(pathlib.Path(sys.argv[1]), b'the other')"
    command = [sys.executable, "-c", program, str(path)]
    replace = os.replace

    def beside_another(*names):
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
        assert path.read_text() == "the other"
        replace(*names)

    monkeypatch.setattr(installation.os, "replace", beside_another)
    monkeypatch.setattr(installation, "changed_ns", lambda home: 0)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    said = installation.mark(tmp_path)
    assert json.loads(path.read_text()) == said
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bin", installation.MARKER]


def test_the_marker_is_plain_json(tiny, tmp_path):
    environments.provision(tiny, "core", lambda line: None)
    said = json.loads((homes(tmp_path)[0] / installation.MARKER).read_text())
    assert said["packages"] == {"six": "1.17.0", "iniconfig": "2.1.0"}


@pytest.mark.parametrize("name, kept", [
    ("NVIDIA_TF32_OVERRIDE", False),  # a cell says itself whether it is computed in TF32
    ("CUDA_LAUNCH_BLOCKING", False),
    ("PYTORCH_ALLOC_CONF", True),  # how a cell does with it is worth a run
])  # fmt: skip
def test_what_no_cell_is_given_is_not_recorded_and_the_rest_is(
    tiny, monkeypatch, tmp_path, name, kept
):
    made = environments.provision(tiny, "core", lambda line: None)
    monkeypatch.setenv(name, "1")
    assert (name in environment_variables(made, tmp_path, tmp_path)) is kept
    assert (name in provenance.environment_variables({name: "1"})) is kept


def test_what_the_driver_compiles_is_kept_for_each_environment(tiny, tmp_path):
    made = environments.provision(tiny, "core", lambda line: None)
    found = environment_variables(made, tmp_path, tmp_path / "cache")
    assert found["CUDA_CACHE_PATH"] == str(tmp_path / "cache" / "cuda" / made.fingerprint)
    assert 2**30 < int(found["CUDA_CACHE_MAXSIZE"]) < 2**32
