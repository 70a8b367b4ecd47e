"""How small a slowdown does a run of two version sets in turn find?

Only of what was planted is the truth known, and only of a real run the noise: so in the committed
run of the two sets that differ least in time (or in the one named) a tenth of the cells, drawn by
chance, is made slower by a factor, every launch of theirs in the later set, and the comparison is
asked which. Torch eager is left as it is, so that the same table can be asked in the other way as
well, by the ratio to it, as two runs are. A cell that the table as it stands calls changed is not
drawn. Then all routes are made slower in all their models, their own mean change taken out first,
and the models drawn anew each time; a shift that a whole route has by chance is not in it. The seed
is fixed, so that every run prints the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib

import goals

RUN = "20261127T010059-torch2.9-tf2.20+1more-cpu-quick"
FACTORS = (1.25, 1.5, 2.0, 3.0, 5.0)
PLANTED = 0.1
MANY = 50
ROUTE_FACTORS = (1.1, 1.15, 1.2, 1.3, 1.5)


def both(folder: pathlib.Path, sets: list[str]):
    """The tables of two sets of that run, with every launch's median."""
    from switchyard.cli.sides import both_tables
    from switchyard.tables import opening

    return both_tables(*opening.find_all(sets, folder))


def by_ratio(table):
    """The table as of a run whose sets took no turns."""
    return dataclasses.replace(table, about={**table.about, "sets_in_turn": False})


def slowed(table, chosen, factor: float):
    """The table with every launch of the chosen cells (keys) ``factor`` times as long."""
    from switchyard.tables import schema

    def times(frame, column: str):
        own = frame.set_index(list(schema.KEY)).index.isin(chosen)
        return frame.assign(**{column: frame[column].where(~own, frame[column] * factor)})

    cells, launches = times(table.cells, "latency_median_ms"), times(table.launches, "median_s")
    return dataclasses.replace(table, cells=cells, launches=launches)


def judged(before, after) -> dict[tuple, str]:
    """What is said of the time of each cell of ``after`` that was compared."""
    from switchyard.compare.comparison import compare
    from switchyard.compare.pairing import ACROSS_SETS

    cells = compare(before, after).cells
    keys = cells[list(ACROSS_SETS)].itertuples(index=False, name=None)
    compared = ("slower", "faster", "ambiguous", "as-before")
    return {key: said for key, said in zip(keys, cells["timing"]) if said in compared}


def of_routes(before, after, rng, rounds: int) -> None:
    """The same of whole routes, by the changes of their models in this comparison: each time as
    many models are drawn from a route's own, with repetition, so that its mean errs as it would."""
    import numpy

    from switchyard.compare import route_times, tallies
    from switchyard.compare.comparison import compare
    from switchyard.compare.thresholds import Thresholds

    comparison = compare(before, after)
    groups, routes = list(tallies.GROUPS[1:]), comparison.routes
    cells = comparison.cells[comparison.cells["change"].notna()].reset_index(drop=True)
    logs = numpy.log(cells["change"])
    by = [cells[name] for name in groups]
    logs -= logs.groupby(by).transform("mean")
    own = list(logs.groupby(by).indices.values())

    def status(factor: float):
        drawn = numpy.empty(len(logs))
        for places in own:
            drawn[places] = logs.to_numpy()[rng.choice(places, len(places))]
        judged = cells.assign(change=numpy.exp(drawn + numpy.log(factor)))
        return route_times.by_route(judged, routes, Thresholds())

    rows, alarms = [], 0
    for factor in ROUTE_FACTORS:
        found = [0, 0]
        for _ in range(rounds):
            slow = status(factor)
            many = slow["models"] >= MANY
            for place, which in enumerate((many, ~many)):
                found[place] += int((slow["status"][which] == "slower").sum())
        of = (int(many.sum()), int((~many).sum()))
        rows.append((f"{factor:g}", *(f"{n / (rounds * all):.0%}" for n, all in zip(found, of))))
    for _ in range(rounds):
        alarms += status(1.0)["status"].isin(["slower", "faster"]).any()
    few = f"{of[1]} of {route_times.FEWEST_MODELS} to {MANY - 1}"
    goals.table(("times slower", f"{of[0]} routes of {MANY} models and more", few), rows)
    print()
    what = "comparisons of routes whose models moved by chance alone that call one changed"
    goals.at_most(what, 100 * alarms / rounds, 5, "%")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default=f"results/{RUN}", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=10, help="draws of a tenth")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    import numpy

    from switchyard.tables import reading

    sets = reading.read_about(options.run)["version_sets"][-2:]
    before, after = both(options.run, sets)
    rng = numpy.random.default_rng(options.seed)
    ways = {"in turn": (before, after), "by ratio": (by_ratio(before), by_ratio(after))}
    asis = {name: judged(*pair) for name, pair in ways.items()}
    changed = ("slower", "faster")
    fit = [key for key, said in asis["by ratio"].items()
           if not {said, asis["in turn"][key]} & {*changed}]  # fmt: skip
    rows = []
    for factor in FACTORS:
        found, beside, left = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0), 0
        for _ in range(options.rounds):
            drawn = rng.choice(len(fit), round(PLANTED * len(fit)), replace=False)
            planted = {fit[place] for place in drawn}
            keys = [(sets[1], *key) for key in planted]
            left += len(fit) - len(planted)
            for name, (one, other) in ways.items():
                said = judged(one, slowed(other, keys, factor))
                found[name] += sum(said[key] == "slower" for key in planted)
                beside[name] += sum(said[key] in changed for key in fit if key not in planted)
        total = options.rounds * round(PLANTED * len(fit))
        shares = [f"{found[name] / total:.0%}" for name in ways]
        rows.append((f"{factor:g}", *shares, *(f"{beside[name] / left:.1%}" for name in ways)))
    print(f"{options.run.name}: {sets[0]} and {sets[1]}, {len(fit)} cells\n")
    goals.table(("times slower", "found in turn", "by ratio", "beside, in turn", "by ratio"), rows)
    print()
    of_routes(before, after, rng, 20 * options.rounds)


if __name__ == "__main__":
    main()
