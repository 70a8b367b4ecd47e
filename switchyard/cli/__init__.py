"""``switchyard COMMAND``: what is asked beside a run, of tables and of version sets.

Each command is a module here with ``add(commands)``, which declares its arguments, and sets
``run``, a function from the parsed options to the exit status, as a default of its parser.
Nothing of a command is imported before it is known which one is wanted, but for its arguments.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from typing import List, Optional, Sequence

from switchyard import __version__

#: In the order ``switchyard --help`` lists them.
COMMANDS = ("report", "compare", "neighbours", "claims", "sets", "install", "lock")


def parser(asked: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """``asked``: the commands it knows; importing the others' modules would serve nobody."""
    top = argparse.ArgumentParser(prog="switchyard", description=__doc__.splitlines()[0])
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in asked:
        importlib.import_module(f"{__name__}.{name}").add(commands)
    return top


def main(arguments: Optional[List[str]] = None) -> int:
    """The exit status: each command's own, and 2 where the arguments are wrong, or the command
    itself failed: Python's own 1 would mean that something is worse."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser([name for name in COMMANDS if name in given[:1]] or COMMANDS).parse_args(given)
    try:
        return options.run(options)
    except Exception:
        traceback.print_exc()
        return 2


if __name__ == "__main__":
    sys.exit(main())
