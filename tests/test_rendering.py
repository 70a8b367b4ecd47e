"""The lines shown of a table: what they say, that they fit, that they are quiet or loud."""

from __future__ import annotations

import re

import pytest

from switchyard.compare import rendering, statistics
from switchyard.compare.rendering import MARKS, Terminal
from switchyard.vocabulary import VERDICTS

ROUTES = (
    "torch-eager",
    "torch-compile",
    "dynamo-ort",
    "torchscript-ort",
    "torchscript17-ort",
    "torchscript11-ort",
    "dynamo-onnxslim-ort",
    "torchscript-onnxsim-ort",
    "dynamo-onnx2tf-tf",
    "dynamo-onnx2tf-litert",
    "torchscript17-onnx2tf-tf",
    "torchscript17-onnx2tf-litert",
    "torchscript17-onnx2tf-tf2onnx-ort",
    "dynamo-onnx2tf-tf2onnx-ort",
)


def row(model: str, route: str, verdict: str | None = "excellent", **more) -> dict:
    return {
        "state": "done",
        "version_set": "torch2.13-tf2.21",
        "device": "cpu",
        "precision": "float32",
        "model": model,
        "family": "conv",
        "route": route,
        "stage": "compare",
        "kind": None,
        "verdict": verdict,
        "expected": "as-expected",
        "expected_outcome": None,
        "message": None,
        "signature": None,
        **more,
    }


def many_rows() -> list[dict]:
    verdicts = [*VERDICTS, "excellent", "excellent", "acceptable"]
    rows = []
    for number in range(60):
        for place, route in enumerate(ROUTES):
            if place > 7 and number % 4:
                continue
            more = {"family": f"family_{number // 6}", "convert_seconds": 0.5 + place}
            if (number + place) % 11 == 0:
                more |= {"expected": "new", "message": f"error {number} " * 30, "signature": "e"}
            rows.append(
                row(
                    f"model_number_{number:02}",
                    route,
                    verdicts[(number * 3 + place) % len(verdicts)],
                    **more,
                )
            )
    return rows


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("unicode", [True, False])
def test_everything_fits_its_terminal(width, unicode):
    terminal = Terminal(width, unicode)
    rows = many_rows()
    lines = rendering.matrix(rows, terminal) + rendering.route_rates(rows, terminal)
    lines += [
        line
        for line in rendering.changes(rows, terminal)
        if "pytest" not in line  # a command that is cut cannot be run
    ]
    assert len(lines) > 100
    assert max(map(len, lines)) <= width
    if not unicode:
        assert all(line.isascii() for line in lines)
    text = "\n".join(lines)
    assert all(route in text for route in ROUTES), "a route's name is cut"


def test_more_routes_than_columns_go_into_further_blocks():
    rows = [row("m", f"a-rather-long-route-name-{i:03}") for i in range(60)]
    lines = rendering.matrix(rows, Terminal(80))
    assert max(map(len, lines)) <= 80
    assert sum(line.count("●") for line in lines[:-1]) == 60  # the last line is the legend
    for one in rows:
        assert sum(one["route"] in line for line in lines) == 1


def test_marks_are_distinct_and_cover_every_verdict():
    assert set(VERDICTS) <= set(MARKS)
    for alphabet in ("unicode", "ascii"):
        marks = [getattr(mark, alphabet) for mark in MARKS.values()]
        assert len(set(marks)) == len(marks)
        assert all(len(mark) == 1 and mark not in " !" for mark in marks)


def test_a_mark_stands_under_the_stair_of_its_route():
    rows = [
        row("one", "torch-eager"),
        row("one", "dynamo-ort", "failed"),
        row("one", "torchscript-ort", "refused"),
    ]
    lines = rendering.matrix(rows, Terminal(80))
    marks = next(line for line in lines if " one " in line)
    for route, mark in zip(("torch-eager", "dynamo-ort", "torchscript-ort"), "●✗⊘"):
        stair = next(line for line in lines if line.strip().startswith(route))
        assert marks[stair.index("┐")] == mark


def test_an_absent_cell_leaves_a_gap_and_states_show():
    rows = [
        row("one", "torch-eager"),
        row("one", "a-b"),
        row("one", "c-d"),
        row("two", "c-d"),
        row("three", "a-b", None, state="planned"),
        row("three", "c-d", None, state="running"),
        row("three", "torch-eager", None),
    ]
    lines = rendering.matrix(rows, Terminal(80))
    assert next(line for line in lines if " two " in line).endswith(" two     ●")
    assert next(line for line in lines if "three" in line).endswith(" three ▹ … ~")


def test_known_failures_are_quieter_than_new_ones():
    painted: dict[str, set[str]] = {}

    def paint(text: str, style: str) -> str:
        painted.setdefault(text, set()).add(style)
        return text

    rows = [
        row("known", "a-b", "failed"),
        row("fresh", "a-b", "refused", expected="new"),
        row("unrecorded", "a-b", "investigate", expected="no-expectation"),
        row("passed", "a-b", "excellent", expected="fixed"),
    ]
    rendering.matrix(rows, Terminal(paint=paint))
    assert painted["✗"] == {"quiet"}
    assert painted["⊘!"] == {"new"}
    assert painted["●!"] == {"new"}
    assert painted["≠"] == {"wrong"}


def test_paint_takes_no_room():
    bare = rendering.matrix(many_rows(), Terminal(80))
    coloured = rendering.matrix(
        many_rows(), Terminal(80, paint=lambda text, style: f"\x1b[1m{text}\x1b[0m")
    )
    stripped = [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured]
    assert stripped == [line.rstrip() for line in bare]


