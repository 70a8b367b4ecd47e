"""The reports of ``switchyard compare`` and ``switchyard report``; others' text stays text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as etree
from pathlib import Path

import pytest
from compared_runs import BAD, GOOD, NATIVE, REAL, REAL_CELLS, ROOT, A, B, a_run, said  # noqa: F401

# reports

EVIL = "x | y `code` <img src=q> [a](b) @team #1 ``` \\| *b* &amp; end"


@pytest.fixture
def evil(tmp_path) -> tuple[Path, Path]:
    """Two runs of which one has an error that tries to be Markdown, XML and a terminal."""
    message = EVIL + "\x1b[31m red \x00 \x08"
    bad = {**BAD, "message": message, "signature": message, "verdict": "failed"}
    before = a_run(tmp_path, {A: GOOD, B: GOOD, ("c", "dynamo-ort"): {"state": "planned"}})
    after = a_run(tmp_path, {A: bad, B: GOOD, ("c", "dynamo-ort"): GOOD}, hours=1)
    # control characters that no writer of ours lets through, but an editor may
    for folder in (before, after):
        table = folder / "cells.csv"
        table.write_bytes(table.read_bytes().replace(b" end", b" end\x0b\x1b[2J\x01\xef\xbf\xbf"))
    return before, after


def test_markdown_takes_an_error_for_nothing_but_text(said, evil, tmp_path):
    file = tmp_path / "report.md"
    status, out, _ = said("compare", *evil, "--markdown", file)
    assert status == 1 and "Worse: 1 cell." in out  # the terminal has its report as well
    text = file.read_text()
    (line,) = [line for line in text.splitlines() if "<img" in line]
    # one code span, closed by a longer fence than any run of backticks in the message
    fence = re.match(r"- 1 cell: (`+)", line).group(1)
    assert len(fence) == 4 and line.endswith(fence) and line.count(fence) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables if "dynamo-ort" in line}) == 1


def test_markdown_says_what_the_terminal_says_of_the_whole(said, tmp_path):
    wide = [0.5, 2.0, 1.0]
    timed = {**GOOD, "launches": 3, "latency_median_ms": 1.0}
    outcomes = {("a", NATIVE): timed, A: timed}
    before = a_run(tmp_path, outcomes, samples={("a", NATIVE): wide, A: wide})
    slow = {("a", NATIVE): wide, A: [2 * one for one in wide]}
    after = a_run(tmp_path, outcomes, hours=1, samples=slow)
    shown = " ".join(said("compare", before, after)[1].split())
    page = said("compare", before, after, "--markdown", "-")[1]
    for sentence in ("ambiguous timing: 1 cell beyond 1.25 times (1 slower, 0 faster) on too ",
                     "Of 2 cells planned in both: before 2 passed "):  # fmt: skip
        assert sentence in shown and page.count(f"\n{sentence}") == 1
    only = said("compare", before, after, "--markdown", "-", "--only", "broke")[1]
    assert "Of 2 cells planned in both" in only and "ambiguous timing" not in only


def test_markdown_of_a_name_in_a_table_is_escaped():
    from switchyard.compare import as_markdown

    cell = as_markdown.text("a|b <b> `x` [l](u) @me *e* _e_ https://h www.h snake_case\nnext")
    assert not re.search(r"[|<>`\[\]@*]|\n", cell)
    assert "snake_case" in cell and "https://" not in cell and "www." not in cell
    assert as_markdown.code("`") == "`` ` ``"


def test_junit_is_well_formed_whatever_the_error_says(said, evil, tmp_path):
    file = tmp_path / "junit.xml"
    said("compare", *evil, "--junit", file)
    root = etree.parse(file).getroot()
    suite = root.find("testsuite")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert set(cases) == {"a-dynamo-ort", "b-dynamo-ort", "c-dynamo-ort"}
    failure = cases["a-dynamo-ort"].find("failure")
    assert failure.get("type") == "broke" and EVIL.partition(" end")[0] in failure.text
    assert cases["c-dynamo-ort"].find("skipped").get("message") == "not run before"
    assert len(cases["b-dynamo-ort"]) == 0
    for element in (root, suite):
        assert [element.get(n) for n in ("tests", "failures", "errors", "skipped")] == list("3101")


def test_junit_of_nothing_compared_is_an_error(said, tmp_path):
    before, after = a_run(tmp_path, {A: GOOD}), a_run(tmp_path, {B: GOOD}, hours=1)
    status, out, err = said("compare", before, after, "--junit", "-")
    root = etree.fromstring(out.encode())
    assert status == 2 and root.get("errors") == "1" and root.find(".//error") is not None
    assert "Nothing could be compared" in err


def test_the_terminal_gets_no_escape_sequence_of_an_error(said, evil):
    _, out, _ = said("compare", *evil)
    assert "<img src=q>" in out and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out)


def test_json_is_strict_and_has_every_cell(said, evil):
    status, out, _ = said("compare", *evil, "--json", "-")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(out, parse_constant=refuse)
    assert found["status"] == status == 1
    assert found["counts"] == {"broke": 1, "not-comparable": 1, "same": 1}
    cells = {cell["cell"].rpartition(":")[2]: cell for cell in found["cells"]}
    assert len(cells) == 3
    assert cells["a-dynamo-ort"]["verdict"] == "broke"
    assert cells["a-dynamo-ort"]["after"]["kind"] == "crash"
    assert cells["b-dynamo-ort"]["before"]["error"] == 1e-14
    assert "latency_median_ms" not in cells["b-dynamo-ort"]["before"]  # not measured is not 0
    narrowed = json.loads(said("compare", *evil, "--json", "-", "--only", "broke")[1])
    assert len(narrowed["cells"]) == 1 and narrowed["counts"] == found["counts"]


def test_json_of_the_real_table_has_the_routes_and_who_wins_where(said):
    found = json.loads(said("compare", REAL, REAL, "--json", "-")[1])
    assert len(found["cells"]) == REAL_CELLS > 500
    one = next(
        r for r in found["routes"] if r["route"] == "dynamo-ort" and r["precision"] == "float32"
    )
    assert one["planned"] == one["before_attempted"] > 100
    assert one["before_past_convert"] > one["before_past_compare"] == one["before_passed"]
    wins = found["wins_after"]
    place = {route: number for number, route in enumerate(wins["routes"])}
    # counted by hand from the rows: models that one passes and the other does not
    passing = {(c["model"], c["precision"]): {} for c in found["cells"]}
    for c in found["cells"]:
        good = c["after"]["verdict"] in ("excellent", "acceptable")
        passing[c["model"], c["precision"]][c["route"]] = good
    expected = sum(
        routes.get("dynamo-ort") is True and routes.get("torchscript-ort") is False
        for routes in passing.values()
    )
    assert wins["passes"][place["dynamo-ort"]][place["torchscript-ort"]] == expected > 0


def test_nothing_is_overwritten_but_the_file_that_is_named(said, tmp_path):
    before, after = a_run(tmp_path, {A: GOOD}), a_run(tmp_path, {A: BAD}, hours=1)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target in (before / "cells.csv", after / "run.json"):
        status, _, err = said("compare", before, after, "--json", target)
        assert status == 2 and "part of a table that is read" in err
    assert said("compare", before, after, "--json", "-", "--junit", "-")[0] == 2
    assert said("compare", before, after, "--json", tmp_path / "no" / "such" / "folder")[0] == 2
    said("compare", before, after, "--json", tmp_path / "out.json")
    now = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(now) - set(kept) == {tmp_path / "out.json"}
    assert all(now[path] == content for path, content in kept.items())


# report


def test_report_prints_what_the_run_printed(said, tmp_path):
    folder = a_run(tmp_path, {A: {**BAD, "expected": "new"}, B: GOOD})
    status, out, _ = said("report", folder)
    assert status == 0
    assert "torch2.13-tf2.21  cpu  float32" in out and re.search(r"dynamo-ort +1/2 +50\.0%", out)
    assert "1 cell expected to pass:\n  boom at 3\n" in out
    assert "pytest bench/ --model a --route dynamo-ort" in out
    assert f"2 cells: 1 excellent, 1 failed\ntable: {folder}\n" in out
    by_name = said("report", "torch2.13-tf2.21", "--results", tmp_path)[1]
    assert by_name == out


def test_report_as_markdown_has_rates_matrix_and_deviations(said, tmp_path):
    folder = a_run(tmp_path, {A: {**BAD, "message": EVIL, "expected": "new"}, B: GOOD})
    status, out, _ = said("report", folder, "--markdown", "-")
    assert status == 0
    assert "| torch2.13-tf2.21 cpu float32 | dynamo-ort | 1/2 | 50.0% |" in out
    assert "| a | ✗! |" in out and "| b | ● |" in out
    assert "- `a-dynamo-ort`: pass → run crash failed ````" in out.replace(
        "torch2.13-tf2.21:cpu:float32:", ""
    )


def test_it_runs_as_a_module_into_a_closed_pipe():
    """``switchyard compare A B | head -1`` ends quietly."""
    command = [sys.executable, "-m", "switchyard", "compare", str(REAL), str(REAL)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    child.stdout.close()
    _, error = child.communicate(timeout=120)
    assert (child.returncode, error) == (0, b"")


def test_a_terminal_of_ascii_alone_gets_a_sign_for_the_rest(tmp_path):
    before = a_run(tmp_path, {A: GOOD})
    after = a_run(
        tmp_path, {A: {**BAD, "message": "größer als \N{GREEK SMALL LETTER EPSILON}"}}, hours=1
    )
    command = [sys.executable, "-m", "switchyard", "compare", str(before), str(after)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 1 and done.stderr == b""
    assert b"gr??er als ?" in done.stdout and b"excellent -> run crash failed" in done.stdout


def test_texts_that_a_writer_guarded_read_back(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD})
    after = a_run(tmp_path, {A: {**BAD, "message": "=cmd|' /C calc'!A0"}}, hours=1)
    assert "'=cmd" in (after / "cells.csv").read_text()
    assert "\n  =cmd|' /C calc'!A0\n" in said("compare", before, after)[1]
