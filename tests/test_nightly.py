"""The nightly workflow: its steps as a runner would run them, GitHub's answers made up here."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import urllib.parse
from pathlib import Path

import pytest

from switchyard.runner import version_sets

WORKFLOW = (Path(__file__).resolve().parents[1] / ".github/workflows/nightly.yml").read_text()


def step(name: str) -> str:
    """One step as it stands in the workflow."""
    steps = re.split(r"\n\n(?= +(?:#|- ))", WORKFLOW)
    (found,) = (one for one in steps if f"- name: {name}\n" in one)
    return found


def script(name: str) -> str:
    return textwrap.dedent(step(name).partition("run: |\n")[2])


# The last good night.


def artefact(number: int, day: int, branch="main", expired=False, fork=False) -> dict:
    run = {"id": number, "head_branch": branch, "repository_id": 1}
    run["head_repository_id"] = 2 if fork else 1
    made = f"2026-11-{day:02}T03:00:00Z"
    return {"expired": expired, "created_at": made, "workflow_run": run}


@pytest.fixture
def github(tmp_path, monkeypatch):
    """GitHub's interface, whose ``artefacts`` (or ``status``) are the test's."""

    class Answer(http.server.BaseHTTPRequestHandler):
        artefacts, status = [], 200

        def do_GET(self):
            path, _, query = self.path.partition("?")
            asked = dict(urllib.parse.parse_qsl(query))
            said = {"default_branch": "main"}
            if path.endswith("/actions/artifacts"):
                assert asked["name"] == "one-cpu-quick-good"
                size, page = int(asked["per_page"]), int(asked["page"])
                said = {"artifacts": self.artefacts[size * (page - 1) : size * page]}
            self.send_response(self.status if path.endswith("/artifacts") else 200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in {"REPOSITORY": "owner/project", "TOKEN": "secret"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("TABLE", "one-cpu-quick")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield Answer
    server.shutdown()
    thread.join()
    server.server_close()


def last_good(tmp_path) -> str:
    code = script("Find the last good night")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return (tmp_path / "output").read_text().removeprefix("run=").strip()


def test_none_is_the_first_night(github, tmp_path):
    assert last_good(tmp_path) == ""


def test_the_newest_night_of_the_default_branch_that_is_still_there_is_taken(github, tmp_path):
    github.artefacts = [
        artefact(10, 9, expired=True),
        artefact(11, 8, branch="trial"),
        artefact(12, 7, fork=True),
        *(artefact(20 + day, 1) for day in range(100)),  # so that it is on the second page
        artefact(13, 5),
        artefact(14, 6),
    ]
    assert last_good(tmp_path) == "14"


def test_that_it_cannot_be_asked_for_is_no_first_night(github, tmp_path):
    github.status = 503
    with pytest.raises(AssertionError, match="503"):
        last_good(tmp_path)
    assert not (tmp_path / "output").exists()
    assert "continue-on-error" not in WORKFLOW


# The comparison, and what it lets become good.


def compared(tmp_path, last: str, report: int = 0, compare: int = 0, state: str = "done"):
    """The step's exit status, and whether it says that the table was judged."""
    (tmp_path / "after" / "run").mkdir(parents=True)
    (tmp_path / "after" / "run" / "run.json").write_text(json.dumps({"state": state}))
    (tmp_path / "before" / "run").mkdir(parents=True)
    (tmp_path / "before" / "run" / "run.json").touch()
    command = tmp_path / "bin" / "switchyard"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\n[ "$1" = report ] && exit {report}\nexit {compare}\n')
    command.chmod(0o755)
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    variables = {**os.environ, **files, "LAST": last, "TABLE": "one-cpu-quick"}
    variables["PATH"] = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    code = script("Compare with the last good night")
    done = subprocess.run(["bash", "-e", "-c", code], cwd=tmp_path, env=variables, timeout=60)
    output = tmp_path / "GITHUB_OUTPUT"
    return done.returncode, output.exists() and output.read_text() == "judged=yes\n"


@pytest.mark.parametrize(
    ("last", "ends", "status", "judged"),
    [
        ("14", {"compare": 0}, 0, True),
        ("14", {"compare": 1}, 1, True),
        ("14", {"compare": 2}, 2, False),
        ("", {"compare": 2}, 0, True),  # the first night compares nothing
        ("", {"report": 2}, 2, False),
        ("14", {"report": 2}, 2, False),
        ("14", {"compare": 1, "state": "interrupted"}, 1, False),
        ("", {"state": "running"}, 0, False),
    ],
)
def test_a_table_counts_as_judged_where_it_was_compared_or_is_the_first(
    tmp_path, last, ends, status, judged
):
    assert compared(tmp_path, last, **ends) == (status, judged)


def test_a_table_that_was_not_judged_is_not_taken_over_nor_one_that_was_not_named():
    (condition,) = re.findall(
        r"if: >-\n(.*?)\n +uses:",
        step("Keep it as what the next nights are compared with"),
        re.DOTALL,
    )
    taken_over = (
        "${{ success() || (!cancelled() && steps.compare.outputs.judged == 'yes' "
        "&& (inputs.accept == 'all' || inputs.accept == matrix.version_set) "
        "&& (inputs.accept_device == 'both' || inputs.accept_device == matrix.device)) }}"
    )
    assert " ".join(condition.split()) == taken_over


def test_a_night_that_is_not_good_keeps_the_last_good_one_from_expiring():
    kept = step("Keep the last good night for another while")
    assert "steps.good.outcome == 'skipped' && steps.fetch.outcome == 'success'" in kept
    new = step("Keep it as what the next nights are compared with")
    assert "id: good\n" in new
    with_ = [one.partition("with:\n")[2].replace("after/", "before/") for one in (new, kept)]
    assert with_[0].strip() == with_[1].strip() and "name: ${{ env.TABLE }}-good" in kept


def test_two_nights_are_not_judged_by_time():
    code = script("Compare with the last good night")
    assert re.search(r'switchyard compare "\$before" "\$after" --allow slower \\\n', code)


def test_every_set_can_be_named_to_be_taken_over():
    options = WORKFLOW.partition("accept:\n")[2].partition("default:")[0]
    names = {name for name, one in version_sets.version_sets().items() if one.folder}
    assert set(re.findall(r"^ +- (\S+)$", options, re.MULTILINE)) == {"none", "all", *names}
