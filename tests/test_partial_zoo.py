"""A zoo file that uses what an installed package lacks: its other models are there all the same.

Each file below is imported in a process of its own, as a worker does; the package that lacks
something is the standard library's ``json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchyard.hops import import_required
from switchyard.worker.blame import outcome_of

ROOT = Path(__file__).resolve().parents[1]

DESCRIBE_AND_BUILD = """
import json, sys
from switchyard.worker.blame import outcome_of
from switchyard.worker.building import import_zoo_file

found = {}
try:
    for entry in import_zoo_file(sys.argv[1]):
        try:
            found[entry.name] = [entry.build(), entry.line]
        except Exception as error:
            outcome = outcome_of(error, "build")
            found[entry.name] = [outcome.verdict, outcome.kind, outcome.message]
except Exception as error:
    found = outcome_of(error, "import").message
print(json.dumps(found))
"""

PLAIN = """
@model(x=Tensor(2))
def plain():
    return "built"
"""
HEAD = "from __future__ import annotations\nimport json\nfrom models_zoo import Tensor, model\n"
USES = "\n@model(x=Tensor(2))\ndef wants():\n    return {}\n"
LACKING = [
    ("from json import Newer\n", "Newer()", "removed-api", "cannot import name 'Newer'"),
    ("import json.newer\n", "json.newer()", "missing-dependency", "No module named 'json.newer'"),
    ("Layer = json.Newer\n", "Layer.kind", "removed-api", "no attribute 'Newer'"),
    ("class Net(json.Newer):\n    pass\n", "Net(3)", "removed-api", "no attribute 'Newer'"),
    ("@json.newer\ndef layer():\n    pass\n", "layer()", "removed-api", "no attribute 'newer'"),
    ("from json import Newer\n", "isinstance(3, Newer)", "removed-api", "import name 'Newer'"),
    ("from json import Newer\n", "Newer['x']", "removed-api", "cannot import name 'Newer'"),
    ("from json import newer\n", "[*newer]", "removed-api", "cannot import name 'newer'"),
    ("from json import newer\n", "exec('with newer: pass', globals())", "removed-api", "newer"),
    ("from json import newer\n", "2 * newer", "removed-api", "cannot import name 'newer'"),
    (
        "from json import Newer\nclass Net(Newer):\n    pass\n",
        "Net()",
        "removed-api",
        "cannot import name 'Newer'",
    ),
]


NO_LAYER = AttributeError("module 'torch.nn' has no attribute 'Newer'")
NO_FUNCTION = AttributeError("module 'torch' has no attribute 'newer'")
NO_MODULE = ModuleNotFoundError("No module named 'newer'")
OWN_SLIP = AttributeError("'Net' object has no attribute 'newer'")


def found_in(tmp_path, text):
    file = tmp_path / "own_zoo.py"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE_AND_BUILD, str(file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("lacks", "use", "kind", "said"), LACKING, ids=lambda v: str(v)[:24])
def test_only_the_models_whose_api_is_missing_fail(tmp_path, lacks, use, kind, said):
    found = found_in(tmp_path, HEAD + lacks + PLAIN + USES.format(use))
    assert list(found) == ["plain", "wants"], "in the order of the file, each once"
    line = (HEAD + lacks).count("\n") + 2
    assert found["plain"] == ["built", line]
    verdict, given, message = found["wants"]
    assert (verdict, given) == ("unavailable", kind)
    assert said in message


@pytest.mark.parametrize(
    ("error", "stage", "verdict", "kind"),
    [
        (NO_LAYER, "build", "unavailable", "removed-api"),
        (NO_FUNCTION, "reference", "unavailable", "removed-api"),
        (NO_MODULE, "reference", "unavailable", "missing-dependency"),
        (OWN_SLIP, "reference", "void", "bad-reference"),
        (OWN_SLIP, "build", "void", "bad-fixture"),
        (NO_MODULE, "convert:x", "failed", "missing-dependency"),
    ],
)
def test_what_a_set_lacks_is_no_fault_of_the_model(error, stage, verdict, kind):
    outcome = outcome_of(error, stage)
    assert (outcome.verdict, outcome.kind) == (verdict, kind)


@pytest.mark.parametrize(
    ("names", "raises"),
    [
        ("json", None),
        ("nothing_here | json", None),
        ("nothing_here | nor_here", "nothing_here"),
        ("lacking | json", "nothing_there"),  # the first is installed, and broken
    ],
)
def test_a_module_may_have_had_another_name(tmp_path, monkeypatch, names, raises):
    (tmp_path / "lacking.py").write_text("import nothing_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    if raises is None:
        import_required(names)
        return
    with pytest.raises(ModuleNotFoundError) as caught:
        import_required(names)
    assert caught.value.name == raises


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("json.newer()\n", "no attribute 'newer'"),  # it might have had an effect
        ("value = 1 / 0\n", "division by zero"),
        ("class Net(undefined):\n    pass\n", "name 'undefined' is not defined"),
        ("@model(x=json.Newer(2))\ndef odd():\n    pass\n", "no attribute 'Newer'"),
    ],
    ids=lambda value: str(value).split("\n")[0][:30],
)
def test_what_else_is_wrong_stops_the_file(tmp_path, broken, said):
    found = found_in(tmp_path, HEAD + PLAIN + broken)
    assert isinstance(found, str) and said in found


def test_a_whole_file_is_imported_as_ever(tmp_path):
    found = found_in(tmp_path, HEAD + PLAIN + USES.format("__name__"))
    assert found["wants"][0] == "zoo_file_own_zoo"
