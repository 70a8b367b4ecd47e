"""``switchyard sets``: the version sets, what of them is installed, and how old they are."""

from __future__ import annotations

import argparse

from switchyard.cli import screen

#: Days after which what no lock asks for is taken as not needed, where ``--prune`` says nothing.
UNUSED_DAYS = 30


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "sets",
        help="list the version sets: installed or not, size on disk, age of the lock",
        epilog="exit status: 0, and 2 where a set.toml cannot be read, or what is to be removed "
        "cannot be",
    )
    parser.add_argument(
        "--flavour", default="cpu", choices=("cpu", "cuda"), help="for which device (default: cpu)"
    )
    parser.add_argument(
        "--prune",
        nargs="?",
        type=_days,
        const=UNUSED_DAYS,
        metavar="DAYS",
        help="instead, remove the environments that no lock under version_sets/ asks for, of "
        f"either flavour, and no run has used for DAYS days (default: {UNUSED_DAYS}): of older "
        "locks, derived sets and nightly; each is named with its size, and none in use is removed",
    )
    parser.set_defaults(run=run)


def _days(text: str) -> int:
    days = int(text)
    if days < 1:  # a run that is under way dates its environments as it begins
        raise argparse.ArgumentTypeError("at least 1 day")
    return days


def run(options: argparse.Namespace) -> int:
    from switchyard.runner.environments import cache_root

    try:
        if options.prune is not None:
            return _prune(options.prune)
        return _list(options.flavour, cache_root() / "environments")
    except ValueError as error:
        return screen.complain(str(error))


def _list(flavour: str, folder) -> int:
    from switchyard.runner.inventory import inventory

    found = inventory(flavour)
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
    print(f"\n{_gigabytes(total) or 'nothing'} in {folder}")
    if any(one.other_bytes for one in found):
        print("of what is older and derived --prune removes what was not used of late")
    return 0


def _prune(days: int) -> int:
    from switchyard.runner.pruning import prune

    status = removed = freed = 0
    for one in prune(days):
        about = f"{one.name}: {one.size_bytes / 1e9:.1f} GB, not used for {_age(one.unused_days)}"
        if one.error:
            status = screen.complain(one.error)
        elif one.in_use:
            print(f"left {about}, but a process is at work in it or it is being installed")
        else:
            print(f"removed {about}")
            removed, freed = removed + 1, freed + one.size_bytes
    print(f"environments removed: {removed}, {freed / 1e9:.1f} GB")
    return status


def _gigabytes(size: int | None) -> str:
    return f"{size / 1e9:.1f} GB" if size else ""


def _age(days: int) -> str:
    return {0: "today", 1: "1 day"}.get(days, f"{days} days")
