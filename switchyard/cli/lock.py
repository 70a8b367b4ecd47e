"""``switchyard lock SET``: make a version set's locks from its inputs, and say what moved."""

from __future__ import annotations

import argparse

from switchyard.cli import screen


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "lock", help="make a version set's locks from its inputs, and say what moved"
    )
    parser.add_argument("set", metavar="SET", help="a folder of version_sets/")
    parser.add_argument(
        "--flavour", default="cpu", choices=("cpu", "cuda"), help="for which device (default: cpu)"
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest the inputs allow")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0, or 2 where a lock could not be made; those made before it stay."""
    from switchyard.runner.locking import LockingError, relock
    from switchyard.runner.version_sets import find

    try:
        set_ = find(options.set)
        if set_.folder is None:
            raise LockingError(f"{set_.name} is what is installed, and has no lock")
        if set_.base:
            raise LockingError(
                f"{set_.name} is derived from {set_.base}: it is locked when it is first run, and "
                "that lock stands in the run's folder"
            )
        if not set_.fixed:
            raise LockingError(
                f"{set_.name} is resolved anew at every run, and its lock stands in the run's "
                "folder: pytest bench/ --version-set " + set_.name
            )
        for environment in set_.environments:
            moved = relock(set_, environment, options.flavour, options.upgrade)
            print(f"{set_.lock(environment, options.flavour).name}:")
            print(*moved or ["nothing moved"], sep="\n")
    except LockingError as error:
        return screen.complain(f"version set {options.set}: {error}")
    except ValueError as error:  # an unknown name, pins that are none, a set.toml that is wrong
        return screen.complain(str(error))
    return 0
