"""``switchyard install``: every environment of every set, and one that fails stops no other."""

from __future__ import annotations

import pytest
from test_sets_command import sets  # noqa: F401  the two sets made up there

from switchyard.cli import main
from switchyard.runner import environments, version_sets


def test_every_environment_is_installed_and_a_second_time_nothing_is_done(sets, capsys):  # noqa: F811
    assert main(["lock", "one"]) == 0
    capsys.readouterr()
    assert main(["install", "one"]) == 0
    out = capsys.readouterr().out
    assert "one/core: 1 packages" in out and "one/side: 1 packages" in out
    assert "installing" in out
    assert main(["install", "one"]) == 0
    assert "installing" not in capsys.readouterr().out
    assert environments.provision("one", "side").packages == {"other": "3.0"}


def test_one_without_a_lock_is_said_and_the_next_is_installed(sets, capsys):  # noqa: F811
    assert main(["lock", "two"]) == 0
    assert main(["install", "one", "two"]) == 2
    said = capsys.readouterr()
    assert "version set one, environment core: there is no lock" in said.err
    assert "two/core: 1 packages" in said.out


@pytest.mark.parametrize("name, says", [("onne", "did you mean one"), ("one+x", "name==version")])
def test_a_wrong_name_installs_nothing(sets, capsys, name, says):  # noqa: F811
    assert main(["lock", "two"]) == 0
    capsys.readouterr()
    assert main(["install", "two", name]) == 2
    said = capsys.readouterr()
    assert says in said.err and not said.out


@pytest.mark.parametrize("command", [["install", "one"], ["lock", "one"], ["sets"]])
def test_without_the_checkout_it_is_said_that_the_sets_lie_there(
    sets, tmp_path, monkeypatch, capsys, command  # noqa: F811
):
    monkeypatch.setattr(version_sets, "SETS", tmp_path / "no_such_folder")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "no_such_folder" in said and "pip install -e ." in said
