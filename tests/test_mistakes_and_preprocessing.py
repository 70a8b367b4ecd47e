"""The Markdown tables of mistakes made on purpose and of preprocessing, from made-up rows."""

from __future__ import annotations

from switchyard.compare.document import mistakes, preprocessing

FORGOTTEN = {
    "route": "manual_statistics_forgotten-tf",
    "hops": "manual_statistics_forgotten",
    "precision": "float32",
}
ROWS = [
    {
        **FORGOTTEN, "model": "digits", "verdict": "investigate", "mse": 13.0,
        "batch1_mse": 24.0, "batch64_mse": 25.0, "split_mse_mean": 26.0, "split_mse_worst": 30.0,
        "batch1_accuracy": 0.7, "batch64_accuracy": 0.72, "task_accuracy_native": 0.99,
        "source_changed": "no",
    },
    {**FORGOTTEN, "model": "chain", "verdict": "investigate", "kind": "non-finite"},
    {**FORGOTTEN, "model": "chain", "precision": "bfloat16", "verdict": "unavailable"},
    {
        "route": "traced_in_train-ort", "hops": "traced_in_train", "precision": "float32",
        "model": "chain", "verdict": "investigate", "mse": 0.38, "source_changed": "buffers",
    },
    {"route": "manual-tf", "hops": "manual", "precision": "float32", "model": "digits",
     "verdict": "excellent", "mse": 1e-12},
]  # fmt: skip


def test_each_mistake_has_a_line_a_model_and_what_is_none_has_no_line():
    lines = mistakes.markdown_lines(ROWS)[2:]
    assert lines == [
        "| traced in train mode | `traced_in_train-ort` | `chain` |  | 3.8e-01 |  |  | buffers |",
        "| running statistics forgotten | `manual_statistics_forgotten-tf` | `digits` "
        "| 72.0%, 70.0% (99.0%) | 1.3e+01 | 2.4e+01, 2.5e+01 | 2.6e+01, 3.0e+01 | no |",
        "| running statistics forgotten | `manual_statistics_forgotten-tf` | `chain` "
        "|  | non-finite |  |  |  |",
    ]


#: What Markdown gives a meaning in a cell, and what is left of it.
FOREIGN, HARMLESS = "a|`b`", "a&#124;&#96;b&#96;"


def test_what_is_out_of_somebody_elses_table_ends_no_cell_of_a_mistakes_line():
    made = {**FORGOTTEN, "model": FOREIGN, "verdict": FOREIGN, "source_changed": FOREIGN}
    (line,) = mistakes.markdown_lines([made])[2:]
    assert line.count(HARMLESS) == 3 and line.count("|") == 9
    (line,) = mistakes.markdown_lines([{**made, "route": f"{FOREIGN}-ort"}])[2:]
    assert line.startswith(f"|  | {HARMLESS}-ort | {HARMLESS} |") and line.count("|") == 9


def test_every_mistake_hop_can_be_said():
    """A hop added without its words would be told by its route's name alone."""
    from switchyard.vocabulary import MISTAKES

    assert {route.rsplit("-", 1)[0] for route in mistakes.SAID} == set(MISTAKES)


def picture(model, route="manual-tf", **more):
    return {"model": model, "route": route, "precision": "float32", **more}


def test_pictures_stand_by_their_difference_with_the_cells_that_share_it():
    rows = [
        picture("far", stage="preprocess", verdict="failed", preprocess_mse=0.34,
                preprocess_differs="scaling", preprocess_output_nmse=0.095,
                preprocess_top1_agreement=0.5),
        picture("near", verdict="excellent", preprocess_mse=5e-13),
        picture("near", "dynamo-ort", verdict="acceptable", preprocess_mse=5e-13),
        picture("no_picture", verdict="excellent"),
    ]  # fmt: skip
    assert preprocessing.markdown_lines(rows)[2:] == [
        "| `near` | 5.0e-13 |  |  | `manual-tf` excellent, `dynamo-ort` acceptable |",
        "| `far` | 3.4e-01 | scaling | 9.5e-02, 50% | `manual-tf` stops |",
    ]


def test_what_is_out_of_somebody_elses_table_ends_no_cell_of_a_pictures_line():
    far = picture(FOREIGN, FOREIGN, verdict=FOREIGN, preprocess_mse=0.5, preprocess_differs=FOREIGN)
    assert preprocessing.markdown_lines([far])[2:] == [
        f"| {HARMLESS} | 5.0e-01 | {HARMLESS} |  | {HARMLESS} {HARMLESS} |",
    ]
