"""A run of several launches, whole: cells take turns, and the end says what nothing will meet."""

from __future__ import annotations

import json

ROUTES = ("torch-eager", "torchscript-ort")


def test_launches_take_turns_and_what_lies_around_the_run_is_said(bench, tmp_path):
    table = tmp_path / "torch2.13-tf2.21-cpu.csv"
    table.write_text(
        "precision,model,route,stage,kind,verdict,reason\n"
        "float32,gelu_erff,torchscript-ort,load,load-rejected,failed,mistyped\n"
    )
    named = [word for route in ROUTES for word in ("--route", route)]
    ended = bench("--model", "gelu_erf", *named, "--launches", "2", "--expectations", tmp_path,
                  files=["bench/test_latency.py"])  # fmt: skip
    assert ended.status == 0, ended.output
    journal = map(json.loads, (ended.folder / "journal.jsonl").read_text().splitlines())
    taken = [one["cell"]["route"] for one in journal if one["event"] == "samples"]
    assert taken == [*ROUTES, *reversed(ROUTES)]
    said = f"{table}: 1 row(s) name a model or route that does not exist"
    assert said in ended.output, ended.output
    assert "other_runs" in json.loads((ended.folder / "run.json").read_text())
