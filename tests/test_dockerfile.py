"""Dockerfile.cuda, as far as it can be tried without an engine: what its layers copy before the
version sets is enough to install one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile.cuda").read_text()


def copied() -> list[str]:
    """The sources of every COPY of single files and folders, in order."""
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = re.findall(r"^COPY --chown=switchyard (.+)$", joined, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1] if source != "."]


def test_what_is_copied_is_there_and_every_fixed_set_has_its_layer():
    sources = copied()
    assert all((ROOT / source).exists() for source in sources)
    sets = [path.parent.name for path in ROOT.glob("version_sets/*/set.toml")]
    copied_sets = [source.split("/")[1] for source in sources if source.startswith("version_sets/")]
    assert sorted(copied_sets) == sorted(set(sets) - {"nightly"})
    for name in copied_sets:
        assert f"python -m switchyard install --flavour cuda {name} ;;" in DOCKERFILE
        assert name in re.search(r'^ARG SETS="(.*)"$', DOCKERFILE, re.MULTILINE).group(1).split()


def test_the_files_of_the_first_layers_install_a_set(tmp_path):
    """Up to the one set that is not there: the command knows those that are by their folders."""
    for source in copied():
        if not source.startswith("switchyard/"):
            continue
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, target)
    shutil.copytree(ROOT / "version_sets" / "torch2.9-tf2.20", tmp_path / "version_sets" / "one")
    # An editable installation would find in the checkout what was not copied.
    started = f"""
        import sys

        sys.path.insert(0, {str(tmp_path)!r})
        sys.meta_path[:] = [one for one in sys.meta_path
                            if "editable" not in getattr(one, "__module__", "")]
        from switchyard.cli import main
        from switchyard.runner import environments

        status = main(["install", "--flavour", "cuda", "neo"])
        ours = {{name: module.__file__ for name, module in sys.modules.items()
                if name.split(".")[0] == "switchyard"}}
        assert all(file.startswith({str(tmp_path)!r}) for file in ours.values()), ours
        sys.exit(status)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(started)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert "unknown version set 'neo'; did you mean one?" in done.stderr
