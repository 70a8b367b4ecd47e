"""``switchyard COMMAND``: what is asked beside a run, of tables and of version sets.

Each command is a module here with ``add(commands)``, which declares its arguments, and sets
``run``, a function from the parsed options to the exit status, as a default of its parser.
Nothing of a command is imported before it is known which one is wanted, but for its arguments.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import List, Optional

from switchyard import __version__

#: In the order ``switchyard --help`` lists them.
COMMANDS = ("report", "compare", "neighbours", "claims", "sets", "install", "lock")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="switchyard", description=__doc__.splitlines()[0])
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"{__name__}.{name}").add(commands)
    return top


def main(arguments: Optional[List[str]] = None) -> int:
    """The exit status: each command's own, and 2 where the arguments are wrong."""
    options = parser().parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