def test_each_version_set_has_a_block_of_its_own():
    rows = [row("m", "a-b"), row("m", "a-b", "failed", version_set="torch2.0-tf2.13")]
    text = "\n".join(rendering.matrix(rows, Terminal()))
    assert text.index("torch2.13-tf2.21  cpu  float32") < text.index("torch2.0-tf2.13  cpu")


def test_unavailable_and_void_count_neither_for_nor_against():
    rows = [
        row("a", "r-ort"),
        row("b", "r-ort", "acceptable"),
        row("c", "r-ort", "refused"),
        row("d", "r-ort", "unavailable"),
        row("e", "r-ort", "void"),
        row("f", "r-ort", None, state="planned"),
        row("g", "r-ort", "excellent", state="interrupted"),
        row("h", "r-ort", None),
    ]
    (rate,) = statistics.rates(rows)
    assert (rate.passed, rate.attempted, rate.planned) == (2, 3, 8)
    assert rate.interval == statistics.wilson_interval(2, 3)
    line = rendering.route_rates(rows, Terminal(80))[1]
    assert line.split()[:5] == ["r-ort", "2/3", "66.7%", "21–94%", "25.0%"]


def test_seconds_and_ratios_are_of_passing_cells_alone():
    rows = [
        row("a", "r-ort", convert_seconds=1.0, ratio_to_native=0.5),
        row("b", "r-ort", convert_seconds=3.0, ratio_to_native=2.0),
        row("c", "r-ort", convert_seconds=8.0, ratio_to_native=None),
        row("d", "r-ort", "investigate", convert_seconds=500.0, ratio_to_native=0.001),
    ]
    (rate,) = statistics.rates(rows)
    assert rate.convert_median_s == 3.0
    assert rate.ratio_to_native == pytest.approx(1.0)


def test_a_route_that_was_never_attempted_has_no_rate():
    rows = [row("a", "r-ort", "unavailable")]
    line = rendering.route_rates(rows, Terminal(80))[1]
    assert line.split() == ["r-ort", "0/0", "0.0%"]  # of planned; no rate, no interval


def test_routes_keep_the_planned_order_where_the_first_model_lacks_some():
    rows = [
        row("few", "a-b"),
        row("few", "c-d"),
        row("all", "a-b"),
        row("all", "b-c"),
        row("all", "c-d"),
    ]
    assert statistics.route_order(rows) == ["a-b", "b-c", "c-d"]


def test_a_change_says_what_was_expected_what_happened_why_and_how_to_repeat():
    rows = [
        row("ok", "a-b"),
        row(
            "fft",
            "dynamo-ort",
            "refused",
            stage="convert:dynamo",
            kind="unsupported-operator",
            expected="changed",
            expected_outcome="run crash failed",
            message="No such op: aten.fft",
        ),
    ]
    lines = rendering.changes(rows, Terminal(100), command=lambda r: f"RUN {r['model']}")
    assert lines == [
        "1 cell stopped otherwise than recorded:",
        "  No such op: aten.fft",
        "  fft-dynamo-ort  run crash failed → convert:dynamo unsupported-operator refused",
        "    RUN fft",
    ]


def test_one_cause_behind_forty_cells_is_one_cluster():
    rows = [
        row(f"m{i}", "dynamo-ort", "failed", expected="new", signature="same", message="boom")
        for i in range(40)
    ]
    rows.append(row("other", "dynamo-ort", "failed", expected="new", signature="another"))
    lines = rendering.changes(rows, Terminal(80), most=3)
    assert lines[0] == "40 cells expected to pass, same error:"
    assert sum("boom" in line for line in lines) == 1
    assert sum("pytest bench/" in line for line in lines) == 3 + 1
    assert any(line.startswith("  and 37 more: m3-dynamo-ort, ") for line in lines)
    assert "m39-dynamo-ort" in "\n".join(lines)


def test_cells_without_a_signature_are_not_said_to_share_a_cause():
    rows = [row(f"m{i}", "a-b", "failed", expected="new") for i in range(2)]
    lines = rendering.changes(rows, Terminal())
    assert [line for line in lines if line.startswith("1 cell ")] == [
        "1 cell expected to pass:"
    ] * 2


def test_new_failures_come_before_unexpected_successes():
    rows = [
        row("won", "a-b", expected="fixed", expected_outcome="run crash failed"),
        row("lost", "a-b", "failed", stage="run", kind="crash", expected="new"),
    ]
    text = "\n".join(rendering.changes(rows, Terminal()))
    assert text.index("pass → run crash failed") < text.index("run crash failed → excellent")


def test_a_set_without_expectations_is_said_to_have_none():
    rows = [row("a", "a-b", "failed", expected="no-expectation")]
    assert "torch2.13-tf2.21 has no expectations" in rendering.changes(rows, Terminal(120))[0]
    assert rendering.changes([row("a", "a-b")], Terminal()) == []


def test_totals_count_every_cell_once():
    rows = [row("a", "r"), row("b", "r", "failed"), row("c", "r", None, state="planned")]
    assert rendering.totals(rows) == "3 cells: 1 excellent, 1 failed, 1 not run"


def test_nothing_planned_renders_as_nothing():
    assert rendering.matrix([]) == rendering.route_rates([]) == rendering.changes([]) == []
    assert rendering.totals([]) == "0 cells: none planned"
