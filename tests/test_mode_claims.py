"""What the document says of BatchNorm, judged by rows of mistakes made for it."""

from __future__ import annotations

import pandas
import pytest

from switchyard.compare import statistics, tallies
from switchyard.compare.document import claims, silent
from switchyard.hops import export_mistakes, twin_mistakes
from switchyard.vocabulary import MISTAKES

SET = "torch2.13-tf2.21"
NO = "does not hold"


def row(model, route, verdict="investigate", before=None, after=None, **more):
    hops = ">".join(route.split("-")[:-1])
    known = {} if before is None else {"task_accuracy_native": before, "task_accuracy": after}
    return {"version_set": SET, "device": "cpu", "precision": "float32", "model": model,
            "route": route, "hops": hops, "verdict": verdict, "state": "done", **known,
            **more}  # fmt: skip


def judged(name, rows):
    (one,) = [one for one in claims.judge({SET: rows}) if one.claim == name]
    return one


def test_forgetting_eval_is_judged_by_each_way_of_exporting_apart():
    plain = row("digits", "dynamo_left_in_train-ort", "excellent", 0.99, 0.99)
    traced = row("digits", "traced_in_train-ort", before=0.99, after=0.99, batch1_accuracy=0.90,
                 batch1_mse=1.25, batch64_mse=0.5)  # fmt: skip
    assert judged("eval-mode", [plain]).verdict == NO
    both = judged("eval-mode", [traced, plain])
    assert both.verdict == "holds for traced_in_train-ort"
    assert "99.0% to 90.0%" in both.figure and "1.2 one by one, 0.5 at 64" in both.figure
    assert set(both.rows) == {"digits-traced_in_train-ort", "digits-dynamo_left_in_train-ort"}


def test_a_converter_that_refuses_train_mode_breaks_nothing_silently():
    found = judged("eval-mode", [row("digits", "traced_in_train-ort", "refused")])
    assert found.verdict == NO and "refused" in found.figure


def trained(route, mean, variance, biased=0.0):
    return row("digits", route, "excellent", running_mean_error_100=mean,
               running_var_error_100=variance, running_var_biased_error_100=biased)  # fmt: skip


@pytest.mark.parametrize("mean, variance, said", [
    (1e-7, 1e-7, "holds"), (1e-7, 1e-2, "holds for the running mean"), (1e-2, 1e-2, NO),
])  # fmt: skip
def test_the_conversion_of_momentum_is_judged_by_mean_and_variance_apart(mean, variance, said):
    rows = [trained("manual-tf", mean, variance, 3e-7),
            trained("manual_copied_momentum-tf", 0.5, 0.25)]  # fmt: skip
    found = judged("momentum", rows)
    assert found.verdict == said
    assert "3e-07" in found.figure and "copied: 0.5 and 0.25" in found.figure
    assert len(found.rows) == 2


def test_a_drop_that_momentum_does_not_cause_is_not_put_down_to_it():
    harmless = row("digits", "manual_default_momentum-tf", "excellent", 0.99, 0.99)
    forgotten = row("digits", "manual_statistics_forgotten-tf", before=0.99, after=0.14)
    assert judged("momentum-67", [harmless]).verdict == NO
    found = judged("momentum-67", [harmless, forgotten])
    assert found.verdict == "holds for mistakes with BatchNorm"
    assert "99.0% to 14.0%" in found.figure and "without a mistake" not in found.figure
    honest = row("digits", "manual-tf", "excellent", 0.99, 0.985)
    found = judged("momentum-67", [harmless, forgotten, honest])
    assert found.figure.endswith("; 1 conversions without a mistake lose 0.5 points at most")
    guilty = row("digits", "manual_copied_momentum-tf", before=0.92, after=0.67)
    assert judged("momentum-67", [harmless, guilty]).verdict == "holds"


@pytest.mark.parametrize("after, said", [(0.70, "holds for epsilon"), (0.80, NO)])
def test_twenty_points_by_a_convention(after, said):
    rows = [row("a", "manual_default_eps-tf", before=0.99, after=after),
            row("a", "manual_default_momentum-tf", "excellent", 0.99, 0.99)]  # fmt: skip
    assert judged("conventions-20", rows).verdict == said


HARMLESS = row("a", "manual_default_momentum-tf", "excellent", 0.99, 0.99)


def test_momentum_repairs_nothing_where_it_costs_nothing():
    rows = [row("a", "manual_default_eps-tf", before=0.99, after=0.93), HARMLESS]
    found = judged("adjust-momentum", rows)
    assert found.verdict == NO and "not measured: BatchNorm as the cause" in found.figure
    guilty = row("b", "manual_copied_momentum-tf", before=0.99, after=0.93)
    assert judged("adjust-momentum", [*rows, guilty]).verdict == "holds for adjusting momentum"


@pytest.mark.parametrize("after, said", [(0.93, "holds"), (0.95, NO)])
def test_what_a_wrong_parameter_costs_is_the_reverse_of_what_a_drop_is_caused_by(after, said):
    rows = [row("a", "manual_default_eps-tf", before=0.99, after=after), HARMLESS]
    assert judged("batch-norm-drops", rows).verdict == said
    assert judged("adjust-momentum", rows).verdict == NO


