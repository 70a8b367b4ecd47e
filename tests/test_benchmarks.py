"""What the scripts under benchmarks/ take from Switchyard is there: nothing else runs them."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "benchmarks").glob("*.py"))


def taken(script: Path):
    """(module, name) of each ``from switchyard... import name``, wherever it stands."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("switchyard"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_script_takes_is_there(script):
    for module, name in taken(script):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")


def test_the_scripts_take_something():
    assert len(SCRIPTS) > 5 and sum(len(list(taken(script))) for script in SCRIPTS) > 10
