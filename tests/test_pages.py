"""The pages under ``docs/`` that are written by commands say what these write today."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchyard.cli import main

ROOT = Path(__file__).resolve().parents[1]

#: Oldest first, as results/README.md has them: two sets by name, and two runs of two sets each.
BASELINES = ("20261127T143014-torch2.0-tf2.13+1more-cpu-quick",
             "20261127T094917-torch2.5-tf2.18+1more-cpu-quick",
             "20261127T010059-torch2.9-tf2.20+1more-cpu-quick")  # fmt: skip


@pytest.fixture
def committed(tmp_path):
    """The committed tables alone: whoever runs this may have newer ones of their own."""
    kept = [folder for folder in (ROOT / "results").iterdir() if (folder / "run.json").is_file()]
    for folder in kept:
        (tmp_path / folder.name).mkdir()
        for file in filter(Path.is_file, folder.iterdir()):
            (tmp_path / folder.name / file.name).symlink_to(file)
    return tmp_path


@pytest.mark.parametrize("command", [("claims",), ("neighbours", *BASELINES)], ids=lambda c: c[0])
def test_a_page_is_what_its_command_writes(command, committed, tmp_path, capsys):
    page = tmp_path / "page.md"
    assert main([*command, "--results", str(committed), "--markdown", str(page)]) == 0
    capsys.readouterr()
    assert page.read_text() == (ROOT / "docs" / f"{command[0]}.md").read_text(), (
        f"write it anew: switchyard {' '.join(command)} --markdown docs/{command[0]}.md"
    )
