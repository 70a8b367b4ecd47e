"""What ``switchyard compare`` ends with: its exit status, what is allowed, and the last line that
says why."""

from __future__ import annotations

import json

import pytest
from compared_runs import BAD, GOOD, A, B, a_run, said  # noqa: F401
from made_tables import row, table

from switchyard.compare.comparison import compare


@pytest.mark.parametrize(
    "after", [{B: GOOD}, {A: {"state": "planned"}}, {}], ids=["other", "not-run", "empty"]
)
def test_an_empty_night_is_never_green(said, tmp_path, after):
    before = a_run(tmp_path, {A: GOOD})
    status, out, _ = said("compare", before, a_run(tmp_path, after, hours=1))
    assert status == 2 and "Nothing could be compared" in out.splitlines()[-1]


def test_a_night_of_mistakes_on_purpose_alone_is_never_green():
    """They count for nothing, so that nothing was compared."""
    mistake, pending = row("fft", "manual_default_eps-tf"), row("fft", state="planned", verdict="")
    broken = {**mistake, "verdict": "failed"}
    unfinished = [mistake, pending], [mistake, row("fft", verdict="failed")]
    for before, after in (([mistake], [mistake]), ([mistake], [broken]), unfinished):
        assert compare(table(before), table(after)).status == 2


def test_a_peak_that_is_not_judged_hides_no_growth_of_the_model():
    """With the pages of program files on one side, and without them on the other."""
    before = row(memory_peak_mib=200.0, memory_model_data_mib=20.0)
    after = row(memory_peak_mib=100.0, memory_peak_data_mib=60.0, memory_model_data_mib=80.0)
    found = compare(table([before]), table([after]))
    assert (found.counts, found.status) == ({"more-memory": 1}, 1)
    assert compare(table([after]), table([before])).counts == {"less-memory": 1}


@pytest.mark.parametrize("other, said_of_it", [
    ({"outcomes": {B: GOOD}}, "no model in common (a against b)"),
    ({"outcomes": {A: GOOD}, "devices": ("cuda",)}, "no device in common (cpu against cuda)"),
])  # fmt: skip
def test_what_two_tables_have_not_in_common_is_said(said, tmp_path, other, said_of_it):
    before, after = a_run(tmp_path, {A: GOOD}), a_run(tmp_path, **other, hours=1)
    _, out, _ = said("compare", before, after)
    assert out.endswith(f"Nothing could be compared: the tables have {said_of_it}.\n")


def test_what_neither_could_host_is_nothing_compared(said, tmp_path):
    unhosted = {"verdict": "unavailable", "stage": "import", "kind": "missing-dependency"}
    before, after = a_run(tmp_path, {A: unhosted}), a_run(tmp_path, {A: unhosted}, hours=1)
    assert said("compare", before, after)[0] == 2
    before = a_run(tmp_path, {A: unhosted, B: GOOD}, hours=2)
    assert said("compare", before, a_run(tmp_path, {A: unhosted, B: GOOD}, hours=3))[0] == 0


def test_what_is_allowed_is_told_and_does_not_count(said, tmp_path):
    held = {**GOOD, "memory_peak_data_mib": 20.0}
    before = a_run(tmp_path, {A: held, B: held})
    after = a_run(tmp_path, {A: {**held, "memory_peak_data_mib": 50.0}, B: held}, hours=1)
    assert said("compare", before, after)[0] == 1
    status, out, _ = said("compare", before, after, "--allow", "more-memory")
    assert status == 0 and "more-memory: 1 cell" in out
    assert out.endswith("worse; 1 cell more-memory, as allowed; time was not judged.\n")
    report = json.loads(said("compare", before, after, "--allow", "more-memory", "--json", "-")[1])
    assert (report["worse"], report["allowed"]) == (0, ["more-memory"])
    junit = said("compare", before, after, "--allow", "more-memory", "--junit", "-")[1]
    assert 'failures="0"' in junit and "more-memory: " in junit
    # a finding that is not allowed counts also where the verdict is another, that is
    worse = {**held, "memory_peak_data_mib": 50.0, "dynamic": "wrong"}
    before = a_run(tmp_path, {A: {**held, "dynamic": "ok"}, B: held}, hours=2)
    after = a_run(tmp_path, {A: worse, B: {**BAD}}, hours=3)
    status, out, _ = said("compare", before, after, "--allow", "less-accurate", "--allow", "broke")
    assert status == 1
    assert out.endswith("Worse: 1 cell; 1 cell broke or less-accurate, as allowed.\n")
    status, _, err = said("compare", before, after, "--allow", "slow")
    assert status == 2 and "slower" in err
    assert said("compare", before, after, "--allow", "faster")[0] == 2


def test_a_lost_reference_is_said_with_its_reason(said, tmp_path):
    lost = {"verdict": "void", "stage": "reference", "kind": "bad-fixture",
            "message": "no torch.foo"}  # fmt: skip
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: lost, B: GOOD}, hours=1)
    status, out, _ = said("compare", before, after)
    assert status == 1 and "1 gone" in out
    for report in ("--markdown", "--junit"):
        out = said("compare", before, after, report, "-")[1]
        assert "its reference was unusable after" in out and "no torch.foo" in out


def test_names_in_the_conclusion_are_text_alone(said, tmp_path):
    before, after = a_run(tmp_path, {("x\x1b[2J", "r"): GOOD}), a_run(tmp_path, {B: GOOD}, hours=1)
    _, out, _ = said("compare", before, after)
    assert "no model in common" in out and "\x1b" not in out
    assert "\x1b" not in said("compare", before, after, "--junit", "-")[1]


def test_a_report_for_ci_says_no_less_than_the_status(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: BAD, B: GOOD}, hours=1)
    status, out, _ = said("compare", before, after, "--only", "slower", "--junit", "-")
    assert status == 1 and 'failures="1"' in out


def test_a_command_that_fails_itself_does_not_say_that_something_is_worse(said, monkeypatch):
    monkeypatch.setattr("switchyard.tables.opening.find_all", lambda *given: 1 / 0)
    status, _, err = said("compare", "a", "b")
    assert status == 2 and "ZeroDivisionError" in err