def test_a_drop_is_put_down_to_batch_norm_by_conversions_without_a_mistake_alone():
    def dropped(kind):
        return [row(f"m{i}", "dynamo-ort", before=0.99, after=0.9, kind=kind) for i in range(5)]

    norms, others = dropped("channel-affine"), dropped("layout-permuted")
    assert judged("adjust-momentum", [HARMLESS, *norms]).verdict == (
        "holds for BatchNorm as the cause"
    )
    assert judged("adjust-momentum", [HARMLESS, *others]).verdict == NO


@pytest.mark.parametrize("error, said", [(2e-3, "holds"), (5e-4, NO)])
def test_the_band_of_investigation_must_find_every_mistake_that_costs(error, said):
    def one(model, after, error):
        return row(model, "manual_default_eps-tf", before=0.99, after=after, split_mse_mean=error)

    rows = [one("a", 0.9, error), one("b", 0.99, 1e-9)]
    assert judged("batch-norm-shows", rows).verdict == said


def wrong(model, kind, route="dynamo-ort", mse=2e-3, **more):
    return row(model, route, kind=kind, mse=mse, **more)


@pytest.mark.parametrize("norms, said", [(3, "holds for BatchNorm as the cause"), (2, NO)])
def test_batch_norm_is_to_be_investigated_where_it_is_at_fault_in_half_of_the_models(norms, said):
    rows = [wrong(f"m{i}", "channel-affine" if i < norms else "constant-baked") for i in range(6)]
    # more exports of one model are no more models
    rows += [wrong("m5", "constant-baked", f"torchscript{n}-ort") for n in range(9)]
    found = judged("mse-investigate", rows)
    assert found.verdict == said
    assert f"in {norms} of 15 honest conversions with mse above 1e-3 ({norms} of 6" in found.figure
    assert f"{15 - norms} constant-baked" in found.figure
    assert "not measured: preprocessing" in found.figure


def test_mistakes_on_purpose_and_small_errors_say_nothing_of_what_a_large_one_is_caused_by():
    made = [wrong(f"m{i}", "channel-affine", "manual_default_eps-tf") for i in range(9)]
    small = [wrong(f"s{i}", "channel-affine", mse=1e-3) for i in range(9)]
    halves = [wrong(f"h{i}", "channel-affine", precision="float16") for i in range(9)]
    assert judged("mse-investigate", [*made, *small, *halves]).verdict == "not measured"
    others = [wrong(f"m{i}", "unexplained") for i in range(5)]
    assert judged("mse-investigate", [*made, *small, *halves, *others]).verdict == NO


def test_the_cause_is_not_judged_by_fewer_than_five_models():
    rows = [wrong(f"m{i}", "constant-baked") for i in range(4)]
    found = judged("mse-investigate", rows)
    assert found.verdict == "not measured" and "0 of 4 models" in found.figure


def test_what_is_unexplained_in_a_model_that_is_a_batch_norm_is_put_down_to_it():
    rows = [wrong(f"m{i}", "unexplained", family="batchnorm") for i in range(5)]
    assert judged("mse-investigate", rows).verdict == "holds for BatchNorm as the cause"
    assert judged("mse-investigate", [{**one, "family": "norms"} for one in rows]).verdict == NO


def test_the_least_accuracy_counts_whatever_the_batch_it_was_had_at():
    for column in ("task_accuracy", "batch1_accuracy", "batch64_accuracy"):
        one = row("a", "traced_in_train-ort", before=0.99, after=0.99) | {column: 0.5}
        assert "99.0% to 50.0%" in judged("eval-mode", [one]).figure


def test_mistakes_on_purpose_count_for_no_converter():
    rows = [row("a", "torchscript_left_in_train-ort", "excellent", ratio_to_native=1.0),
            row("a", "traced_in_train-ort"), row("a", "torchscript-ort", "excellent")]  # fmt: skip
    assert [rate.route for rate in statistics.rates(rows)] == ["torchscript-ort"]
    assert judged("export-rate", rows).rows == ("a-torchscript-ort",)
    assert silent.silent_faults(rows) == {"": []}
    assert judged("ort-as-fast", rows[:1]).verdict == "not measured"


def test_the_list_of_mistakes_is_that_of_the_hops():
    hops = [*export_mistakes.HOPS, *twin_mistakes.HOPS]
    assert sorted(hop.name for hop in hops) == sorted(MISTAKES)
    plain = {"name": "digits", "tags": [], "twin": {"weights": True, "chain": False},
             "file": ""}
    assert all(hop.takes({**plain, "tags": ["mode"]}) for hop in hops)
    assert not any(hop.takes(plain) for hop in hops)


def test_who_wins_where_is_no_question_to_mistakes():
    rows = [row("a", "traced_in_train-ort"), row("a", "torchscript-ort", "excellent")]
    routes, won = tallies.wins(pandas.DataFrame(rows).assign(stage="compare"))
    assert routes == ["torchscript-ort"] and won.tolist() == [[0]]


def test_routes_stand_in_a_comparison_as_in_a_report():
    has = {"c": "z", "a": "pq", "b": "rqp", "d": "sp"}
    rows = [row(model, route, "excellent") for model, routes in has.items() for route in routes]
    assert tallies._order(pandas.DataFrame(rows)) == statistics.route_order(rows) == [*"rqpsz"]


def test_who_wins_where_is_no_question_to_what_no_converter_was_asked():
    rows = [{**row("a", "torch-eager", "excellent"), "stage": "compare"},
            {**row("a", "manual-tf", "failed"), "stage": "preprocess"}]  # fmt: skip
    routes, won = tallies.wins(pandas.DataFrame(rows))
    assert routes == ["torch-eager"] and won.tolist() == [[0]]
