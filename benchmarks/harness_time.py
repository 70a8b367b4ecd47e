"""What does Switchyard itself add to a cell, beyond the stages' own work?

One run of ``pytest bench/`` with ``--jobs 1``, so that nothing overlaps, in an empty
artefact store, with nothing installed meanwhile.

The stages' own work: references, conversions and answers by the clock of the child that did
them (building the model and importing its file included), and in the measured process the
runtime's import as far as it was waited for, the loading, every call and every reading of memory. So is
the description of the zoo's files by a worker, which later runs find in the cache. All the rest of the wall
time of the pytest process is the harness's:

- once a run: Python and pytest until the cells are collected, every fork server's start
  with its frameworks, and the end of the run with its tables;
- for each cell: forks, pipes, supervision, the stores, spawning and ending the measured
  process with its bare interpreter, pytest's items, the journal.

The goal is on the second; what the first adds to a cell depends on how many share it, and is
printed beside it. What a child does besides its converter's call (hashing the sources it
imported, say) is in the child's clock and so in the stage's own.
"""

from __future__ import annotations

import argparse

import goals
import sessions

GOAL_SECONDS = 0.3
MODELS = ("embedding", "lstm", "digits", "group_norm")


def measure(models: list, tier: str) -> sessions.Session:
    chosen = [word for name in models for word in ("--model", name)]
    with sessions.scratch_cache() as cache:
        return sessions.run_bench(cache, [*chosen, "--tier", tier, "--jobs", "1"])


def report(run: sessions.Session) -> None:
    spans, marks = run.spans, run.marks

    def wall(name: str, before: float = float("inf")) -> float:
        return sum(end - began for began, end, _ in spans[name] if end <= before)

    def own(name: str) -> float:
        return sum(one[2] for one in spans[name])

    cells = len(run.rows)
    jobs, files = (len(spans[name]) for name in ("job", "describe"))
    launches = len(spans["launch"]) // 2  # each is readied and used
    starts = wall("start")
    starts_early = wall("start", marks["collected"])
    forking = wall("job") - own("job")
    launching = wall("launch") - own("ask")
    during = marks["finishing"] - marks["collected"] - (starts - starts_early)
    between = during - wall("job") - wall("launch")
    before = marks["collected"] - run.began - starts_early - own("describe")
    after = run.ended - marks["finishing"]
    per_cell = (forking + launching + between) / cells
    once = starts + before + after

    goals.table(
        ("", "seconds", "times", "s each"),
        [
            ("whole run", run.wall, 1, run.wall),
            ("describing the zoo, cold", own("describe"), files, own("describe") / max(1, files)),
            ("stages' own work: forked jobs", own("job"), jobs, own("job") / jobs),
            ("stages' own work: measuring", own("ask"), launches, own("ask") / max(1, launches)),
            ("harness, once: start and collection", before, 1, before),
            ("harness, once: fork servers", starts, len(spans["start"]),
             starts / len(spans["start"])),
            ("harness, once: end of the run", after, 1, after),
            ("harness, each: fork, pipe, supervision", forking, jobs, forking / jobs),
            ("harness, each: measured process", launching, launches,
             launching / max(1, launches)),
            ("harness, each: items, stores, journal", between, cells, between / cells),
        ],
    )  # fmt: skip
    print(f"\n{cells} cells, {jobs} forked jobs, {launches} measured processes")
    print(f"once a run: {once:.1f} s, {once / cells:.2f} s for each of these {cells} cells")
    goals.at_most("harness time per cell", per_cell, GOAL_SECONDS, "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--tier", default="smoke")
    options = parser.parse_args()
    goals.conditions()
    report(measure(options.model or list(MODELS), options.tier))


if __name__ == "__main__":
    main()
