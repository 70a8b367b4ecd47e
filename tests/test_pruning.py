"""``switchyard sets --prune``: which environments it removes, and which stay."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sets_command import SET_TOML, sets  # noqa: F401  the two sets made up there

from switchyard.cli import main
from switchyard.runner import environments, installation

DAY_S = 24 * 60 * 60


def aged(home: Path, days: int) -> Path:
    """``home``, used for the last time so many days ago."""
    when = time.time() - days * DAY_S - 60
    os.utime(home / installation.MARKER, (when, when))
    return home


def installed(home: Path, days: int) -> Path:
    """An environment as if it had been installed, and used so many days ago."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    (home / installation.MARKER).write_text("{}")
    return aged(home, days)


@pytest.fixture
def homes(sets, tmp_path):  # noqa: F811
    """Of set ``one``, locked for both flavours, the environment of each lock, and others, all
    unused for 40 days but the one whose name says otherwise."""
    for lock in ("core.cpu", "core.cuda", "side.cpu"):
        (sets / "one" / f"{lock}.lock").write_text(f"package==1.0\n# {lock}\n")
    (sets / "night").mkdir()
    (sets / "night" / "set.toml").write_text('lock = "each run"\n' + SET_TOML)
    one, there = environments.find("one"), tmp_path / "cache" / "environments"
    found = {
        "locked": installed(environments.home_of(one, "core")[0], 40),
        "for cuda": installed(environments.home_of(one, "core", "cuda")[0], 40),
        "older": installed(there / "one-core-0123456789ab", 40),
        "of late": installed(there / "one-side-0123456789ab", 29),
        "nightly": installed(there / "night-core-0123456789ab", 40),
        "another's": installed(there / "gone-core-0123456789ab", 40),
    }
    assert len({home.name for home in found.values()}) == len(found)
    return found


def there(homes) -> set[str]:
    return {name for name, home in homes.items() if home.exists()}


def test_what_no_lock_asks_for_and_nobody_used_of_late_is_removed(homes, capsys):
    (homes["older"] / "weights").write_bytes(b"1" * 100_000_000)
    assert main(["sets", "--prune"]) == 0
    assert there(homes) == {"locked", "for cuda", "of late"}
    said = capsys.readouterr().out.splitlines()
    assert f"removed {homes['older'].name}: 0.1 GB, not used for 40 days" in said
    assert said[-1] == "environments removed: 3, 0.1 GB"
    assert main(["sets", "--prune", "20"]) == 0
    assert there(homes) == {"locked", "for cuda"}


def test_a_run_that_uses_an_environment_keeps_it(sets):  # noqa: F811
    main(["lock", "one"])
    one = environments.find("one")
    home = Path(environments.provision(one, "core", lambda line: None).bin).parent
    aged(home, 40)
    environments.provision(one, "core", lambda line: None)
    (sets / "one" / "core.cpu.lock").unlink()
    assert main(["sets", "--prune", "1"]) == 0 and home.exists()
    aged(home, 2)
    assert main(["sets", "--prune", "1"]) == 0 and not home.exists()


def test_what_an_installation_left_unfinished_is_as_old_as_it_is(homes):
    (homes["nightly"] / installation.MARKER).unlink()
    assert main(["sets", "--prune"]) == 0
    assert "nightly" in there(homes), "somebody may be at it"
    os.utime(homes["nightly"], (time.time() - 50 * DAY_S,) * 2)
    assert main(["sets", "--prune"]) == 0
    assert "nightly" not in there(homes)


def test_one_that_is_being_installed_stays_and_so_does_one_in_which_a_process_runs(homes, capsys):
    command = [str(homes["older"] / "bin" / "python"), "-c"]
    command += ["import sys; print(flush=True); sys.stdin.read()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    with open(f"{homes['nightly']}.lock", "a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(["sets", "--prune"]) == 0
    process.communicate()
    assert there(homes) == {"locked", "for cuda", "of late", "older", "nightly"}
    assert capsys.readouterr().out.count("left ") == 2
    assert main(["sets", "--prune"]) == 0
    assert there(homes) == {"locked", "for cuda", "of late"}


@pytest.mark.parametrize("days", ["0", "-3", "x"])
def test_days_of_use_are_at_least_one(homes, days):
    with pytest.raises(SystemExit) as ended:
        main(["sets", "--prune", days])
    assert ended.value.code == 2 and there(homes) == homes.keys()


def test_a_slip_in_a_set_removes_nothing(homes, sets, capsys):  # noqa: F811
    (sets / "two" / "set.toml").write_text("why =\n")
    assert main(["sets", "--prune"]) == 2
    assert "two/set.toml" in capsys.readouterr().err and there(homes) == homes.keys()


def test_what_cannot_be_removed_is_said(homes, monkeypatch, capsys):
    monkeypatch.setattr(installation.shutil, "rmtree", lambda *_, **__: None)
    assert main(["sets", "--prune"]) == 2
    assert f"switchyard: {homes['older']} could not be removed" in capsys.readouterr().err


def test_the_list_says_how_to_be_rid_of_them(homes, capsys):
    assert main(["sets"]) == 0
    assert "--prune" in capsys.readouterr().out
