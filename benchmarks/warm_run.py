"""How much of the conversion is spared by a second run over the same models?

``pytest bench/`` twice, with the same options, in a cache that holds the environments and
nothing else. Conversion wall: the time in which at least one reference or conversion was
being made or looked up, the start of a fork server it had to wait for included. Answers and
measurements are never reused, since they are what a run is for; the whole runs show them.
"""

from __future__ import annotations

import argparse

import goals
import sessions

GOAL_TIMES = 20.0
MODELS = ("embedding", "digits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--tier", default="quick")
    options = parser.parse_args()
    arguments = [word for name in options.model or MODELS for word in ("--model", name)]
    arguments += ["--tier", options.tier]
    goals.conditions()
    with sessions.scratch_cache() as cache:
        first, second = (sessions.run_bench(cache, arguments) for _ in range(2))
    if [row["verdict"] for row in first.rows] != [row["verdict"] for row in second.rows]:
        print("the verdicts of the two runs differ: they did not do the same work\n")
    converting = [sessions.covered(run.spans["make"]) for run in (first, second)]
    made = len(first.spans["make"])
    answering = [
        sessions.covered(run.spans["job"] + run.spans["launch"] + run.spans["make"]) - spent
        for run, spent in zip((first, second), converting)
    ]
    rest = [
        run.wall - asked - spent
        for run, asked, spent in zip((first, second), answering, converting)
    ]
    goals.table(
        ("seconds", "first", "second", "first/second"),
        [
            (what, one, two, f"{one / two:.1f}")
            for what, (one, two) in (
                (f"references and conversions ({made})", converting),
                ("answers and measurements", answering),
                ("all else (start, collection, fork servers, tables)", rest),
                ("whole run", (first.wall, second.wall)),
            )
        ],
    )
    print(f"\n{len(first.rows)} cells")
    goals.times_less("conversion wall of the warm second run", *converting, GOAL_TIMES)


if __name__ == "__main__":
    main()
