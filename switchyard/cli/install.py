"""``switchyard install SET``: install a version set now, not when it is first run."""

from __future__ import annotations

import argparse

from switchyard.cli import screen


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "install",
        help="install version sets now, not when they are first run",
        epilog="exit status: 0, and 2 where one could not be installed; the others are",
    )
    parser.add_argument("sets", nargs="+", metavar="SET",
                        help="a version set; several may be given")  # fmt: skip
    parser.add_argument(
        "--flavour", default="cpu", choices=("cpu", "cuda"), help="for which device (default: cpu)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.runner.environments import ProvisioningError, provision
    from switchyard.runner.version_sets import find

    try:
        asked = [find(name) for name in options.sets]
    except ValueError as error:  # an unknown name, or pins that are none
        return screen.complain(str(error))
    status = 0
    for set_ in asked:
        for environment in set_.environments:
            try:
                found = provision(set_, environment, flavour=options.flavour)
            except ProvisioningError as error:
                status = screen.complain(str(error))
                continue
            print(f"{set_.name}/{environment}: {len(found.packages)} packages, {found.python}")
    return status
