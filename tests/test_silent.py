"""What arrives wrong without a word: only that, and every family has its line."""

from __future__ import annotations

from switchyard.compare.document.silent import Fault, braced, markdown_lines, silent_faults


def row(model, route, verdict="investigate", family="gaps", **more):
    return {"family": family, "model": model, "route": route, "verdict": verdict, **more}


def test_one_fault_is_a_model_and_a_kind_with_the_worst_error_of_its_routes():
    rows = [
        row("fft", "torch-eager", "excellent"),
        row("fft", "torchscript-ort", kind="constant-baked", mse=1.0),
        row("fft", "dynamo-ort", kind="constant-baked", mse=3.0),
        row("fft", "dynamo-onnx2tf-tf", kind="shape"),
    ]
    assert silent_faults(rows) == {
        "gaps": [
            Fault("fft", "constant-baked", ("torchscript-ort", "dynamo-ort"), 3.0),
            Fault("fft", "shape", ("dynamo-onnx2tf-tf",), None),
        ]
    }


def test_what_stops_or_passes_is_no_silent_fault_but_another_size_may_be():
    rows = [
        row("a", "dynamo-ort", "refused", kind="unsupported-operator"),
        row("a", "torchscript-ort", "failed", kind="crash"),
        row("b", "dynamo-ort", "excellent", dynamic="ok"),
        row("b", "torchscript-ort", "acceptable", dynamic="wrong", mse=1e-9),
        row("c", "dynamo-ort", "excellent", family="norms", dynamic="failed"),
    ]
    assert silent_faults(rows) == {
        "gaps": [Fault("b", "", ("torchscript-ort",), 1e-9)], "norms": []}  # fmt: skip


def test_routes_that_go_on_alike_are_written_once():
    assert braced(["dynamo-ort"]) == "`dynamo-ort`"
    assert braced(["dynamo-ort", "torchscript-ort", "dynamo-onnx2tf-tf"]) == (
        "`{dynamo,torchscript}-ort`, `dynamo-onnx2tf-tf`"
    )
    both = [f"{hop}-onnx2tf-{end}" for hop in "ab" for end in ("tf", "litert", "tf2onnx-ort")]
    assert braced([*both, "c-onnx2tf-tf", "a-ort"]) == (
        "`{a,b,c}-onnx2tf-tf`, `{a,b}-onnx2tf-{litert,tf2onnx-ort}`, `a-ort`"
    )


def test_the_table_says_none_found_where_none_was():
    lines = markdown_lines([
        row("a", "dynamo-ort", kind="shape"), row("b", "dynamo-ort", "excellent"),
        row("c", "dynamo-ort", "excellent", family="digits")])  # fmt: skip
    assert lines[2:] == [
        "| digits | 1 | none found |",
        "| gaps | 2 | `a`: `dynamo-ort`; shape, no mse |",
    ]


def test_what_is_out_of_somebody_elses_table_ends_no_cell():
    foreign, harmless = "a|`b`", "a&#124;&#96;b&#96;"
    line = markdown_lines([row(foreign, f"{foreign}-ort", family=foreign, kind=foreign)])[2]
    assert line == f"| {harmless} | 1 | {harmless}: {harmless}-ort; {harmless}, no mse |"
