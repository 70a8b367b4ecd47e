"""``switchyard sets``: the version sets, what of them is installed, and how old they are."""

from __future__ import annotations

import argparse
import sys


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sets", help="list the version sets: installed or not, size on disk, age of the lock"
    )
    parser.add_argument(
        "--flavour", default="cpu", choices=("cpu", "cuda"), help="for which device (default: cpu)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0, or 2 where a ``set.toml`` cannot be read."""
    from switchyard.runner.environments import cache_root
    from switchyard.runner.inventory import inventory

    try:
        found = inventory(options.flavour)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    header = ("set", "state", "size", "lock's age", "older and derived")
    rows = [
        (
            one.name,
            one.state,
            _gigabytes(one.size_bytes),
            "" if one.age_days is None else _age(one.age_days),
            _gigabytes(one.other_bytes),
        )
        for one in found
    ]
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    for row in (header, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    total = sum((one.size_bytes or 0) + (one.other_bytes or 0) for one in found)
    print(f"\n{_gigabytes(total) or 'nothing'} in {cache_root() / 'environments'}")
    return 0


def _gigabytes(size: int | None) -> str:
    return f"{size / 1e9:.1f} GB" if size else ""


def _age(days: int) -> str:
    return {0: "today", 1: "1 day"}.get(days, f"{days} days")
